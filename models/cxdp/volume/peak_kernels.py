"""What the peak checks ask of a volume, in as few passes as they can be had in; a scan waits for them."""

from __future__ import annotations

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

LEVELS = 2048
"""Steps of the logarithmic scale on which voxels are ranked, 32 a factor of two."""


@njit(cache=True, nogil=True, error_model="numpy")
def fringe_dips(
    volume: NDArray[np.float32],
    smooth: NDArray[np.float32],
    nearest: float,
    farthest: float,
    step: float,
    wanted: int,
) -> NDArray[np.float32]:
    """Compare bright voxels off the peak with what lies half a fringe further in and out along the radius.

    Parameters
    ----------
    volume, smooth
        (n, n, n) float32 counts, peak at voxel n // 2 of each axis, and their averages over 3x3x3 boxes.
    nearest, farthest
        Distances from the centre between which voxels are looked at, voxels; ``farthest`` + ``step`` < n // 2 - 1.
    step
        Half a fringe, voxels.
    wanted
        Number of voxels, the brightest by their averages.

    Returns
    -------
    numpy.ndarray
        (m,) float32, (I - G) / (I + G), with G the geometric mean of the two, interpolated; m is close to ``wanted``,
        or smaller where fewer voxels have any light about them.
    """
    size = volume.shape[0]
    middle = size // 2
    least, most = nearest * nearest, farthest * farthest
    reach = int(farthest)
    counts = np.zeros(LEVELS, dtype=np.int64)
    bits = smooth.view(np.int32)
    top = np.int32(0)
    for i in range(middle - reach, middle + reach + 1):
        for j in range(middle - reach, middle + reach + 1):
            across = (i - middle) ** 2 + (j - middle) ** 2
            if across > most:
                continue
            for k in range(middle - reach, middle + reach + 1):
                top = max(top, bits[i, j, k])
    for i in range(middle - reach, middle + reach + 1):
        for j in range(middle - reach, middle + reach + 1):
            across = (i - middle) ** 2 + (j - middle) ** 2
            if across > most:
                continue
            for k in range(middle - reach, middle + reach + 1):
                square = across + (k - middle) ** 2
                if square < least or square > most or bits[i, j, k] <= 0:
                    continue
                # The bits of positive float32 numbers are in the order of the numbers, and nearly logarithmic.
                counts[min((top - bits[i, j, k]) >> 18, LEVELS - 1)] += 1
    level, found = 0, counts[0]
    while level + 1 < LEVELS and found < wanted:
        level += 1
        found += counts[level]
    dips = np.empty(found, dtype=np.float32)
    number = 0
    for i in range(middle - reach, middle + reach + 1):
        for j in range(middle - reach, middle + reach + 1):
            across = (i - middle) ** 2 + (j - middle) ** 2
            if across > most:
                continue
            for k in range(middle - reach, middle + reach + 1):
                square = across + (k - middle) ** 2
                if square < least or square > most or bits[i, j, k] <= 0:
                    continue
                if min((top - bits[i, j, k]) >> 18, LEVELS - 1) > level:
                    continue
                along = step / np.sqrt(np.float64(square))
                a, b, c = (i - middle) * along, (j - middle) * along, (k - middle) * along
                beside = np.sqrt(_between(volume, i + a, j + b, k + c) * _between(volume, i - a, j - b, k - c))
                here = volume[i, j, k]
                dips[number] = (here - beside) / (here + beside + np.float32(1e-3))
                number += 1
    return dips[:number]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _between(volume: NDArray[np.float32], x: float, y: float, z: float) -> float:
    i, j, k = int(x), int(y), int(z)
    u, v, w = x - i, y - j, z - k
    lower = (volume[i, j, k] * (1.0 - w) + volume[i, j, k + 1] * w) * (1.0 - v) + (
        volume[i, j + 1, k] * (1.0 - w) + volume[i, j + 1, k + 1] * w
    ) * v
    upper = (volume[i + 1, j, k] * (1.0 - w) + volume[i + 1, j, k + 1] * w) * (1.0 - v) + (
        volume[i + 1, j + 1, k] * (1.0 - w) + volume[i + 1, j + 1, k + 1] * w
    ) * v
    return lower * (1.0 - u) + upper * u


@njit(cache=True, nogil=True, error_model="numpy")
def rings_and_holes(
    volume: NDArray[np.float32],
    smooth: NDArray[np.float32],
    place: int,
    ring_of: NDArray[np.int64],
    rings: int,
    empty: float,
    holes: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Find what is brightest at each distance from the peak, and where there is light all round a voxel without any.

    Parameters
    ----------
    volume, smooth
        (n0, n1, n2) float32 counts, and their averages over 3x3x3 boxes.
    place
        Flat index of the largest average.
    ring_of
        Number of the ring by squared distance from the peak; -1 where none is asked for.
    rings
        Number of rings.
    empty
        A voxel of at most this share of the average about it counts as empty.
    holes
        (h,) float32, filled with the h largest averages about empty voxels, ascending.

    Returns
    -------
    numpy.ndarray
        (rings,) float32, largest average in each ring; 0 where it lies outside the volume.
    """
    n0, n1, n2 = smooth.shape
    top_0, top_1, top_2 = place // (n1 * n2), (place // n2) % n1, place % n2
    brightest = np.zeros(rings, dtype=np.float32)
    share = np.float32(empty)
    holes[:] = 0.0
    for i in range(n0):
        for j in range(n1):
            across = (i - top_0) ** 2 + (j - top_1) ** 2
            for k in range(n2):
                value = smooth[i, j, k]
                ring = ring_of[across + (k - top_2) ** 2]
                if ring >= 0 and value > brightest[ring]:
                    brightest[ring] = value
                if value > holes[0] and volume[i, j, k] <= share * value:
                    at = 0
                    while at + 1 < holes.size and holes[at + 1] < value:
                        holes[at] = holes[at + 1]
                        at += 1
                    holes[at] = value
    return brightest


@njit(cache=True, nogil=True, error_model="numpy")
def autocorrelation_moments(transform: NDArray[np.complex64], noise_beyond: float) -> NDArray[np.float64]:
    """Second moments of the squared autocorrelation where it stands out of the noise.

    Parameters
    ----------
    transform
        (n, n, n // 2 + 1) complex64, as ``rfftn`` of a cube of n voxels returns it.
    noise_beyond
        Distance from zero beyond which there is noise alone, samples.

    Returns
    -------
    numpy.ndarray
        (3, 3) float64, squared samples; all zero where nothing stands out.
    """
    n = transform.shape[0]
    half = n // 2
    limit = noise_beyond * noise_beyond
    power = np.empty(transform.shape, dtype=np.float32)
    noise, weight, near = 0.0, 0.0, 0.0
    for i in range(n):
        x = i if i < half else i - n
        for j in range(n):
            y = j if j < half else j - n
            for k in range(half + 1):
                value = transform[i, j, k].real ** 2 + transform[i, j, k].imag ** 2
                power[i, j, k] = value
                square = x * x + y * y + k * k
                twice = 1.0 if k in (0, half) else 2.0
                if square > limit:
                    noise += twice * value
                    weight += twice
                elif square == 1:
                    near += twice * value / 6.0
    noise /= max(weight, 1.0)
    # Background and counting noise both sit in the sample at zero: its neighbours stand for it.
    power[0, 0, 0] = near
    least = max(1e-3 * near, 6.0 * noise)
    total = 0.0
    moments = np.zeros((3, 3))
    for i in range(n):
        x = np.float64(i if i < half else i - n)
        for j in range(n):
            y = np.float64(j if j < half else j - n)
            for k in range(half + 1):
                value = power[i, j, k]
                if value <= least or x * x + y * y + k * k > limit:
                    continue
                z = np.float64(k)
                share = (value - noise) * (1.0 if k in (0, half) else 2.0)
                total += share
                moments[0, 0] += share * x * x
                moments[1, 1] += share * y * y
                moments[2, 2] += share * z * z
                moments[0, 1] += share * x * y
                moments[0, 2] += share * x * z
                moments[1, 2] += share * y * z
    if total <= 0.0:
        return np.zeros((3, 3))
    moments /= total
    for i in range(3):
        for j in range(i):
            moments[i, j] = moments[j, i]
    return moments
