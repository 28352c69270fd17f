"""Convert an SDM into the picture that the network of Li et al. 2021 takes as input.

Their program draws the map in false colours from zero to its largest bin, converts the picture to grey and scales it to
150 x 150. The colour map isn't stated; this uses matplotlib's default, viridis, whose luma increases monotonically with
the count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PICTURE_EDGE = 150
"""Edge of the picture, pixels."""

# fmt: off
LUMA = np.array([
    0.1202, 0.1875, 0.2411, 0.2844, 0.3196, 0.3498, 0.3780, 0.4056, 0.4328,
    0.4630, 0.5039, 0.5564, 0.6144, 0.6728, 0.7285, 0.7818, 0.8453,
])
# fmt: on
"""Luma (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B) of viridis at 0, 1/16, ..., 1."""


def paper_pictures(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw maps as grey pictures.

    Parameters
    ----------
    maps
        (..., bins_z, bins_x) counts.

    Returns
    -------
    (..., 150, 150) float32 grey values, 0 to 1; a map without counts is the colour of zero everywhere.
    """
    largest = maps.max(axis=(-2, -1), keepdims=True)
    scaled = maps / np.where(largest > 0, largest, 1)
    grey = np.interp(scaled, np.linspace(0, 1, LUMA.size), LUMA).astype(np.float32)
    down, across = (picture_weights(n) for n in maps.shape[-2:])
    return np.asarray(down @ grey @ across.T, dtype=np.float32)


def picture_weights(bins: int) -> NDArray[np.float32]:
    """Return the (150, bins) weights that resample an axis between pixel centres, with edge pixels extended."""
    at = np.clip((np.arange(PICTURE_EDGE) + 0.5) * bins / PICTURE_EDGE - 0.5, 0, bins - 1)
    low = np.minimum(at.astype(np.int64), max(bins - 2, 0))
    weights = np.zeros((PICTURE_EDGE, bins), dtype=np.float32)
    weights[np.arange(PICTURE_EDGE), low] = 1 - (at - low)
    weights[np.arange(PICTURE_EDGE), np.minimum(low + 1, bins - 1)] += at - low
    return weights
