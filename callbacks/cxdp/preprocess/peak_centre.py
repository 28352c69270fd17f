"""Find the centre of a Bragg peak by a windowed centre of mass, blind to aliens outside the window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SEARCH = 16
_ITERATIONS = 8
_SETTLED_VOXELS = 0.02


def peak_centre(intensity: NDArray[np.float32], window_voxels: float) -> NDArray[np.float64]:
    """Return the (3,) fractional voxel of the peak: smoothed maximum, then centres of mass in a moving sphere.

    Parameters
    ----------
    intensity
        (n, n, n) non-negative, the peak within 16 voxels of the middle.
    window_voxels
        Radius of the sphere; two fringe periods hold the split peak of a dislocation and leave out what is further.

    Returns
    -------
    (3,) float64 in voxels. The middle of the array where there is no intensity.
    """
    middle = intensity.shape[0] // 2
    reach = min(_SEARCH, middle)
    block = intensity[middle - reach : middle + reach, middle - reach : middle + reach, middle - reach : middle + reach]
    smooth = ndimage.uniform_filter(block, size=3, mode="constant")
    start = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    centre = np.asarray(start, dtype=np.float64) + (middle - reach)
    if not block.any():
        return np.full(3, float(middle))
    for _ in range(_ITERATIONS):
        moved = _centre_of_mass(intensity, centre, window_voxels)
        settled = bool(np.abs(moved - centre).max() < _SETTLED_VOXELS)
        centre = moved
        if settled:
            break
    return centre


def _centre_of_mass(intensity: NDArray[np.float32], centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    size = np.array(intensity.shape)
    low = np.clip(np.floor(centre - radius - 1).astype(int), 0, size)
    high = np.clip(np.ceil(centre + radius + 2).astype(int), 0, size)
    block = intensity[low[0] : high[0], low[1] : high[1], low[2] : high[2]].astype(np.float64)
    x, y, z = (np.arange(low[a], high[a]) - centre[a] for a in range(3))
    distance = np.sqrt(x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2)
    # A soft rim: a hard one makes the result jump as single voxels enter.
    weighted = block * np.clip(radius + 0.5 - distance, 0.0, 1.0)
    total = float(weighted.sum())
    if total <= 0:
        return centre
    shift = np.array(
        [
            float((weighted.sum(axis=(1, 2)) * x).sum()),
            float((weighted.sum(axis=(0, 2)) * y).sum()),
            float((weighted.sum(axis=(0, 1)) * z).sum()),
        ]
    )
    return centre + shift / total
