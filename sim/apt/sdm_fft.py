"""The zx-SDM by Fourier transform: with neighbours at any dy it is the autocorrelation of the y-projected density.

Ions are assigned to a grid with the map's bins, which rounds both ends of an offset. Compared with the exact count the
map is convolved with a triangle of one bin on each side; away from the window's edge its sum along x and z is the same.
For positions on such a grid it is exact.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.apt.sdm import SdmWindow


def fft_sdm(
    positions_nm: NDArray[np.float32],
    window: SdmWindow,
    *,
    neighbours_nm: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Count the SDM of all pairs of a cloud, or between two clouds, at any dy.

    Parameters
    ----------
    positions_nm
        (N, 3) centres, nm.
    window
        Must have an infinite ``half_y_nm``, no ball, and odd numbers of bins, so that one is centred at zero offset.
    neighbours_nm
        (M, 3) ions of another species, nm; None: the centres themselves, without self-pairs.

    Returns
    -------
    (bins_z, bins_x) float32 counts.

    Raises
    ------
    ValueError
        If the window doesn't satisfy these conditions.
    """
    if not math.isinf(window.half_y_nm) or window.ball_nm is not None:
        raise ValueError(
            "the Fourier transform counts neighbours at any dy: half_y_nm must be infinite, without a ball"
        )
    if window.bins_x % 2 == 0 or window.bins_z % 2 == 0:
        raise ValueError("the Fourier transform needs odd numbers of bins")
    if len(positions_nm) == 0:
        return np.zeros(window.shape, dtype=np.float32)
    own = neighbours_nm is None
    others = positions_nm if neighbours_nm is None else neighbours_nm
    step = np.array([2 * window.half_z_nm / window.bins_z, 2 * window.half_x_nm / window.bins_x])
    a, b = (np.rint(p[:, [2, 0]].astype(np.float64) / step).astype(np.int64) for p in (positions_nm, others))
    low = np.minimum(a.min(axis=0), b.min(axis=0, initial=np.iinfo(np.int64).max))
    high = np.maximum(a.max(axis=0), b.max(axis=0, initial=np.iinfo(np.int64).min))
    half = np.array(window.shape) // 2
    size = high - low + 1 + half  # padding, so that nothing within the window wraps around
    images = [_image(index - low, size) for index in (a, b)]
    first = np.fft.rfft2(images[0])
    second = first if own else np.fft.rfft2(images[1])
    correlation = np.rint(np.fft.irfft2(np.conj(first) * second, s=tuple(int(n) for n in size)))
    rows, columns = (np.arange(-h, h + 1) % n for h, n in zip(half, size, strict=True))
    counts = correlation[np.ix_(rows, columns)]
    if own:
        counts[half[0], half[1]] -= len(positions_nm)
    return counts.astype(np.float32)


def _image(index: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.float64]:
    flat = np.bincount(index[:, 0] * size[1] + index[:, 1], minlength=int(size.prod()))
    return flat.reshape(tuple(size)).astype(np.float64)
