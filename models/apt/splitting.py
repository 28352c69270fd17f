"""Precipitates that touch in a map told apart: where the ground between two peaks is low, there are two.

A watershed with a measure of persistence: voxels are taken from the highest down, each joining the peak it touches;
where two peaks meet, the lower one lives on its own only if the pass is clearly below it.
"""

from __future__ import annotations

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

PASS_SHARE = 0.7
"""Two peaks are one precipitate where the pass between them reaches more than this share of the lower one."""


def split_parts(
    mask: NDArray[np.bool_], height: NDArray[np.floating], *, pass_share: float = PASS_SHARE, least_voxels: int = 1
) -> NDArray[np.int32]:
    """Return (nx, ny, nz) int32 numbers from 0 of the parts of a mask, -1 outside it; parts touch by faces.

    Parameters
    ----------
    height
        (nx, ny, nz), positive inside the mask: how far a voxel lies above the threshold.
    pass_share
        0 to 1: 1 joins only what has no pass at all between its peaks, 0 joins all that touches.
    least_voxels
        A peak with fewer voxels, when it meets another, joins it.
    """
    nx, ny, nz = mask.shape
    padded = np.full((nx + 2, ny + 2, nz + 2), -1, dtype=np.int64)
    inside = np.flatnonzero(np.pad(mask, 1))
    values = np.asarray(height, dtype=np.float64)[mask]
    order = np.argsort(-values, kind="stable")
    steps = np.array([(ny + 2) * (nz + 2), nz + 2, 1], dtype=np.int64)
    parts = padded.ravel()
    _flood(inside[order], values[order], np.concatenate([steps, -steps]), parts, pass_share, least_voxels)
    return parts.reshape(padded.shape)[1:-1, 1:-1, 1:-1].astype(np.int32)


@njit(cache=True, nogil=True)
def _flood(  # pragma: no cover - compiled
    at: NDArray[np.int64],
    height: NDArray[np.float64],
    steps: NDArray[np.int64],
    parts: NDArray[np.int64],
    pass_share: float,
    least: int,
) -> None:
    parent = np.empty(at.size, dtype=np.int64)
    peak = np.empty(at.size, dtype=np.float64)
    size = np.zeros(at.size, dtype=np.int64)
    count = 0
    for n in range(at.size):
        best = -1
        for step in steps:
            near = parts[at[n] + step]
            if near < 0:
                continue
            while parent[near] != near:
                near = parent[near]
            if best < 0:
                best = near
            elif near != best:
                high, low = (best, near) if peak[best] >= peak[near] else (near, best)
                if size[low] < least or height[n] > pass_share * peak[low]:
                    parent[low] = high
                    size[high] += size[low]
                best = high
        if best < 0:
            best = count
            parent[best] = best
            peak[best] = height[n]
            count += 1
        parts[at[n]] = best
        size[best] += 1
    for n in range(at.size):
        root = parts[at[n]]
        while parent[root] != root:
            root = parent[root]
        parts[at[n]] = root
