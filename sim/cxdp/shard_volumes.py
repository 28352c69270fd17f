"""Memory-mapped volumes of a shard: what training reads stays in the page cache, not in the process."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError


class MappedVolumes:
    """The (N, 64, 64, 64) float16 volumes of one shard, mapped from the file.

    Parameters
    ----------
    path
        A shard of `braggwatch.sim.cxdp.datasets`: one uncompressed chunk per volume.

    Raises
    ------
    ValueError
        If the volumes are compressed or chunked in another way.

    Notes
    -----
    The checksums stored after each chunk are not checked here: `braggwatch.sim.cxdp.shards.verify_shard` does that.
    """

    def __init__(self, path: Path) -> None:
        with h5py.File(path, "r") as file:
            stored = file["log_intensity"]
            if not isinstance(stored, h5py.Dataset):
                raise InputError(f"{path.name} contains no volumes: make the data set again")
            count, *edges = (int(n) for n in stored.shape)
            self._shape = tuple(edges)
            self._dtype = np.dtype(stored.dtype)
            if stored.chunks != (1, *self._shape) or not _is_plain(stored):
                raise InputError(
                    f"{path.name} is not stored as one uncompressed chunk per volume: make the data set again"
                )
            # chunks are listed in the order of writing, which may differ from that of the volumes
            self._offsets = [int(stored.id.get_chunk_info_by_coord((i, 0, 0, 0)).byte_offset) for i in range(count)]
        self._bytes = np.memmap(path, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> NDArray[np.float16]:
        start = self._offsets[index]
        stop = start + int(np.prod(self._shape)) * self._dtype.itemsize
        return self._bytes[start:stop].view(self._dtype).reshape(self._shape)


def _is_plain(stored: h5py.Dataset) -> bool:
    filters = stored.id.get_create_plist()
    return all(filters.get_filter(i)[0] == h5py.h5z.FILTER_FLETCHER32 for i in range(filters.get_nfilters()))
