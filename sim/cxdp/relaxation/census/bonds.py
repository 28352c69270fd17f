"""Neighbours in an fcc crystal, and whether an atom's surroundings are fcc, hcp or neither.

Everything here is a loop over atoms and neighbours, compiled by numba; a neighbour is nearer than the midpoint between
the first (a/√2) and second (a) fcc shells. Structure: conventional common-neighbour analysis, Honeycutt and
Andersen, J. Phys. Chem. 91, 4950 (1987), with the signatures of Faken and Jonsson, Comput. Mater. Sci. 2, 279 (1994).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError

CUTOFF: Final = (np.sqrt(0.5) + 1.0) / 2.0
"""Distance below which two atoms are bonded, in lattice parameters: 0.8536."""

OTHER: Final = 0
FCC: Final = 1
HCP: Final = 2

MOST_NEIGHBOURS: Final = 24
"""Columns of the neighbour table; an atom with more neighbours (overlapping in an unrelaxed core) keeps the first."""

IDEAL_BONDS: Final = np.array(
    [
        (1, 1, 0), (-1, -1, 0), (1, -1, 0), (-1, 1, 0),
        (1, 0, 1), (-1, 0, -1), (1, 0, -1), (-1, 0, 1),
        (0, 1, 1), (0, -1, -1), (0, 1, -1), (0, -1, 1),
    ],
    dtype=np.int64,
)  # fmt: skip
"""(12, 3) fcc bonds in units of a/2; 2k and 2k + 1 are opposite."""

BOND_TOLERANCE: Final = 0.27
"""Largest distance, in lattice parameters, between a bond and the ideal one it is mapped to. Two ideal bonds are 0.707
apart; the bonds across a stacking fault or a twin boundary are 0.408 from the nearest and stay unmapped."""


@dataclass(frozen=True, slots=True)
class Bonds:
    """The bonds of N atoms.

    Attributes
    ----------
    count
        (N,) int32 number of neighbours; more than `MOST_NEIGHBOURS` are counted but not listed.
    neighbours
        (N, `MOST_NEIGHBOURS`) int32, padded with -1.
    asymmetry
        (N, 3) float64 sum of the bond vectors in lattice parameters: about 0 in the bulk, pointing inwards at a
        surface.
    """

    count: NDArray[np.int32]
    neighbours: NDArray[np.int32]
    asymmetry: NDArray[np.float64]


def find_bonds(positions_A: NDArray[np.floating], a_A: float) -> Bonds:
    """Find all neighbours.

    Parameters
    ----------
    positions_A
        (N, 3) Å, open boundaries.
    a_A
        Lattice parameter in Å.

    Raises
    ------
    ValueError
        If the positions are not (N, 3), not finite, or too far apart for a crystal.
    """
    if positions_A.ndim != 2 or positions_A.shape[1] != 3 or len(positions_A) == 0:
        raise ValueError(f"expected (N, 3) positions, got {positions_A.shape}")
    scaled = np.ascontiguousarray(positions_A, dtype=np.float64) / a_A
    if not np.isfinite(scaled).all():
        raise InputError("some positions are not finite")
    low = scaled.min(axis=0)
    cells = np.floor((scaled.max(axis=0) - low) / CUTOFF).astype(np.int64) + 1
    if float(np.prod(cells.astype(np.float64))) > 50.0 * len(scaled) + 1e6:
        raise InputError("the atoms are spread too thinly for a crystal: is the lattice parameter in Å?")
    return Bonds(*_find_bonds(scaled, low, cells, CUTOFF, MOST_NEIGHBOURS))


@njit(cache=True, nogil=True)
def _find_bonds(  # pragma: no cover - compiled
    positions: NDArray[np.float64],
    low: NDArray[np.float64],
    cells: NDArray[np.int64],
    cutoff: float,
    width: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    n = positions.shape[0]
    nx, ny, nz = cells
    cell = np.empty((n, 3), np.int64)
    start = np.zeros(nx * ny * nz + 1, np.int64)
    for i in range(n):
        for k in range(3):
            cell[i, k] = min(int((positions[i, k] - low[k]) / cutoff), cells[k] - 1)
        start[(cell[i, 0] * ny + cell[i, 1]) * nz + cell[i, 2] + 1] += 1
    for c in range(nx * ny * nz):
        start[c + 1] += start[c]
    fill = start[:-1].copy()
    members = np.empty(n, np.int64)
    for i in range(n):
        c = (cell[i, 0] * ny + cell[i, 1]) * nz + cell[i, 2]
        members[fill[c]] = i
        fill[c] += 1
    count = np.zeros(n, np.int32)
    neighbours = np.full((n, width), -1, np.int32)
    asymmetry = np.zeros((n, 3))
    limit = cutoff * cutoff
    for i in range(n):
        x, y, z = positions[i]
        for cx in range(max(cell[i, 0] - 1, 0), min(cell[i, 0] + 2, nx)):
            for cy in range(max(cell[i, 1] - 1, 0), min(cell[i, 1] + 2, ny)):
                row = (cx * ny + cy) * nz
                first = start[row + max(cell[i, 2] - 1, 0)]
                last = start[row + min(cell[i, 2] + 1, nz - 1) + 1]
                # cells along z follow each other: their members are one run
                for m in range(first, last):
                    j = members[m]
                    dx, dy, dz = positions[j, 0] - x, positions[j, 1] - y, positions[j, 2] - z
                    if j == i or dx * dx + dy * dy + dz * dz >= limit:
                        continue
                    if count[i] < width:
                        neighbours[i, count[i]] = j
                    count[i] += 1
                    asymmetry[i, 0] += dx
                    asymmetry[i, 1] += dy
                    asymmetry[i, 2] += dz
    return count, neighbours, asymmetry


def classify_structure(bonds: Bonds) -> NDArray[np.int8]:
    """Common-neighbour analysis.

    Returns
    -------
    (N,) int8: `FCC` (12 neighbours, all 421), `HCP` (six 421 and six 422), else `OTHER`.
    """
    return _classify(bonds.count, bonds.neighbours)


@njit(cache=True, nogil=True)
def _classify(  # pragma: no cover - compiled
    count: NDArray[np.int32], neighbours: NDArray[np.int32]
) -> NDArray[np.int8]:
    n = count.shape[0]
    structure = np.zeros(n, np.int8)
    mask = np.zeros(12, np.int64)
    bits = np.array([_bits_set(v) for v in range(4096)], np.int64)
    for i in range(n):
        if count[i] != 12:
            continue
        # mask[p]: which of the twelve neighbours are bonded to neighbour p
        for p in range(12):
            mask[p] = 0
        for p in range(12):
            jp = neighbours[i, p]
            for q in range(min(count[jp], neighbours.shape[1])):
                other = neighbours[jp, q]
                for r in range(12):
                    if neighbours[i, r] == other:
                        mask[p] |= 1 << r
                        break
        n421, n422 = 0, 0
        for p in range(12):
            common = mask[p]
            if bits[common] != 4:
                break
            ends = 0
            most = 0
            for q in range(12):
                if common >> q & 1:
                    shared = bits[mask[q] & common]
                    ends += shared
                    most = max(most, shared)
            if ends != 4:
                break
            # two bonds among the four: apart (421) or in a chain (422)
            if most == 1:
                n421 += 1
            else:
                n422 += 1
        if n421 == 12:
            structure[i] = 1
        elif n421 == 6 and n422 == 6:
            structure[i] = 2
    return structure


@njit(cache=True)
def _bits_set(value: int) -> int:  # pragma: no cover - compiled
    """Count the bits set in a non-negative integer."""
    total = 0
    while value:
        total += value & 1
        value >>= 1
    return total


def map_bonds(positions_A: NDArray[np.floating], a_A: float, bonds: Bonds) -> NDArray[np.int8]:
    """Map each bond to the ideal fcc bond of which it is a strained copy.

    The crystal's cubic axes must agree with those of the coordinates to about 10°.

    Returns
    -------
    (N, `MOST_NEIGHBOURS`) int8: index into `IDEAL_BONDS`, -1 if none is within `BOND_TOLERANCE` (in a core, fault or
    twin) or there is no neighbour.
    """
    scaled = np.ascontiguousarray(positions_A, dtype=np.float64) / a_A
    return _map_bonds(scaled, bonds.neighbours, IDEAL_BONDS.astype(np.float64) / 2.0, BOND_TOLERANCE)


@njit(cache=True, nogil=True)
def _map_bonds(  # pragma: no cover - compiled
    positions: NDArray[np.float64],
    neighbours: NDArray[np.int32],
    ideal: NDArray[np.float64],
    tolerance: float,
) -> NDArray[np.int8]:
    n, width = neighbours.shape
    code = np.full((n, width), -1, np.int8)
    for i in range(n):
        for k in range(width):
            j = neighbours[i, k]
            if j < 0:
                break
            dx = positions[j, 0] - positions[i, 0]
            dy = positions[j, 1] - positions[i, 1]
            dz = positions[j, 2] - positions[i, 2]
            best = tolerance * tolerance
            for b in range(12):
                ex, ey, ez = dx - ideal[b, 0], dy - ideal[b, 1], dz - ideal[b, 2]
                off = ex * ex + ey * ey + ez * ez
                if off < best:
                    best = off
                    code[i, k] = b
    return code
