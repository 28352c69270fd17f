"""The plane lattice that the spots of one zone-axis pattern lie on.

Whatever turns, mirrors, scales or slightly distorts a pattern changes the lattice's vectors and not the indices of its
spots: indices and their intensities are what a network may rely on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PlaneLattice:
    """A reduced cell: |a| ≤ |b|, the angle between them from 60 to 90°.

    Attributes
    ----------
    cell
        (2, 2) float64, rows a and b in the unit of the positions.
    indices
        (N, 2) int32: spot n lies near ``indices[n] @ cell``.
    explained
        (N,) bool: near enough.
    residual
        Root mean square distance of the explained spots from their lattice points, in the unit of the positions.
    """

    cell: NDArray[np.float64]
    indices: NDArray[np.int32]
    explained: NDArray[np.bool_]
    residual: float

    @property
    def a(self) -> NDArray[np.float64]:
        """The shorter vector, (2,)."""
        return self.cell[0]

    @property
    def b(self) -> NDArray[np.float64]:
        """The longer vector, (2,)."""
        return self.cell[1]

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


@njit(cache=True, nogil=True)
def index_spots(
    points: NDArray[np.float64],
    cell: NDArray[np.float64],
    tolerance: float,
    relative: float,
    indices: NDArray[np.int32],
    explained: NDArray[np.bool_],
) -> float:
    """Fill in indices (N, 2) and whether explained (N,): within twice the tolerance and a share of the distance.

    Returns
    -------
    float
        Root mean square distance of the explained spots from their lattice points; 0 where there are none.
    """
    ax, ay, bx, by = cell[0, 0], cell[0, 1], cell[1, 0], cell[1, 1]
    inverse = 1.0 / (ax * by - ay * bx)
    shortest = min(np.sqrt(ax * ax + ay * ay), np.sqrt(bx * bx + by * by))
    total, inside = 0.0, 0
    for n in range(len(points)):
        x, y = points[n, 0], points[n, 1]
        h = np.rint((x * by - y * bx) * inverse)
        k = np.rint((ax * y - ay * x) * inverse)
        reach = min(2.0 * tolerance + relative * np.sqrt(x * x + y * y), 0.3 * shortest)
        dx, dy = x - h * ax - k * bx, y - h * ay - k * by
        indices[n, 0], indices[n, 1] = h, k
        explained[n] = dx * dx + dy * dy < reach * reach and (h != 0 or k != 0)
        if explained[n]:
            total += dx * dx + dy * dy
            inside += 1
    return np.sqrt(total / max(inside, 1))


@njit(cache=True, nogil=True)
def refine_cell(
    points: NDArray[np.float64], indices: NDArray[np.int32], explained: NDArray[np.bool_], cell: NDArray[np.float64]
) -> bool:
    """Fit a cell to the explained spots by least squares, in place; False where they lie on one row."""
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
        return False
    for axis in range(2):
        cell[0, axis] = (kk * right[0, axis] - hk * right[1, axis]) / determinant
        cell[1, axis] = (hh * right[1, axis] - hk * right[0, axis]) / determinant
    return True


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
        # at a tie rounding errors would add and take off for ever
        if steps == 0 or abs(ab) <= (0.5 + 1e-9) * aa:
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
