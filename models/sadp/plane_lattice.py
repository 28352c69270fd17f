"""The plane lattice that the spots of one zone-axis pattern lie on.

Whatever turns, mirrors, scales or slightly distorts a pattern changes the lattice's vectors and not the indices of its
spots: indices and their intensities are what a network may rely on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SHORTEST = 14
_PAIRS_OF_VECTORS = 40
_RELATIVE_TOLERANCE = 0.015
_ENOUGH = 0.97


@dataclass(frozen=True, slots=True)
class PlaneLattice:
    """A reduced cell: |a| ≤ |b|, the angle between them from 60 to 90°.

    Attributes
    ----------
    a, b
        (2,) float64 in the unit of the positions.
    indices
        (N, 2) int32: spot n lies near ``indices[n] @ (a, b)``.
    explained
        (N,) bool: near enough.
    residual
        Root mean square distance of the explained spots from their lattice points, in the unit of the positions.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    indices: NDArray[np.int32]
    explained: NDArray[np.bool_]
    residual: float

    @property
    def ratio(self) -> float:
        """|b| / |a|, at least 1."""
        return float(np.hypot(*self.b) / np.hypot(*self.a))

    @property
    def angle_deg(self) -> float:
        """Angle between a and b, 60 to 90."""
        cosine = float(self.a @ self.b) / float(np.hypot(*self.a) * np.hypot(*self.b))
        return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))

    @property
    def unexplained(self) -> float:
        """Fraction of the spots off the lattice."""
        return float(1.0 - self.explained.mean())


def find_lattice(
    positions: NDArray[np.floating], tolerance: float, weights: NDArray[np.floating] | None = None
) -> PlaneLattice | None:
    """Find the lattice through the origin that explains most spots beyond what chance would.

    Parameters
    ----------
    positions
        (N, 2) relative to the direct beam, any unit; the direct beam itself left out.
    tolerance
        Uncertainty of a position near the origin, same unit; 1.5 % of the distance is added to it while searching.
    weights
        (N,) how much each spot counts; None: all the same.

    Returns
    -------
    PlaneLattice | None
        None where fewer than two directions are seen.
    """
    points = np.ascontiguousarray(positions, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"positions must be (N, 2), got shape {points.shape}")
    if not tolerance > 0.0:
        raise ValueError(f"the tolerance must be positive, got {tolerance}")
    weight = np.ones(len(points)) if weights is None else np.ascontiguousarray(weights, dtype=np.float64)
    cell = np.zeros((2, 2))
    indices = np.zeros((len(points), 2), dtype=np.int32)
    explained = np.zeros(len(points), dtype=np.bool_)
    residual = fit_cell(points, weight, float(tolerance), cell, indices, explained)
    if residual < 0:
        return None
    return PlaneLattice(cell[0], cell[1], indices, explained, residual)


@njit(cache=True, nogil=True)
def fit_cell(
    points: NDArray[np.float64],
    weight: NDArray[np.float64],
    tolerance: float,
    cell: NDArray[np.float64],
    indices: NDArray[np.int32],
    explained: NDArray[np.bool_],
) -> float:
    """Fill in the reduced cell (2, 2), indices (N, 2) and whether explained (N,); return the residual, or -1."""
    count = len(points)
    if count < 2:
        return -1.0
    length = np.sqrt(points[:, 0] ** 2 + points[:, 1] ** 2)
    short = np.argsort(length)[: min(count, _SHORTEST)]
    vectors = np.empty((len(short), 2))
    kept = 0
    for i in short:
        kept = _add_vector(vectors, kept, points[i, 0], points[i, 1], tolerance)
    best = _best_pair(points, weight, vectors[:kept], tolerance, cell)
    if best < _ENOUGH:
        # the lattice's shortest vectors may be no spots: differences of spots are vectors of it, too
        many = np.empty((kept + kept * (kept - 1), 2))
        many[:kept] = vectors[:kept]
        total = kept
        for i in range(kept):
            for j in range(i):
                for sign in (-1.0, 1.0):
                    x = vectors[i, 0] + sign * vectors[j, 0]
                    y = vectors[i, 1] + sign * vectors[j, 1]
                    total = _add_vector(many, total, x, y, tolerance)
        size = many[:total, 0] ** 2 + many[:total, 1] ** 2
        chosen = np.argsort(size)[: min(total, _PAIRS_OF_VECTORS)]
        other = np.zeros((2, 2))
        if _best_pair(points, weight, many[chosen], tolerance, other) > best + 0.02:
            best = 1.0
            cell[:] = other
    if best < 0:
        return -1.0
    residual = -1.0
    for narrow in (1.0, 1.0, 0.7):
        _index(points, cell, narrow * tolerance, narrow * _RELATIVE_TOLERANCE, indices, explained)
        residual = _refine(points, indices, explained, cell)
        if residual < 0:
            return -1.0
    reduce_cell(cell)
    _index(points, cell, tolerance, 0.5 * _RELATIVE_TOLERANCE, indices, explained)
    return residual


@njit(cache=True, nogil=True)
def _add_vector(vectors: NDArray[np.float64], kept: int, x: float, y: float, tolerance: float) -> int:
    if x * x + y * y < 9.0 * tolerance * tolerance:
        return kept
    for j in range(kept):
        near = (vectors[j, 0] - x) ** 2 + (vectors[j, 1] - y) ** 2
        opposite = (vectors[j, 0] + x) ** 2 + (vectors[j, 1] + y) ** 2
        if min(near, opposite) < 4.0 * tolerance * tolerance:
            return kept
    vectors[kept, 0], vectors[kept, 1] = x, y
    return kept + 1


@njit(cache=True, nogil=True)
def _best_pair(
    points: NDArray[np.float64],
    weight: NDArray[np.float64],
    vectors: NDArray[np.float64],
    tolerance: float,
    cell: NDArray[np.float64],
) -> float:
    best = -1.0
    total = weight.sum()
    for i in range(len(vectors)):
        for j in range(i):
            ax, ay, bx, by = vectors[i, 0], vectors[i, 1], vectors[j, 0], vectors[j, 1]
            area = ax * by - ay * bx
            if abs(area) < 0.25 * np.sqrt((ax * ax + ay * ay) * (bx * bx + by * by)):
                continue
            inverse = 1.0 / area
            score = 0.0
            left = total
            for n in range(len(points)):
                x, y = points[n, 0], points[n, 1]
                h = np.rint((x * by - y * bx) * inverse)
                k = np.rint((ax * y - ay * x) * inverse)
                dx, dy = x - h * ax - k * bx, y - h * ay - k * by
                # an error of the vectors grows with the order, until they are refined
                reach = tolerance * (1.0 + 0.5 * (abs(h) + abs(k))) + _RELATIVE_TOLERANCE * np.sqrt(x * x + y * y)
                chance = min(1.0, np.pi * reach * reach * abs(inverse))
                score -= weight[n] * chance
                if dx * dx + dy * dy < reach * reach:
                    score += weight[n]
                left -= weight[n]
                if score + left < best * total:
                    break
            if score > best * total:
                best = score / total
                cell[0, 0], cell[0, 1], cell[1, 0], cell[1, 1] = ax, ay, bx, by
    return best


@njit(cache=True, nogil=True)
def _index(
    points: NDArray[np.float64],
    cell: NDArray[np.float64],
    tolerance: float,
    relative: float,
    indices: NDArray[np.int32],
    explained: NDArray[np.bool_],
) -> None:
    ax, ay, bx, by = cell[0, 0], cell[0, 1], cell[1, 0], cell[1, 1]
    inverse = 1.0 / (ax * by - ay * bx)
    shortest = min(np.sqrt(ax * ax + ay * ay), np.sqrt(bx * bx + by * by))
    for n in range(len(points)):
        x, y = points[n, 0], points[n, 1]
        h = np.rint((x * by - y * bx) * inverse)
        k = np.rint((ax * y - ay * x) * inverse)
        reach = min(2.0 * tolerance + relative * np.sqrt(x * x + y * y), 0.3 * shortest)
        dx, dy = x - h * ax - k * bx, y - h * ay - k * by
        indices[n, 0], indices[n, 1] = h, k
        explained[n] = dx * dx + dy * dy < reach * reach and (h != 0 or k != 0)


@njit(cache=True, nogil=True)
def _refine(
    points: NDArray[np.float64], indices: NDArray[np.int32], explained: NDArray[np.bool_], cell: NDArray[np.float64]
) -> float:
    hh, hk, kk = 0.0, 0.0, 0.0
    right = np.zeros((2, 2))
    inside = 0
    for n in range(len(points)):
        if explained[n]:
            h, k = float(indices[n, 0]), float(indices[n, 1])
            hh, hk, kk = hh + h * h, hk + h * k, kk + k * k
            for axis in range(2):
                right[0, axis] += h * points[n, axis]
                right[1, axis] += k * points[n, axis]
            inside += 1
    determinant = hh * kk - hk * hk
    if inside < 2 or determinant <= 1e-9:
        return -1.0
    for axis in range(2):
        cell[0, axis] = (kk * right[0, axis] - hk * right[1, axis]) / determinant
        cell[1, axis] = (hh * right[1, axis] - hk * right[0, axis]) / determinant
    total = 0.0
    for n in range(len(points)):
        if explained[n]:
            for axis in range(2):
                off = points[n, axis] - indices[n, 0] * cell[0, axis] - indices[n, 1] * cell[1, axis]
                total += off * off
    return float(np.sqrt(total / inside))


@njit(cache=True, nogil=True)
def reduce_cell(cell: NDArray[np.float64]) -> None:
    """Reduce a (2, 2) cell in place (Gauss): |a| ≤ |b| and 0 ≤ a·b ≤ |a|²/2."""
    for _ in range(64):
        aa = cell[0, 0] ** 2 + cell[0, 1] ** 2
        bb = cell[1, 0] ** 2 + cell[1, 1] ** 2
        if bb < aa:
            for axis in range(2):
                cell[0, axis], cell[1, axis] = cell[1, axis], cell[0, axis]
            aa, bb = bb, aa
        ab = cell[0, 0] * cell[1, 0] + cell[0, 1] * cell[1, 1]
        steps = np.rint(ab / aa)
        if steps == 0:
            if ab < 0:
                cell[1] *= -1.0
            return
        cell[1] -= steps * cell[0]


@njit(cache=True, nogil=True)
def equivalent_bases(cell: NDArray[np.float64], length_slack: float, cosine_slack: float) -> NDArray[np.int32]:
    """List the bases that measuring errors could make the reduced one, as integer matrices on the given cell.

    A basis and its inverse count once: intensities of Friedel pairs are taken together.

    Returns
    -------
    NDArray
        (M, 2, 2) int32, M from 1 (oblique) to 6 (hexagonal); the given cell is the first.
    """
    steps = np.array([[1, 0], [0, 1], [1, -1], [-1, 1], [0, -1], [-1, 0]], dtype=np.int32)
    vector = steps.astype(np.float64) @ cell
    length = np.sqrt(vector[:, 0] ** 2 + vector[:, 1] ** 2)
    found = np.empty((12, 2, 2), dtype=np.int32)
    found[0, 0], found[0, 1] = steps[0], steps[1]
    total = 1
    for i in range(3):
        if length[i] > length[0] * (1.0 + length_slack):
            continue
        for j in range(6):
            if j == i or j == 5 - i or length[j] > length[1] * (1.0 + length_slack):
                continue
            cosine = (vector[i, 0] * vector[j, 0] + vector[i, 1] * vector[j, 1]) / (length[i] * length[j])
            if -cosine_slack <= cosine <= 0.5 + cosine_slack and not (i == 0 and j == 1):
                found[total, 0], found[total, 1] = steps[i], steps[j]
                total += 1
    return found[:total]
