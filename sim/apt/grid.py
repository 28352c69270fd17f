"""The voxels that a reconstruction is scanned on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError

_MOST_VOXELS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class VoxelGrid:
    """A regular grid: voxel (i, j, k) spans ``origin + (i, j, k) * voxel`` to the same of (i + 1, j + 1, k + 1).

    Attributes
    ----------
    origin_nm
        Lowest corner x, y, z, nm.
    shape
        Voxels along x, y, z.
    voxel_nm
        Edge of a voxel, nm.
    """

    origin_nm: tuple[float, float, float]
    shape: tuple[int, int, int]
    voxel_nm: float = 1.0

    def __post_init__(self) -> None:
        if not self.voxel_nm > 0:
            raise InputError("the edge of a voxel must be positive")
        if min(self.shape) < 1:
            raise InputError(f"a grid of {self.shape} voxels is empty")

    @classmethod
    def around(cls, positions_nm: NDArray[np.float32], voxel_nm: float = 1.0) -> VoxelGrid:
        """Return the smallest grid that contains all ions, with the same lowest corner.

        Raises
        ------
        InputError
            If there are no ions, some position is not finite, or they are too far apart for a grid.
        """
        if len(positions_nm) == 0:
            raise InputError("no ions")
        low, high = positions_nm.min(axis=0).astype(np.float64), positions_nm.max(axis=0).astype(np.float64)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise InputError("some ions have a position that is not finite")
        nx, ny, nz = (int(n) + 1 for n in np.floor((high - low) / voxel_nm))
        if nx * ny * nz > _MOST_VOXELS:
            raise InputError(
                f"the ions span {nx} x {ny} x {nz} voxels of {voxel_nm:g} nm: too many; are all positions in nm?"
            )
        return cls((float(low[0]), float(low[1]), float(low[2])), (nx, ny, nz), voxel_nm)

    def cubes(self, cube_voxels: int) -> tuple[int, int, int]:
        """Return how many cubes with an edge of ``cube_voxels`` fit along x, y, z at a stride of one voxel.

        Raises
        ------
        InputError
            If none fits.
        """
        nx, ny, nz = (n - cube_voxels + 1 for n in self.shape)
        if min(nx, ny, nz) < 1:
            raise InputError(
                f"no cube of {cube_voxels * self.voxel_nm:g} nm fits into {self.shape} voxels of {self.voxel_nm:g} nm"
            )
        return nx, ny, nz

    def flat_index(self, positions_nm: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the index of each ion's voxel in the flattened grid, (N,); -1 outside."""
        at = np.floor((positions_nm.astype(np.float64) - self.origin_nm) / self.voxel_nm).astype(np.int64)
        inside = ((at >= 0) & (at < self.shape)).all(axis=1)
        _, ny, nz = self.shape
        return np.where(inside, (at[:, 0] * ny + at[:, 1]) * nz + at[:, 2], -1)

    def count(self, positions_nm: NDArray[np.float32]) -> NDArray[np.int64]:
        """Count the ions of each voxel, int64 of the grid's shape."""
        flat = self.flat_index(positions_nm)
        return np.bincount(flat[flat >= 0], minlength=int(np.prod(self.shape))).reshape(self.shape)

    def fraction(self, positions_nm: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the fraction of each voxel's ions that are ``chosen``, float32 in the grid's shape; NaN if empty."""
        total = self.count(positions_nm)
        some = self.count(positions_nm[chosen])
        return np.where(total > 0, some / np.maximum(total, 1), np.nan).astype(np.float32)
