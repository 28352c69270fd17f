"""The measures of a volume as arrays tell them: slow, and plain enough to be the oracle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from braggwatch.models.cxdp.volume.volume_checks import VolumeMeasures


def undecided(counts: NDArray[np.floating]) -> bool:
    """Whether rounding decides which voxel is the largest, or reaches a half or a tenth of it."""
    relative = np.sort(uniform_filter(np.asarray(counts, dtype=np.float64), size=3, mode="constant").ravel())
    relative /= relative[-1]
    return bool((np.abs(relative - 0.1) < 1e-5).any() or (np.abs(relative - 0.5) < 1e-5).any()) or bool(
        relative.size > 1 and relative[-2] > 1.0 - 1e-5
    )


def measure_by_arrays(counts: NDArray[np.floating], radius: float) -> VolumeMeasures:
    """Return what ``measure_volume`` does, through scipy's box average and whole arrays."""
    smooth = uniform_filter(np.asarray(counts, dtype=np.float64), size=3, mode="constant")
    peak = float(smooth.max())
    top = np.array(np.unravel_index(int(smooth.argmax()), smooth.shape))
    grid = np.indices(smooth.shape)
    bright = smooth >= 0.1 * peak
    centre = np.array([np.average(axis[bright], weights=smooth[bright]) for axis in grid])
    squared = ((grid - top[:, None, None, None]) ** 2).sum(axis=0)
    outside = smooth[squared > radius**2]
    return VolumeMeasures(
        centre_offset_voxels=float(np.linalg.norm(centre - np.array(smooth.shape) // 2)),
        second_peak_ratio=float(outside.max()) / peak if outside.size else 0.0,
        half_extent_voxels=float(np.sqrt(squared[smooth >= 0.5 * peak].max())),
        peak_to_mean=peak / float(smooth.mean()),
    )
