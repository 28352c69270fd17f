"""An explanation over the slices it explains, as pixels or PNG, without a plotting library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.explain.explanation import Explanation
from braggwatch.models.slice_picture import png_bytes, render_slices

# Vermilion and blue of Okabe and Ito (2008): told apart by the colour-blind, and neither is in the grey below.
FOR_RGB = (213, 94, 0)
AGAINST_RGB = (0, 114, 178)

_STRONGEST = 0.85
_GAP_PX = 4


def explanation_pixels(counts: NDArray[np.float32], explanation: Explanation, *, zoom: int = 4) -> NDArray[np.uint8]:
    """Draw the three central slices twice: as they are, and in grey below the explanation.

    Parameters
    ----------
    counts
        (n, n, n) model input, axis 0 along Q.
    explanation
        Vermilion where the evidence for its class lies, blue where hiding raises the class; the strongest of the
        whole map is the most opaque.
    zoom
        Pixels a voxel.

    Returns
    -------
    (rows, columns, 3) uint8; upper row and lower row as `braggwatch.models.slice_picture.render_slices` lays them out.
    """
    plain = render_slices(counts, zoom=zoom)
    size = counts.shape[0]
    planes = explanation.planes(size)
    # The order and orientation of render_slices: Q points up in the second and third.
    shown = [planes[0], planes[1][::-1], planes[2][::-1]]
    scale = float(np.abs(explanation.importance).max()) or 1.0
    gap = np.zeros((size * zoom, _GAP_PX))
    enlarged = [np.kron(plane, np.ones((zoom, zoom))) for plane in shown]
    strength = np.concatenate([enlarged[0], gap, enlarged[1], gap, enlarged[2]], axis=1) / scale
    below = blended(_grey(counts, zoom), strength)
    between = np.full((_GAP_PX, plain.shape[1], 3), 255, dtype=np.uint8)
    return np.concatenate([plain, between, below], axis=0)


def explanation_png(counts: NDArray[np.float32], explanation: Explanation, *, zoom: int = 4) -> bytes:
    """Return `explanation_pixels` as a PNG file's bytes."""
    return png_bytes(explanation_pixels(counts, explanation, zoom=zoom))


def blended(picture: NDArray[np.uint8], strength: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Lay colour over a picture, as opaque as the strength in [-1, 1] says.

    Parameters
    ----------
    picture
        (rows, columns, 3) uint8.
    strength
        (rows, columns); positive takes `FOR_RGB`, negative `AGAINST_RGB`.
    """
    opacity = (_STRONGEST * np.abs(strength).clip(0.0, 1.0))[..., None]
    colour = np.where((strength > 0)[..., None], np.array(FOR_RGB), np.array(AGAINST_RGB))
    return np.rint(picture * (1.0 - opacity) + colour * opacity).astype(np.uint8)


def _grey(counts: NDArray[np.float32], zoom: int) -> NDArray[np.uint8]:
    """Return the slices in grey, laid out as `render_slices` does."""
    colour = render_slices(counts, zoom=zoom).astype(np.float64)
    # Rec. 709 luma: the map in use rises evenly in it, so that the order of counts survives.
    luma = colour @ np.array([0.2126, 0.7152, 0.0722])
    return np.repeat(np.rint(luma).astype(np.uint8)[..., None], 3, axis=2)
