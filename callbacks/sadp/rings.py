"""Detects rings of a polycrystal: bright at most azimuths, while a single crystal is bright at few."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SECTORS = 96
_FEWEST = 24


def ring_share(
    picture: NDArray[np.generic], x_px: float, y_px: float, spot_sigma_px: float, hidden: NDArray[np.bool_]
) -> float:
    """Share of a pattern's structure that lies in rings, 0 to 1.

    Around the centre, the picture is cut into radii and sectors. A ring raises the median over the sectors above its
    neighbouring radii; a spot raises one sector. What is compared is how far the median and the mean rise.

    Parameters
    ----------
    picture
        (H, W).
    x_px, y_px
        Its centre.
    spot_sigma_px
        Width of spots or rings: the step in radius.
    hidden
        (H, W) True for pixels to ignore.
    """
    step = max(1.0, float(spot_sigma_px))
    image = np.ascontiguousarray(picture, dtype=np.float32)
    usable = ~hidden & np.isfinite(image)
    largest = min(max(x_px, image.shape[1] - 1 - x_px), max(y_px, image.shape[0] - 1 - y_px))
    count = int(largest / step)
    first = 5
    if count < first + 8:
        return 0.0
    sums, pixels = _sectors(image, usable, x_px, y_px, step, count)
    ringed, total = _shares(sums, pixels, first)
    return float(min(1.0, ringed / total)) if total > 0 else 0.0


@njit(cache=True, nogil=True)
def _shares(sums: NDArray[np.float64], pixels: NDArray[np.int64], first: int) -> tuple[float, float]:
    """How far the median over the sectors rises over neighbouring radii, where it is sure, and how far the mean."""
    count = len(sums)
    median = np.full(count, np.nan)
    average = np.full(count, np.nan)
    unsure = np.zeros(count)
    for n in range(count):
        known = sums[n][pixels[n] > 0] / pixels[n][pixels[n] > 0]
        if len(known) >= _FEWEST:
            ordered = np.sort(known)
            median[n] = np.median(ordered)
            average[n] = known.mean()
            quartiles = ordered[(3 * len(known)) // 4] - ordered[len(known) // 4]
            # the median of many sectors scatters less than they do
            unsure[n] = 1.5 * quartiles / np.sqrt(len(known))
    ringed, whole = 0.0, 0.0
    for n in range(first, count):
        rise = _rise(median, n, first)
        if rise > unsure[n]:
            ringed += rise
        whole += _rise(average, n, first)
    return ringed, whole


@njit(cache=True, nogil=True)
def _rise(profile: NDArray[np.float64], n: int, first: int) -> float:
    """How far a radius stands above the lower envelope of its neighbourhood, both inside and outside."""
    inner, outer = np.inf, np.inf
    for near in range(max(first - 1, n - 5), n):
        if np.isfinite(profile[near]):
            inner = min(inner, profile[near])
    for near in range(n + 1, min(len(profile), n + 6)):
        if np.isfinite(profile[near]):
            outer = min(outer, profile[near])
    level = max(inner, outer)
    if not np.isfinite(level) or not np.isfinite(profile[n]):
        return 0.0
    return max(0.0, profile[n] - level)


@njit(cache=True, nogil=True)
def _sectors(
    image: NDArray[np.float32], usable: NDArray[np.bool_], x0: float, y0: float, step: float, count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    sums = np.zeros((count, _SECTORS))
    pixels = np.zeros((count, _SECTORS), dtype=np.int64)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            if not usable[row, column]:
                continue
            x, y = column - x0, row - y0
            radius = int(np.sqrt(x * x + y * y) / step)
            if radius >= count:
                continue
            sector = int((np.arctan2(y, x) + np.pi) * (_SECTORS / (2.0 * np.pi)))
            sector = min(sector, _SECTORS - 1)
            sums[radius, sector] += image[row, column]
            pixels[radius, sector] += 1
    return sums, pixels
