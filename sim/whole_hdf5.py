"""HDF5 files that are written completely or not at all.

HDF5 crashes the process where the disk fills up while a file is open: it writes again as it closes. So the file is made
in memory and written in one go, where a full disk is an ordinary error.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import h5py

from braggwatch.sim.whole_file import whole_file

_GROW_BY = 2**22


@contextmanager
def whole_hdf5(path: Path) -> Generator[h5py.File]:
    """Yield a file in memory; on success its content replaces ``path``.

    Raises
    ------
    UnwritableError
        If the disk is full, or the like.
    """
    with whole_file(path) as partial:
        partial.touch()  # a folder that takes no files says so before the work
        # the name is never opened; HDF5 refuses two open files of one
        with h5py.File(str(partial), "w", driver="core", backing_store=False, block_size=_GROW_BY) as file:
            yield file
            file.flush()
            image = file.id.get_file_image()
        partial.write_bytes(image)
