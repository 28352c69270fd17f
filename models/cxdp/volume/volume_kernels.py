"""Two passes over a volume that take what the volume checks ask of it; a scan waits for them."""

from __future__ import annotations

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
def smooth_with_peak(volume: NDArray[np.float32]) -> tuple[NDArray[np.float32], int, float]:
    """Average over 3x3x3 boxes, with zeros outside.

    Parameters
    ----------
    volume
        (n0, n1, n2) float32 in C order.

    Returns
    -------
    tuple
        The averages, float32 of the same shape; the flat index of the largest, the first of equals; their sum.
    """
    n0, n1, n2 = volume.shape
    smooth = np.empty((n0, n1, n2), dtype=np.float32)
    # Sums of 3x3 boxes of three planes, and of three rows of one.
    planes = np.zeros((3, n1, n2), dtype=np.float32)
    row = np.zeros(n2 + 2, dtype=np.float32)
    third, total, peak, place = np.float32(1.0 / 27.0), 0.0, np.float32(-np.inf), 0
    for ahead in range(n0 + 1):
        plane = planes[ahead % 3]
        if ahead < n0:
            counts = volume[ahead]
            for j in range(n1):
                above, below = max(j - 1, 0), min(j + 1, n1 - 1)
                upper, lower = np.float32(j > 0), np.float32(j < n1 - 1)
                for k in range(n2):
                    row[k + 1] = counts[above, k] * upper + counts[j, k] + counts[below, k] * lower
                for k in range(n2):
                    plane[j, k] = row[k] + row[k + 1] + row[k + 2]
        else:
            plane[:] = 0.0
        i = ahead - 1
        if i < 0:
            continue
        before, here = planes[(i + 2) % 3], planes[i % 3]
        for j in range(n1):
            largest = np.float32(-np.inf)
            along = np.float32(0.0)
            for k in range(n2):
                value = (before[j, k] + here[j, k] + plane[j, k]) * third
                smooth[i, j, k] = value
                along += value
                largest = max(largest, value)
            total += along
            if largest > peak:
                peak = largest
                for k in range(n2):
                    if smooth[i, j, k] == largest:
                        place = (i * n1 + j) * n2 + k
                        break
    return smooth, place, float(total)


@njit(cache=True, nogil=True, error_model="numpy")
def measure_around_peak(smooth: NDArray[np.float32], place: int, radius: float) -> NDArray[np.float64]:
    """Measure what is bright, what is half as high as the peak, and what is far from it.

    Parameters
    ----------
    smooth, place
        See :func:`smooth_with_peak`.
    radius
        Distance from the peak beyond which another is looked for, voxels.

    Returns
    -------
    numpy.ndarray
        Centre of mass of what reaches a tenth of the peak, three indices; squared distance to the farthest voxel of at
        least half of it; largest value beyond ``radius``, 0 where nothing lies there.
    """
    n0, n1, n2 = smooth.shape
    peak = smooth[place // (n1 * n2), (place // n2) % n1, place % n2]
    top_0, top_1, top_2 = place // (n1 * n2), (place // n2) % n1, place % n2
    tenth, half = np.float32(0.1 * np.float64(peak)), np.float32(0.5 * np.float64(peak))
    weight = 0.0
    centre = np.zeros(3)
    farthest = 0
    beyond = np.float32(0.0)
    for i in range(n0):
        for j in range(n1):
            across = (i - top_0) ** 2 + (j - top_1) ** 2
            left = radius * radius - across
            # Along this row, voxels from `first` to `last` lie within the radius.
            reach = int(min(np.sqrt(left), np.float64(n2))) if left >= 0.0 else -1
            first, last = max(top_2 - reach, 0), min(top_2 + reach, n2 - 1)
            if reach < 0:
                first, last = n2, n2 - 1
            line = smooth[i, j]
            largest = np.float32(0.0)
            for k in range(first):
                largest = max(largest, line[k])
            for k in range(last + 1, n2):
                largest = max(largest, line[k])
            beyond = max(beyond, largest)
            for k in range(first, last + 1):
                largest = max(largest, line[k])
            if largest < tenth:
                continue
            for k in range(n2):
                value = line[k]
                if value < tenth:
                    continue
                weight += value
                centre[0] += value * i
                centre[1] += value * j
                centre[2] += value * k
                if value >= half:
                    farthest = max(farthest, across + (k - top_2) ** 2)
    found = np.empty(5)
    found[:3] = centre / weight
    found[3] = farthest
    found[4] = beyond
    return found
