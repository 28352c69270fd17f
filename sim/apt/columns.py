"""Ions sorted into columns along z, so that neighbours are found by walking up a few adjacent columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class Columns:
    """Square columns along z.

    Attributes
    ----------
    order
        (N,) int64: ions column by column (x-major), by ascending z in each column.
    start
        (columns + 1,) int64: start of each column in ``order``.
    shape
        Columns along x and y.
    offset
        Number of columns before the origin along x and y.
    """

    order: NDArray[np.int64]
    start: NDArray[np.int64]
    shape: tuple[int, int]
    offset: tuple[int, int]


def sort_into_columns(
    positions_nm: NDArray[np.float32], origin_nm: tuple[float, float], edge_nm: float, least: tuple[int, int] = (1, 1)
) -> Columns:
    """Sort ions into square columns; from the origin on there are at least ``least`` columns along x and y.

    Raises
    ------
    InputError
        If a position isn't finite.
    """
    if not np.isfinite(positions_nm).all():
        raise InputError("some ions have a position that is not finite")
    cx = np.floor((positions_nm[:, 0].astype(np.float64) - origin_nm[0]) / edge_nm).astype(np.int64)
    cy = np.floor((positions_nm[:, 1].astype(np.float64) - origin_nm[1]) / edge_nm).astype(np.int64)
    first_x, first_y = int(cx.min(initial=0)), int(cy.min(initial=0))
    nx = max(least[0], int(cx.max(initial=0)) + 1) - first_x
    ny = max(least[1], int(cy.max(initial=0)) + 1) - first_y
    column = (cx - first_x) * ny + (cy - first_y)
    start = np.zeros(nx * ny + 1, dtype=np.int64)
    np.cumsum(np.bincount(column, minlength=nx * ny), out=start[1:])
    return Columns(np.lexsort((positions_nm[:, 2], column)), start, (nx, ny), (-first_x, -first_y))
