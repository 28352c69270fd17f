"""Draw the spots of a pattern as Gaussians on a detector."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, radians, sin

import numpy as np
from numba import njit
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError
from braggwatch.sim.sadp.model import SpotPattern

_REACH_SIGMA = 4.0
"""Radius in standard deviations beyond which a Gaussian, below 4e-4 of its peak, is not drawn."""


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """Settings for drawing spots as a picture.

    Attributes
    ----------
    size_px
        Side of the square picture.
    inv_A_per_px
        Scale, 1/Å per pixel.
    spot_sigma_px
        Standard deviation of a spot, pixels.
    exponent
        The peak of a spot is its relative intensity to this power: 1 as measured, 0.25 to show weak spots too.
    direct_beam
        Peak of the spot at 000; 0: not drawn.
    centre_px
        Position of 000, (x, y) with the first pixel's centre at (0, 0); None: the middle of the picture.
    rotation_deg, mirrored
        The pattern is mirrored in x if ``mirrored``, then rotated, positive from x to y (clockwise on the screen).
    """

    size_px: int = 256
    inv_A_per_px: float = 0.012
    spot_sigma_px: float = 1.5
    exponent: float = 1.0
    direct_beam: float = 0.0
    centre_px: tuple[float, float] | None = None
    rotation_deg: float = 0.0
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.size_px < 1 or self.inv_A_per_px <= 0 or self.spot_sigma_px <= 0 or self.exponent <= 0:
            raise InputError("size_px, inv_A_per_px, spot_sigma_px and exponent must be above zero")


def render(pattern: SpotPattern, settings: RenderSettings) -> NDArray[np.float32]:
    """Draw a pattern.

    Returns
    -------
    NDArray
        (size_px, size_px) float32, rows downwards: sum of Gaussian spots with peak ``intensity ** exponent``.
    """
    turn = radians(settings.rotation_deg)
    scale = 1.0 / settings.inv_A_per_px
    flip = -1.0 if settings.mirrored else 1.0
    matrix = scale * np.array([[flip * cos(turn), -sin(turn)], [flip * sin(turn), cos(turn)]])
    middle = (settings.size_px - 1) / 2.0
    x, y = (middle, middle) if settings.centre_px is None else settings.centre_px
    image = np.zeros((settings.size_px, settings.size_px), dtype=np.float32)
    positions = np.ascontiguousarray(pattern.g_inv_A @ matrix.T + np.array([x, y]))
    peaks = np.ascontiguousarray(pattern.intensity**settings.exponent)
    draw_gaussians(image, positions, peaks, settings.spot_sigma_px)
    if settings.direct_beam > 0:
        draw_gaussians(image, np.array([[x, y]]), np.array([settings.direct_beam]), settings.spot_sigma_px)
    return image


@njit(cache=True, nogil=True)
def draw_gaussians(
    image: NDArray[np.float32], positions: NDArray[np.float64], peaks: NDArray[np.float64], sigma: float
) -> None:
    """Add Gaussians to an image in place.

    Parameters
    ----------
    image
        (H, W) float32.
    positions
        (N, 2) pixels, (x, y).
    peaks
        (N,).
    sigma
        Standard deviation in pixels.
    """
    height, width = image.shape
    # A hair more, so that a pixel at the very edge is drawn whichever way its spot's place was rounded.
    reach = _REACH_SIGMA * sigma + 1e-9
    narrow = -0.5 / (sigma * sigma)
    across = np.empty(int(2 * reach) + 2)
    for i in range(len(peaks)):
        x, y = positions[i, 0], positions[i, 1]
        if not (-reach < x < width + reach and -reach < y < height + reach):
            continue
        left, right = max(0, int(np.ceil(x - reach))), min(width - 1, int(np.floor(x + reach)))
        top, bottom = max(0, int(np.ceil(y - reach))), min(height - 1, int(np.floor(y + reach)))
        for column in range(left, right + 1):
            across[column - left] = exp(narrow * (column - x) ** 2)
        for row in range(top, bottom + 1):
            peak = peaks[i] * exp(narrow * (row - y) ** 2)
            for column in range(left, right + 1):
                image[row, column] += peak * across[column - left]
