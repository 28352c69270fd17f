"""Grad-CAM and feature maps of a spatial distribution map as pixels, without a plotting library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.explain.sdm import SdmExplanation, stretched
from braggwatch.models.explain.picture import blended

_PANEL_PX = 300
_TILE_PX = 74
_TILES_A_ROW = 16
_GAP_PX = 6
_OPACITY = 0.7


def sdm_explanation_pixels(explanation: SdmExplanation) -> NDArray[np.uint8]:
    """Draw what the network looks at, the same below Grad-CAM, and what each convolution hands on.

    Returns
    -------
    (rows, columns, 3) uint8. First row: each panel in grey, dz upwards, then each panel below the evidence in
    vermilion, the strongest of the map the most opaque. Below, a block a convolution, the first on top: a tile a
    channel, each scaled by its own largest value, dark where it is silent.
    """
    size = (_PANEL_PX, _PANEL_PX)
    strength = _OPACITY * stretched(explanation.importance, size) / (float(explanation.importance.max()) or 1.0)
    panels = [np.repeat(_grey(stretched(one, size))[..., None], 3, axis=2) for one in explanation.shown]
    top = _beside([*panels, *(blended(one, strength) for one in panels)])[::-1]
    blocks = [top, *(_tiles(maps) for maps in explanation.feature_maps)]
    columns = max(one.shape[1] for one in blocks)
    padded = [
        np.pad(one, ((0, _GAP_PX * 2), (0, columns - one.shape[1]), (0, 0)), constant_values=255) for one in blocks
    ]
    return np.concatenate(padded, axis=0)


def _tiles(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    tiles = [np.repeat(_grey(stretched(one, (_TILE_PX, _TILE_PX)))[::-1, :, None], 3, axis=2) for one in maps]
    rows = [_beside(tiles[at : at + _TILES_A_ROW]) for at in range(0, len(tiles), _TILES_A_ROW)]
    columns = max(row.shape[1] for row in rows)
    return np.concatenate(
        [np.pad(row, ((0, _GAP_PX), (0, columns - row.shape[1]), (0, 0)), constant_values=255) for row in rows], axis=0
    )


def _beside(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((pictures[0].shape[0], _GAP_PX, 3), 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)


def _grey(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    return np.rint(255 * (values - low) / ((high - low) or 1.0)).astype(np.uint8)
