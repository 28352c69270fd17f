"""The scan of Li et al. 2021: every cube of 4 nm is called ordered or not, every voxel counts its cubes' votes.

A voxel of 1 nm lies in up to 64 cubes; it is ordered where at least 62 of them are. At the rim fewer cubes hold a
voxel, and the outermost can't reach the threshold: that is the rule, not an omission.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.cube_scan import CubeScan
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.runtimes.base import Runtime
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons

PAPER_VOTES = 62
"""Votes, of 64, from which the publication takes a voxel for ordered."""
_BATCH = 64


class CubeCaller:
    """Calls cubes with a bundle that judges a whole cube.

    Parameters
    ----------
    bundle
        Of task ``apt-order``.
    runtime
        What runs it.

    Raises
    ------
    BundleError
        If the bundle isn't one of spatial distribution maps.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        self._scan = CubeScan(bundle, runtime)
        self.sdm = self._scan.sdm
        """What the network looks at."""
        self.sha256 = bundle.sha256
        """Of the network's graph."""

    def call(
        self,
        ions: LabelledIons,
        grid: VoxelGrid,
        progress: Callable[[int, int], None] | None = None,
        *,
        least_ions: float = 1.0,
    ) -> NDArray[np.float32]:
        """Judge all cubes that lie in a grid, at a stride of one voxel.

        Parameters
        ----------
        ions
            Named host and solute (`braggwatch.models.apt.channels`), levelled.
        progress
            Called with (slabs done, all).
        least_ions
            A cube with fewer ions isn't judged.

        Returns
        -------
        (nx - k + 1, ny - k + 1, nz - k + 1) float32 probability of L1₂ of each cube, k voxels a side; NaN where it
        wasn't judged.

        Raises
        ------
        ValueError
            If no cube fits into the grid.
        """
        (found,) = self._scan.run(
            ions,
            grid,
            lambda output, _maps: output.probabilities[None, :, 1],
            progress,
            fields=1,
            least_ions=least_ions,
            batch=_BATCH,
        )
        return found


def votes(calls: NDArray[np.floating], cube_voxels: int = 4, *, cut: float = 0.5) -> NDArray[np.int64]:
    """Count for each voxel the cubes that hold it and are called ordered.

    Parameters
    ----------
    calls
        (a, b, c) probability of each cube, NaN counting as not ordered.
    cut
        A cube is ordered above this probability.

    Returns
    -------
    (a + k - 1, b + k - 1, c + k - 1) int64, 0 to k³.
    """
    counted = np.pad(np.nan_to_num(calls, nan=0.0) > cut, cube_voxels - 1).astype(np.int64)
    for axis in range(3):
        sums = np.cumsum(counted, axis=axis)
        first = np.take(sums, [0], axis=axis) * 0
        sums = np.concatenate([first, sums], axis=axis)
        n = sums.shape[axis]
        upper = np.take(sums, range(cube_voxels, n), axis=axis)
        counted = upper - np.take(sums, range(n - cube_voxels), axis=axis)
    return counted


def mean_calls(calls: NDArray[np.floating], cube_voxels: int = 4) -> NDArray[np.float32]:
    """Return each voxel's mean of its judged cubes' probabilities, NaN where there are none.

    It is what the votes become without the cut at each cube: for thresholds other than the published one.
    """
    known = votes(np.isfinite(calls).astype(np.float64), cube_voxels)
    padded = np.pad(np.nan_to_num(calls, nan=0.0).astype(np.float64), cube_voxels - 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (cube_voxels,) * 3)
    total = windows.sum(axis=(3, 4, 5))
    return np.where(known > 0, total / np.maximum(known, 1), np.nan).astype(np.float32)
