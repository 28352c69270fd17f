"""The reduced plane cells that cubic crystals show along zone axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.sadp.groups import Zone
from braggwatch.models.sadp.plane_lattice import PlaneLattice

_RATIO_MARGIN = 0.02
_ANGLE_MARGIN_DEG = 1.2
"""Twice what an ellipse of 1 % makes of a cell, and as far as the foreign lattices of training keep away."""


def cubic_cells(zones: Iterable[Zone]) -> NDArray[np.float64]:
    """Return ratio and angle (degrees) of the reduced plane cells that cubic crystals show along zones, (M, 2).

    Of a primitive, a face-centred and a body-centred cell, and of a sublattice whose other points may be too weak to
    see.
    """
    return np.array(sorted({cell for zone in zones for cell in _zone_cells(zone)}))


def shows_cell(lattices: Sequence[PlaneLattice | None], cells: NDArray[np.float64]) -> bool:
    """Whether one of a pattern's lattices has one of some cells, (M, 2), within measuring error."""
    return any(
        bool(
            (
                (np.abs(cells[:, 0] / one.ratio - 1.0) < _RATIO_MARGIN)
                & (np.abs(cells[:, 1] - one.angle_deg) < _ANGLE_MARGIN_DEG)
            ).any()
        )
        for one in lattices
        if one is not None
    )


@cache
def _zone_cells(zone: Zone) -> frozenset[tuple[float, float]]:
    cells: set[tuple[float, float]] = set()
    axis = np.arange(-6, 7)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    parity = grid % 2
    lattices = (
        np.ones(len(grid), dtype=np.bool_),
        grid.sum(axis=1) % 2 == 0,
        (parity == parity[:, :1]).all(axis=1),
        (parity == 0).all(axis=1) & (grid.sum(axis=1) % 4 == 0),
    )
    for keep in lattices:
        points = grid[keep & (grid @ np.array(zone) == 0) & grid.any(axis=1)].astype(np.float64)
        points = points[np.argsort((points**2).sum(axis=1), kind="stable")]
        if not len(points):
            continue
        apart = np.linalg.norm(np.cross(points[0], points), axis=1) > 0.5
        if not apart.any():
            continue
        first, second = points[0], points[apart][0]
        cosine = abs(first @ second) / np.linalg.norm(first) / np.linalg.norm(second)
        ratio = float(np.linalg.norm(second) / np.linalg.norm(first))
        cells.add((round(ratio, 4), round(float(np.degrees(np.arccos(cosine))), 3)))
    return frozenset(cells)
