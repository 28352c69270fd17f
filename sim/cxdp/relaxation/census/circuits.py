"""All Burgers circuits at once: lattice coordinates propagated from atom to atom, and the bonds where they don't close.

Each mapped bond (`bonds.map_bonds`) is a step of the perfect lattice. A breadth-first search gives each atom reached
integer coordinates; a bond between two reached atoms then closes one circuit through the tree. In a perfect or merely
strained crystal every circuit closes; one that encloses a dislocation fails by its Burgers vector (Frank's start-finish
circuit, Hirth and Lothe, Theory of Dislocations, section 1.4). Bonds across a stacking fault or a twin boundary aren't
mapped, so no circuit crosses a fault: the remaining ones enclose both partials of a dissociated line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.crystallography.fcc import BURGERS, Miller
from braggwatch.sim.cxdp.relaxation.census.bonds import IDEAL_BONDS, Bonds

MAJORITY: Final = 0.6
"""Share of the circuits about a line that must agree on its Burgers vector."""


@dataclass(frozen=True, slots=True)
class Closure:
    """Result of the circuits in a set of atoms.

    Attributes
    ----------
    circuits
        Number of circuits.
    failures
        Closure failure in units of a/2 → number of circuits with it. Around a line (`circuits_about`) the sign is
        that of the Burgers vector; otherwise it is arbitrary and (x, y, z) also stands for its opposite.
    """

    circuits: int
    failures: dict[Miller, int]

    @property
    def burgers(self) -> Miller | None:
        """The <110> vector by which most circuits fail; None if there is none."""
        for vector, number in self.failures.items():
            if vector in BURGERS and number >= MAJORITY * self.circuits:
                return vector
        return None


def _closure(circuits: int, failures: NDArray[np.int64]) -> Closure:
    vectors, counts = np.unique(failures, axis=0, return_counts=True)
    return Closure(circuits, {(int(v[0]), int(v[1]), int(v[2])): int(c) for v, c in zip(vectors, counts, strict=True)})


def all_circuits(bonds: Bonds, code: NDArray[np.int8]) -> Closure:
    """Close all circuits of the largest connected part of a crystal.

    Parameters
    ----------
    code
        From `map_bonds`.
    """
    n = len(bonds.count)
    circuits, failures = _walk(np.arange(n), np.zeros((0, 2)), bonds.neighbours, code, IDEAL_BONDS, False)
    flip = (failures[:, 0] < 0) | ((failures[:, 0] == 0) & (failures[:, 1] < 0))
    flip |= (failures[:, 0] == 0) & (failures[:, 1] == 0) & (failures[:, 2] < 0)
    return _closure(circuits, np.where(flip[:, None], -failures, failures))


def circuits_about(
    members: NDArray[np.int64], across: NDArray[np.float64], bonds: Bonds, code: NDArray[np.int8]
) -> Closure:
    """Close the circuits that go once around a line, within a slice of the crystal.

    Parameters
    ----------
    members
        Indices of the slice's atoms without the core and its neighbours: depending on how its bonds are mapped, the
        singularity may lie anywhere in the core, and a path between it and (0, 0) would bypass the cut.
    across
        (members, 2) coordinates in the right-handed frame (x, y) across the line, which passes through (0, 0).
        The search never crosses the half-line x > 0, y = 0: each bond that crosses it closes one circuit.

    Returns
    -------
    The closures; their sign is that of `LineSpec`: going around the line by the right-hand rule, the displacement
    grows by the Burgers vector.
    """
    return _closure(*_walk(members, across, bonds.neighbours, code, IDEAL_BONDS, True))


@njit(cache=True, nogil=True)
def _walk(  # pragma: no cover - compiled
    members: NDArray[np.int64],
    across: NDArray[np.float64],
    neighbours: NDArray[np.int32],
    code: NDArray[np.int8],
    ideal: NDArray[np.int64],
    cut: bool,
) -> tuple[int, NDArray[np.int64]]:
    width = neighbours.shape[1]
    size = len(members)
    # everything is indexed within the members, so that the cost of a slice depends only on its own atoms
    place = np.full(neighbours.shape[0], -1, np.int32)
    for p in range(size):
        place[members[p]] = p
    part = np.full(size, -1, np.int32)
    lattice = np.zeros((size, 3), np.int32)
    queue = np.empty(size, np.int32)
    parts = 0
    largest, most = -1, 0
    for seed in range(size):
        if part[seed] != -1:
            continue
        part[seed] = parts
        queue[0] = seed
        first, last = 0, 1
        while first < last:
            p = int(queue[first])
            first += 1
            i = members[p]
            for k in range(width):
                if neighbours[i, k] < 0:
                    break
                q, b = int(place[neighbours[i, k]]), code[i, k]
                if b < 0 or q < 0 or part[q] != -1 or (cut and _crossing(across, p, q) != 0):
                    continue
                part[q] = parts
                for d in range(3):
                    lattice[q, d] = lattice[p, d] + ideal[b, d]
                queue[last] = q
                last += 1
        if last > most:
            largest, most = parts, last
        parts += 1
    circuits = 0
    failures = 0
    found = np.empty((1024, 3), np.int64)
    for p in range(size):
        if part[p] != largest:
            continue
        i = members[p]
        for k in range(width):
            if neighbours[i, k] < 0:
                break
            q, b = int(place[neighbours[i, k]]), code[i, k]
            if b < 0 or q < 0 or part[q] != largest:
                continue
            # each bond once: upwards through the cut, or from the lower place
            if cut:
                if _crossing(across, p, q) != 1:
                    continue
            elif q < p:
                continue
            circuits += 1
            x = lattice[q, 0] - lattice[p, 0] - ideal[b, 0]
            y = lattice[q, 1] - lattice[p, 1] - ideal[b, 1]
            z = lattice[q, 2] - lattice[p, 2] - ideal[b, 2]
            if x == 0 and y == 0 and z == 0:
                continue
            if failures == len(found):
                found = np.concatenate((found, np.empty_like(found)))
            found[failures, 0] = x
            found[failures, 1] = y
            found[failures, 2] = z
            failures += 1
    return circuits, found[:failures].copy()


@njit(cache=True, nogil=True)
def _crossing(across: NDArray[np.float64], i: int, j: int) -> int:  # pragma: no cover - compiled
    yi, yj = across[i, 1], across[j, 1]
    if (yi < 0.0) == (yj < 0.0):
        return 0
    x = across[i, 0] + (across[j, 0] - across[i, 0]) * yi / (yi - yj)
    if x <= 0.0:
        return 0
    return 1 if yi < 0.0 else -1
