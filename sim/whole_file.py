"""Write files completely or not at all, even if other processes write the same one."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from braggwatch.sim.errors import BraggwatchError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


class UnwritableError(BraggwatchError, OSError):
    """There is no room for a file, or its disk fails; the text names it. The system's own error often doesn't."""


@contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """Yield a temporary path to write to; on success it replaces ``path``, otherwise it is removed.

    Raises
    ------
    UnwritableError
        If the disk is full, or the like.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}-{uuid4().hex[:8]}.partial")
    try:
        with writing(path):
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Let a full disk be told by the name of what was being written.

    Raises
    ------
    UnwritableError
        In place of such an OSError.
    """
    try:
        yield
    except UnwritableError:
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise UnwritableError(f"{path} couldn't be written: {os.strerror(error.errno or 0)}") from error
        raise
