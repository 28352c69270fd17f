"""A picture of the streaks about a peak and of where a crystal's facets would have them, without a plotting library.

Directions are shown in a stereographic projection with Q in the middle: the rim is perpendicular to Q.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from braggwatch.callbacks.cxdp.geometry_check.examining import StreakView

# Vermilion, blue and bluish green of Okabe and Ito (2008): told apart by the colour-blind, and from grey.
FOUND_RGB = (213, 94, 0)
EXPECTED_RGB = ((0, 114, 178), (0, 158, 115), (86, 180, 233))

_SIDE_PX = 480
_GAP_PX = 8
_RADII = np.arange(14.0, 30.0)
_IN_FAMILIES = (4, 3, 6)


def streak_picture(views: Sequence[StreakView]) -> NDArray[np.uint8]:
    """Draw the views side by side.

    Returns
    -------
    (rows, columns, 3) uint8. Grey: intensity along each direction, over both its senses, far from the peak. Vermilion
    rings: streaks found. Crosses: expected facets, {111} blue, {100} green, {110} light blue.
    """
    gap = np.full((_SIDE_PX, _GAP_PX, 3), 255, dtype=np.uint8)
    panels = [panel for view in views for panel in (_panel(view), gap)]
    return np.concatenate(panels[:-1], axis=1) if panels else np.full((1, 1, 3), 255, dtype=np.uint8)


def _panel(view: StreakView) -> NDArray[np.uint8]:
    radius = _SIDE_PX / 2 - 1
    down, right = np.mgrid[0:_SIDE_PX, 0:_SIDE_PX] - (_SIDE_PX - 1) / 2
    u, v = right / radius, -down / radius
    square = u**2 + v**2
    inside = square <= 1.0
    # axis 0, Q, towards the viewer; axis 1 to the right, axis 2 up
    directions = np.stack([1 - square, 2 * u, 2 * v], axis=-1)[inside] / (1 + square[inside])[:, None]
    shown = np.zeros(square.shape)
    shown[inside] = _along(view.intensity, directions)
    grey = np.where(inside, 40 + 200 * shown, 255.0)
    picture = np.rint(np.repeat(grey[..., None], 3, axis=2)).astype(np.uint8)
    first = 0
    for count, colour, reach in zip(_IN_FAMILIES, EXPECTED_RGB, (12.0, 12.0, 8.0), strict=True):
        for direction in view.expected[first : first + count]:
            for column, row in _places(direction, radius):
                across, along = np.abs(right - column), np.abs(down - row)
                picture[((across < 1.2) & (along < reach)) | ((along < 1.2) & (across < reach))] = colour
        first += count
    for direction in view.found:
        for column, row in _places(direction, radius):
            distance = np.hypot(right - column, down - row)
            picture[(distance > 13.0) & (distance < 16.0)] = FOUND_RGB
    return picture


def _along(intensity: NDArray[np.float32], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (m,) brightness from 0 to 1 along (m, 3) directions, each shell relative to its mean."""
    middle = intensity.shape[0] // 2
    total = np.zeros(len(directions))
    for radius in _RADII:
        both = [
            ndimage.map_coordinates(intensity, (middle + sign * radius * directions).T, order=1) for sign in (1.0, -1.0)
        ]
        value = np.sqrt(np.minimum(both[0], both[1]).clip(min=0.0))
        total += value / max(float(value.mean()), 1e-9)
    low, high = np.quantile(total, (0.05, 0.999))
    return np.asarray(((total - low) / max(float(high - low), 1e-9)).clip(0.0, 1.0), dtype=np.float64)


def _places(direction: NDArray[np.float64], radius: float) -> list[tuple[float, float]]:
    """Return where a line is shown: once, or at both ends where it lies in the rim."""
    line = direction if direction[0] >= 0 else -direction
    ends = [line] if line[0] > 0.02 else [line, -line]
    return [
        (radius * float(end[1]) / (1 + abs(float(end[0]))), -radius * float(end[2]) / (1 + abs(float(end[0]))))
        for end in ends
    ]
