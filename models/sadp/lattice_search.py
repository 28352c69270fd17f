"""The search for plane lattices that the spots of one zone-axis pattern may lie on.

Spots of higher Laue zones lie off the lattice of the zero layer, and so many of them can be seen in a thin foil that a
finer net explains more spots. Three things tell them apart, and none of them always: most have no Friedel mate, they
are weak, and far out. So several lattices are found, each by weights of its own, and the network judges by all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from braggwatch.models.sadp.lattice_map import Field, in_sight
from braggwatch.models.sadp.plane_lattice import PlaneLattice, index_spots, reduce_cell, refine_cell

SEARCHES = 3
"""Lattices looked for: few spots off it; strong spots, those near the centre less; those near the centre more."""
_EXPONENT = (0.25, 0.5, 0.25)
"""Of the intensity in a spot's weight."""
_TAPER = (0, 2, 1)
"""0: none. 1: falls off over half of the picture. 2: rises over the inner third."""
_PENALTY = (2.0, 2.0, 1.0)
"""How much of what chance explains is taken off."""
_TOLERANCE = (0.625, 1.0, 0.625)
"""Share of the tolerance."""
_BRIGHTEST = 30
"""Spots that a lattice is judged by."""
_SHORTEST = 24
_PAIRS_OF_VECTORS = 40
_ENOUGH = 0.97
_BETTER_BY = 0.02
_WITHOUT_MATE = 0.05
_MOST_OF_IT = 0.75
_NEAR = 0.5
_FAR = 0.3
_RELATIVE_TOLERANCE = 0.015
EXPLAINED_RELATIVE = 0.5 * _RELATIVE_TOLERANCE
"""Share of the distance that is added to the tolerance of a spot on the lattice found."""


def find_lattices(
    positions: NDArray[np.floating],
    tolerance: float,
    intensities: NDArray[np.floating] | None = None,
    field: Field | None = None,
) -> tuple[PlaneLattice | None, ...]:
    """Find lattices through the origin that explain more spots than chance would, in three ways.

    Parameters
    ----------
    positions
        (N, 2) relative to the direct beam, any unit; the direct beam itself left out.
    tolerance
        Uncertainty of a position near the origin, same unit; 1.5 % of the distance is added to it while searching.
    intensities
        (N,) above zero; None: all the same.
    field
        What was in sight, same unit: a spot whose Friedel mate should be seen and isn't counts a twentieth. None: none
        is missed.

    Returns
    -------
    tuple
        `SEARCHES` of them; None where a search found none, or the same as one before it.

    Raises
    ------
    ValueError
        If the positions aren't (N, 2) or the tolerance isn't positive.
    """
    points = np.ascontiguousarray(positions, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"positions must be (N, 2), got shape {points.shape}")
    if not tolerance > 0.0:
        raise ValueError(f"the tolerance must be positive, got {tolerance}")
    strength = np.ones(len(points)) if intensities is None else np.ascontiguousarray(intensities, dtype=np.float64)
    mates = np.ones(len(points)) if field is None else mate_weights(points, field.to_array(), float(tolerance))
    if field is not None:
        reach = 0.25 * (field.x_to - field.x_from + field.y_to - field.y_from)
    else:
        reach = float(np.abs(points).max()) if len(points) else 1.0
    cells = np.zeros((SEARCHES, 2, 2))
    there = search_cells(points, strength, mates, float(tolerance), reach, cells)
    found: list[PlaneLattice | None] = []
    for number in range(SEARCHES):
        if not there[number]:
            found.append(None)
            continue
        indices = np.zeros((len(points), 2), dtype=np.int32)
        explained = np.zeros(len(points), dtype=np.bool_)
        cell = cells[number]
        residual = index_spots(points, cell, float(tolerance), EXPLAINED_RELATIVE, indices, explained)
        found.append(PlaneLattice(cell, indices, explained, float(residual)))
    return tuple(found)


def best_lattice(
    lattices: Sequence[PlaneLattice | None], intensities: NDArray[np.floating], tolerance: float
) -> PlaneLattice | None:
    """Choose one lattice: the first that explains three quarters of the amplitude, else the one that explains most.

    Most, that is, beyond twice what one as fine would by chance. None of none.
    """
    amplitude = np.sqrt(np.asarray(intensities, dtype=np.float64))

    def share(one: PlaneLattice) -> float:
        return float(amplitude[one.explained].sum() / amplitude.sum())

    def worth(one: PlaneLattice) -> float:
        chance = min(1.0, np.pi * (2.0 * tolerance) ** 2 / abs(float(np.linalg.det(one.cell))))
        return share(one) - 2.0 * chance

    found = [one for one in lattices if one is not None]
    good = (one for one in found if share(one) > _MOST_OF_IT)
    return next(good, max(found, key=worth, default=None))


@njit(cache=True, nogil=True)
def mate_weights(points: NDArray[np.float64], field: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Return (N,) 1 where a spot's Friedel mate is seen or out of sight, else a twentieth."""
    weights = np.ones(len(points))
    for n in range(len(points)):
        x, y = -points[n, 0], -points[n, 1]
        if not in_sight(x, y, field):
            continue
        nearest = 1e300
        for other in range(len(points)):
            nearest = min(nearest, (points[other, 0] - x) ** 2 + (points[other, 1] - y) ** 2)
        if nearest > 4.0 * tolerance * tolerance:
            weights[n] = _WITHOUT_MATE
    return weights


@njit(cache=True, nogil=True)
def search_cells(
    points: NDArray[np.float64],
    strength: NDArray[np.float64],
    mates: NDArray[np.float64],
    tolerance: float,
    reach: float,
    cells: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Fill in the reduced cells, (SEARCHES, 2, 2); say which there are.

    Parameters
    ----------
    strength, mates
        (N,) intensities, and weights that `mate_weights` gives.
    reach
        Half side of what was in sight.
    """
    there = np.zeros(SEARCHES, dtype=np.bool_)
    if len(points) < 2:
        return there
    order = np.argsort(-strength * mates**4)
    order = order[: min(_BRIGHTEST, len(order))]
    some = points[order]
    top = strength.max()
    weight = np.empty((SEARCHES, len(some)))
    tolerances, penalties = np.empty(SEARCHES), np.empty(SEARCHES)
    for search in range(SEARCHES):
        tolerances[search] = _TOLERANCE[search] * tolerance
        penalties[search] = _PENALTY[search]
        for n in range(len(some)):
            out = np.sqrt(some[n, 0] ** 2 + some[n, 1] ** 2) / reach
            weight[search, n] = (strength[order[n]] / top) ** _EXPONENT[search] * mates[order[n]]
            if _TAPER[search] == 1:
                weight[search, n] *= np.exp(-((out / _NEAR) ** 2))
            elif _TAPER[search] == 2:
                weight[search, n] *= min(1.0, out / _FAR)
    apart = _TOLERANCE[0] * tolerance
    short = np.argsort(some[:, 0] ** 2 + some[:, 1] ** 2)[:_SHORTEST]
    vectors = np.empty((len(short), 2))
    kept = 0
    for n in short:
        kept = _add_vector(vectors, kept, some[n, 0], some[n, 1], apart)
    best = np.full(SEARCHES, -1.0)
    _best_pairs(some, weight, tolerances, penalties, vectors[:kept], 0.0, best, cells)
    if best.min() < _ENOUGH:
        # the lattice's shortest vectors may be no spots: differences of spots are vectors of it, too
        many = np.empty((kept * kept, 2))
        many[:kept] = vectors[:kept]
        total = kept
        for i in range(kept):
            for j in range(i):
                for sign in (-1.0, 1.0):
                    x = vectors[i, 0] + sign * vectors[j, 0]
                    y = vectors[i, 1] + sign * vectors[j, 1]
                    total = _add_vector(many, total, x, y, apart)
        chosen = np.argsort(many[:total, 0] ** 2 + many[:total, 1] ** 2)[:_PAIRS_OF_VECTORS]
        _best_pairs(some, weight, tolerances, penalties, many[chosen], _BETTER_BY, best, cells)
    for search in range(SEARCHES):
        if best[search] >= 0 and _settle(points, tolerances[search], cells[search]):
            there[search] = True
            for other in range(search):
                if there[other] and _same_lattice(cells[search], cells[other]):
                    there[search] = False
    return there


@njit(cache=True, nogil=True)
def _add_vector(vectors: NDArray[np.float64], kept: int, x: float, y: float, apart: float) -> int:
    if x * x + y * y < 9.0 * apart * apart:
        return kept
    for j in range(kept):
        near = (vectors[j, 0] - x) ** 2 + (vectors[j, 1] - y) ** 2
        opposite = (vectors[j, 0] + x) ** 2 + (vectors[j, 1] + y) ** 2
        if min(near, opposite) < 4.0 * apart * apart:
            return kept
    vectors[kept, 0], vectors[kept, 1] = x, y
    return kept + 1


@njit(cache=True, nogil=True)
def _best_pairs(
    points: NDArray[np.float64],
    weight: NDArray[np.float64],
    tolerances: NDArray[np.float64],
    penalties: NDArray[np.float64],
    vectors: NDArray[np.float64],
    better_by: float,
    best: NDArray[np.float64],
    cells: NDArray[np.float64],
) -> None:
    """Score each pair of vectors for all searches at once; update scores and cells in place where better."""
    searches = len(best)
    total = weight.sum(axis=1)
    wanted = (best + better_by) * total
    score, left = np.empty(searches), np.empty(searches)
    for i in range(len(vectors)):
        for j in range(i):
            ax, ay, bx, by = vectors[i, 0], vectors[i, 1], vectors[j, 0], vectors[j, 1]
            area = ax * by - ay * bx
            if abs(area) < 0.25 * np.sqrt((ax * ax + ay * ay) * (bx * bx + by * by)):
                continue
            inverse = 1.0 / area
            score[:], left[:] = 0.0, total
            hopeful = True
            for n in range(len(points)):
                x, y = points[n, 0], points[n, 1]
                h = np.rint((x * by - y * bx) * inverse)
                k = np.rint((ax * y - ay * x) * inverse)
                dx, dy = x - h * ax - k * bx, y - h * ay - k * by
                distance = np.sqrt(x * x + y * y)
                hopeful = False
                for search in range(searches):
                    # an error of the vectors grows with the order, until they are refined
                    reach = tolerances[search] * (1.0 + 0.5 * (abs(h) + abs(k))) + _RELATIVE_TOLERANCE * distance
                    square = reach * reach
                    one = weight[search, n]
                    score[search] -= penalties[search] * one * min(1.0, np.pi * square * abs(inverse))
                    if dx * dx + dy * dy < square:
                        score[search] += one
                    left[search] -= one
                    hopeful = hopeful or score[search] + left[search] > wanted[search]
                if not hopeful:
                    break
            if not hopeful:
                continue
            for search in range(searches):
                if score[search] > wanted[search]:
                    wanted[search], best[search] = score[search], score[search] / total[search]
                    cells[search, 0, 0], cells[search, 0, 1] = ax, ay
                    cells[search, 1, 0], cells[search, 1, 1] = bx, by


@njit(cache=True, nogil=True)
def _settle(points: NDArray[np.float64], tolerance: float, cell: NDArray[np.float64]) -> bool:
    """Refine a cell by all spots near its lattice and reduce it, in place; False where too few are."""
    indices = np.zeros((len(points), 2), dtype=np.int32)
    explained = np.zeros(len(points), dtype=np.bool_)
    for narrow in (1.0, 1.0, 0.7):
        index_spots(points, cell, narrow * tolerance, narrow * _RELATIVE_TOLERANCE, indices, explained)
        if not refine_cell(points, indices, explained, cell):
            return False
    reduce_cell(cell)
    return True


@njit(cache=True, nogil=True)
def _same_lattice(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    area = other[0, 0] * other[1, 1] - other[0, 1] * other[1, 0]
    ratio = (one[0, 0] * one[1, 1] - one[0, 1] * one[1, 0]) / area
    if abs(abs(ratio) - 1.0) > 0.1:
        return False
    for row in range(2):
        h = (one[row, 0] * other[1, 1] - one[row, 1] * other[1, 0]) / area
        k = (one[row, 1] * other[0, 0] - one[row, 0] * other[0, 1]) / area
        if abs(h - np.rint(h)) > 0.1 or abs(k - np.rint(k)) > 0.1:
            return False
    return True
