"""The network's input: intensities of a pattern on the indices of its own plane lattice.

Turn, mirror, camera length and small distortion leave it as it is; what remains is which reflections there are, how
strong, and the shape of the cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from braggwatch.models.sadp.plane_lattice import PlaneLattice, equivalent_bases

REACH = 8
"""Orders along either axis that the map holds."""
FRAMES = 3
"""Lattices of one pattern, see `lattice_search`."""
CHANNELS = 5
"""Of each lattice's map."""
MAP_SHAPE = (FRAMES * CHANNELS, REACH + 1, 2 * REACH + 1)
"""Channels of one lattice after the other; k along b, 0 to 8; h along a, -8 to 8."""
SINGLE_SHAPE = (3, REACH + 1, 2 * REACH + 1)
"""What bundles before 1.3.0 take: the first three channels of the first lattice."""
COMPRESSION = 0.25
"""Exponent of the intensities: as they are, weak reflections, which tell the groups apart, would not count."""
LENGTH_SLACK = 0.03
COSINE_SLACK = 0.035


@dataclass(frozen=True, slots=True)
class Field:
    """What of a pattern could be seen: it tells a dark reflection from one out of sight.

    Attributes
    ----------
    x_from, x_to, y_from, y_to
        Edges of the picture from the direct beam, in the unit of the positions.
    stop_radius
        Around the direct beam nothing is to be seen.
    stop_angle_deg, stop_width
        A beam stop's arm from the direct beam outwards, clockwise from x on the screen, and its full width; 0: none.
    """

    x_from: float
    x_to: float
    y_from: float
    y_to: float
    stop_radius: float = 0.0
    stop_angle_deg: float = 0.0
    stop_width: float = 0.0

    def to_array(self) -> NDArray[np.float64]:
        """(8,) float64: edges, radius, direction of the arm (x, y), half its width."""
        turn = np.radians(self.stop_angle_deg)
        values = (self.x_from, self.x_to, self.y_from, self.y_to, self.stop_radius)
        return np.array([*values, np.cos(turn), np.sin(turn), self.stop_width / 2.0])


def lattice_maps(
    lattices: Sequence[PlaneLattice | None],
    positions: NDArray[np.floating],
    intensities: NDArray[np.floating],
    field: Field,
    copies: int,
    shape: tuple[int, ...] = MAP_SHAPE,
) -> NDArray[np.float32]:
    """Make the maps of a pattern for the bases that could be the reduced ones of its lattices.

    Parameters
    ----------
    lattices
        Of the pattern, with the indices of its spots; None: its part of the map stays empty.
    positions, intensities
        (N, 2) from the direct beam; (N,) integrated, above zero, any scale.
    field
        In the unit of the positions.
    copies
        Maps to return; where there are fewer bases, they repeat.
    shape
        `MAP_SHAPE` or `SINGLE_SHAPE`.

    Returns
    -------
    NDArray
        (copies, *shape) float32. Of each lattice five channels, or the first three of them:

        0. intensity over the largest one to the power 0.25, mean over a Friedel pair;
        1. 1 where the reflection or its mate was in sight, else 0, and so all other channels;
        2. length of the reciprocal vector over eight times that of the basis' first one;
        3. imbalance of a pair, 0 (equal, or one mate out of sight) to 1 (one missing);
        4. distance of the spots from the lattice point, over 0.3 of the cell's shorter side, by intensity.

        The place of the direct beam holds, with five channels, what the pattern is like: share of the amplitude on the
        lattice; 1; length of the basis' first vector over half the picture's side; a hundredth of the number of spots;
        their rms distance from the lattice points over the length of the first vector.
    """
    maps = np.zeros((copies, *shape), dtype=np.float32)
    points = np.ascontiguousarray(positions, dtype=np.float64)
    values = np.ascontiguousarray(intensities, dtype=np.float64)
    edges = field.to_array()
    channels = channels_of_one(shape[0])
    for place, lattice in enumerate(lattices[: shape[0] // channels]):
        if lattice is None:
            continue
        bases = equivalent_bases(lattice.cell, LENGTH_SLACK, COSINE_SLACK)
        part = maps[:, place * channels : (place + 1) * channels]
        for number in range(copies):
            basis = bases[number % len(bases)]
            fill_map(part[number], lattice.cell, basis, lattice.indices, lattice.explained, points, values, edges)
    return maps


@njit(cache=True, nogil=True)
def channels_of_one(channels: int) -> int:
    """Return how many of a map's channels are of one lattice."""
    return CHANNELS if channels > SINGLE_SHAPE[0] else SINGLE_SHAPE[0]


@njit(cache=True, nogil=True)
def in_sight(x: float, y: float, field: NDArray[np.float64]) -> bool:
    """Whether a position is inside the (8,) field and not behind its beam stop."""
    if x < field[0] or x > field[1] or y < field[2] or y > field[3]:
        return False
    if x * x + y * y < field[4] * field[4]:
        return False
    if field[7] <= 0:
        return True
    along = x * field[5] + y * field[6]
    across = y * field[5] - x * field[6]
    return along < 0 or abs(across) > field[7]


@njit(cache=True, nogil=True)
def fill_map(
    target: NDArray[np.float32],
    cell: NDArray[np.float64],
    basis: NDArray[np.int32],
    indices: NDArray[np.int32],
    explained: NDArray[np.bool_],
    points: NDArray[np.float64],
    intensities: NDArray[np.float64],
    field: NDArray[np.float64],
) -> None:
    """Fill a (3 or 5, 9, 17) map of one lattice in place for the basis ``basis @ cell``; see `lattice_maps`."""
    side = 2 * REACH + 1
    total = np.zeros((REACH + 1, side))
    balance, distance = np.zeros((REACH + 1, side)), np.zeros((REACH + 1, side))
    amplitude, on_lattice, inside, square = 0.0, 0.0, 0, 0.0
    widest = 0.3 * min(np.sqrt((cell[0] ** 2).sum()), np.sqrt((cell[1] ** 2).sum()))
    vector = basis.astype(np.float64) @ cell
    determinant = basis[0, 0] * basis[1, 1] - basis[0, 1] * basis[1, 0]
    for n in range(len(intensities)):
        amplitude += np.sqrt(intensities[n])
        if not explained[n]:
            continue
        on_lattice += np.sqrt(intensities[n])
        inside += 1
        # rows of the basis: (h k) @ cell = (h' k') @ basis @ cell
        h0, k0 = indices[n, 0], indices[n, 1]
        h = (h0 * basis[1, 1] - k0 * basis[1, 0]) * determinant
        k = (k0 * basis[0, 0] - h0 * basis[0, 1]) * determinant
        x = points[n, 0] - h0 * cell[0, 0] - k0 * cell[1, 0]
        y = points[n, 1] - h0 * cell[0, 1] - k0 * cell[1, 1]
        square += x * x + y * y
        sign = 1.0
        if k < 0:
            h, k, sign = -h, -k, -1.0
        if k > REACH or abs(h) > REACH:
            continue
        off = np.sqrt(x * x + y * y) / widest * intensities[n]
        total[k, h + REACH] += intensities[n]
        balance[k, h + REACH] += sign * intensities[n]
        distance[k, h + REACH] += off
        if k == 0:
            total[0, REACH - h] += intensities[n]
            balance[0, REACH - h] -= intensities[n]
            distance[0, REACH - h] += off
    shortest = np.sqrt(vector[0, 0] ** 2 + vector[0, 1] ** 2)
    largest = 0.0
    target[:] = 0.0
    for k in range(REACH + 1):
        for column in range(side):
            h = column - REACH
            if h == 0 and k == 0:
                continue
            x = h * vector[0, 0] + k * vector[1, 0]
            y = h * vector[0, 1] + k * vector[1, 1]
            seen = int(in_sight(x, y, field)) + int(in_sight(-x, -y, field))
            if seen == 0:
                continue
            if len(target) > 3 and total[k, column] > 0:
                # one whose mate is out of sight has nothing to be compared with
                target[3, k, column] = abs(balance[k, column]) / total[k, column] if seen == 2 else 0.0
                target[4, k, column] = distance[k, column] / total[k, column]
            total[k, column] /= seen
            largest = max(largest, total[k, column])
            target[1, k, column] = 1.0
            target[2, k, column] = np.sqrt(x * x + y * y) / shortest / REACH
    if largest > 0:
        for k in range(REACH + 1):
            for column in range(side):
                if target[1, k, column] > 0:
                    target[0, k, column] = (total[k, column] / largest) ** COMPRESSION
    if len(target) > 3:
        half_side = 0.25 * (field[1] - field[0] + field[3] - field[2])
        target[0, 0, REACH] = on_lattice / max(amplitude, 1e-300)
        target[1, 0, REACH] = 1.0
        target[2, 0, REACH] = shortest / half_side
        target[3, 0, REACH] = 0.01 * len(intensities)
        target[4, 0, REACH] = np.sqrt(square / max(inside, 1)) / shortest
