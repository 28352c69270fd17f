"""Find the dislocations in a crystal of atoms, so that its label comes from what was found, not from what was put in.

A line is found in four steps. First, all circuits of the crystal (`circuits.all_circuits`): if every one closes, there
is no line. Second, the connected groups of interior atoms that are not fcc: each is a core. Third, the line's
direction, from the shape of the group (`line_shape`). Last, in slices along that direction, all Burgers circuits around
it; the slices vote. The circuits use lattice coordinates propagated through good bonds by breadth-first search rather
than prescribed paths: no path needs to be chosen, none runs through a core or across a fault, and some hundred circuits
outvote a few bad bonds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystallography.fcc import Miller
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec, line_frame
from braggwatch.sim.cxdp.relaxation.census.bonds import FCC, HCP, Bonds, classify_structure, find_bonds, map_bonds
from braggwatch.sim.cxdp.relaxation.census.circuits import MAJORITY, all_circuits, circuits_about
from braggwatch.sim.cxdp.relaxation.census.line_shape import CoreShape, fit_core
from braggwatch.sim.cxdp.relaxation.census.surface import surface_layers, surface_shell

__all__ = ["Census", "CensusLabel", "CensusState", "character_label", "still_holds", "surface_shell", "take_census"]

CensusState = Literal["perfect", "line", "turned", "escaped", "other"]
CensusLabel = Literal["perfect", "screw", "edge", "mixed", "lost", "other"]

CHARACTER_BIN_DEG: Final = 15.0
"""Degrees: a line within this of 0° is a screw, within this of 90° an edge, otherwise mixed."""
TURNED_DEG: Final = 15.0
"""Degrees: a line found farther than this from its initial direction has turned."""
LEAST_LENGTH: Final = 4.0
"""Shortest line, in lattice parameters; a shorter one is a stub at the surface."""
LEAST_FAULTY: Final = 0.002
"""Share of interior atoms (and at least 30) that must be non-fcc for a crystal without a line not to be perfect."""
SLICE: Final = 2.0
"""Thickness, in lattice parameters, of the slices that vote."""


@dataclass(frozen=True, slots=True)
class Census:
    """Result of analysing a crystal.

    Attributes
    ----------
    atoms
        Number of atoms.
    interior_fcc, interior_hcp, interior_other
        Numbers of atoms below the two outermost layers with this structure, by common-neighbour analysis.
    hcp_count
        Number of hcp atoms at any depth, as counted by LAMMPS and OVITO.
    state
        'perfect': all circuits close and the interior is fcc; 'escaped': the same, although a line was put in;
        'line': one straight line, the same as the one put in, if any; 'turned': one line, but with another Burgers
        vector than put in, or more than `TURNED_DEG` from its direction; 'other': anything else (several lines,
        loops, faults, twins, lines too short to identify).
    label
        The class: 'perfect'; for a line, its character as found; 'lost' if escaped; 'other'.
    burgers
        Twice the Burgers vector in lattice parameters, relative to ``direction``; None without a line. (b, direction)
        and their opposites are the same line: this is the sign of the line put in, or, without one, that for which the
        first non-zero component of b is positive.
    direction
        Unit vector along the line, crystal axes.
    character_deg
        Angle between line and Burgers vector, 0 to 90°.
    line_length_nm
        Extent of the core along its direction below the two outermost layers, nm; 0 without a line.
    line_offset
        Distance of the line from the centre of mass, in cube roots of the crystal's volume.
    dissociated
        Whether the line is two 1/6<112> partials with an intrinsic stacking fault between them.
    fault_plane
        The {111} plane of that fault.
    fault_width_nm
        Mean width of that fault, nm; 0 without one.
    """

    atoms: int
    interior_fcc: int
    interior_hcp: int
    interior_other: int
    hcp_count: int
    state: CensusState
    label: CensusLabel
    burgers: Miller | None = None
    direction: tuple[float, float, float] | None = None
    character_deg: float | None = None
    line_length_nm: float = 0.0
    line_offset: float | None = None
    dissociated: bool = False
    fault_plane: Miller | None = None
    fault_width_nm: float = 0.0


@dataclass(frozen=True, slots=True)
class _Atoms:
    positions: NDArray[np.float64]
    a: float
    bonds: Bonds
    structure: NDArray[np.int8]
    code: NDArray[np.int8]
    layer: NDArray[np.int8]

    @property
    def interior(self) -> NDArray[np.bool_]:
        return self.layer >= 2


@dataclass(frozen=True, slots=True)
class _Line:
    burgers: Miller
    shape: CoreShape


def character_label(character_deg: float) -> Literal["screw", "edge", "mixed"]:
    """Return a line's character: within `CHARACTER_BIN_DEG` of 0° screw, of 90° edge, otherwise mixed."""
    if character_deg <= CHARACTER_BIN_DEG:
        return "screw"
    return "edge" if character_deg >= 90.0 - CHARACTER_BIN_DEG else "mixed"


def take_census(positions_A: NDArray[np.floating], a_A: float, *, line: LineSpec | None = None) -> Census:
    """Count the structures of a crystal's atoms and look for a dislocation.

    Parameters
    ----------
    positions_A
        (N, 3) Å, relaxed or not, crystal axes (a few degrees of rotation are fine).
    a_A
        Lattice parameter in Å of the potential.
    line
        The line put in, if any: distinguishes 'escaped' from 'perfect' and 'turned' from 'line', and fixes the sign of
        ``burgers``. It doesn't affect what is found.

    Raises
    ------
    ValueError
        As `find_bonds`.
    """
    atoms = _classify_atoms(positions_A, a_A)
    inside = atoms.structure[atoms.interior]
    fcc, hcp = int((inside == FCC).sum()), int((inside == HCP).sum())
    other = len(inside) - fcc - hcp
    hcp_count = int((atoms.structure == HCP).sum())
    counts = (len(atoms.positions), fcc, hcp, other, hcp_count)
    if not all_circuits(atoms.bonds, atoms.code).failures:
        if hcp + other >= max(30.0, LEAST_FAULTY * len(inside)):
            return Census(*counts, "other", "other")
        return Census(*counts, "perfect", "perfect") if line is None else Census(*counts, "escaped", "lost")
    lines = _find_lines(atoms)
    if lines is None:
        return Census(*counts, "other", "other")
    if len(lines) != 1:
        state: CensusState = "escaped" if not lines and line is not None else "other"
        return Census(*counts, state, "lost" if state == "escaped" else "other")
    return _describe(atoms, lines[0], counts, line)


def still_holds(line: LineSpec, a_A: float) -> Callable[[NDArray[np.float64]], bool]:
    """Return a check for a relaxation: whether the crystal still contains the line put in and nothing else."""

    def holds(positions_A: NDArray[np.float64]) -> bool:
        return take_census(positions_A, a_A, line=line).state == "line"

    return holds


def _classify_atoms(positions_A: NDArray[np.floating], a: float) -> _Atoms:
    positions = np.ascontiguousarray(positions_A, dtype=np.float64)
    bonds = find_bonds(positions, a)
    return _Atoms(
        positions,
        a,
        bonds,
        classify_structure(bonds),
        map_bonds(positions, a, bonds),
        surface_layers(positions, a, bonds),
    )


def _groups(points: NDArray[np.float64], reach: float) -> list[NDArray[np.int64]]:
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    if not len(points):
        return []
    pairs = KDTree(points).query_pairs(reach, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(len(points),) * 2)
    number, member = connected_components(graph, directed=False)
    return [np.flatnonzero(member == k) for k in range(number)]


def _find_lines(atoms: _Atoms) -> list[_Line] | None:
    """Find the lines through the crystal; None if it also contains something else."""
    core = np.flatnonzero(atoms.interior & (atoms.structure != FCC))
    lines: list[_Line] = []
    other_defects = False
    for group in _groups(atoms.positions[core], 1.05 * atoms.a):
        members = core[group]
        if len(members) < 8:
            continue
        shape = fit_core(atoms.positions[members], atoms.structure[members], atoms.code[members], atoms.a)
        if shape.length_A < LEAST_LENGTH * atoms.a:
            continue
        burgers, agreed = _vote(atoms, members, shape)
        if burgers is not None and agreed and _reaches_surface(atoms, members, shape):
            lines.append(_Line(burgers, shape))
        else:
            other_defects = other_defects or len(members) >= 30
    return None if other_defects else lines


def _vote(atoms: _Atoms, members: NDArray[np.int64], shape: CoreShape) -> tuple[Miller | None, bool]:
    """Return the Burgers vector found in most slices of a line, and whether enough slices agree."""
    z = shape.direction
    height = atoms.positions @ z
    core_height = height[members]
    clear = np.ones(len(height), dtype=bool)
    around = atoms.bonds.neighbours[members]
    clear[members] = clear[around[around >= 0]] = False
    number = max(3, int(np.ptp(core_height) / (SLICE * atoms.a)))
    edges = np.linspace(float(core_height.min()), float(core_height.max()), number + 1)
    votes: Counter[Miller | None] = Counter()
    for low, high in pairwise(edges):
        inside = (core_height >= low) & (core_height <= high)
        if not inside.any():
            votes[None] += 1
            continue
        centre = atoms.positions[members[inside]].mean(axis=0)
        middle = 0.5 * (low + high)
        slab = np.flatnonzero(clear & (np.abs(height - middle) <= 0.5 * SLICE * atoms.a))
        # the cut goes towards the thick side of the slice, where most circuits cross it
        towards = atoms.positions[slab].mean(axis=0) - centre
        towards -= z * float(towards @ z)
        length = float(np.linalg.norm(towards))
        x = towards / length if length > 0.5 * atoms.a else _any_normal(z)
        relative = atoms.positions[slab] - centre
        across = np.stack([relative @ x, relative @ np.cross(z, x)], axis=1)
        votes[circuits_about(slab, across, atoms.bonds, atoms.code).burgers] += 1
    best, count = votes.most_common(1)[0]
    return best, best is not None and count >= MAJORITY * votes.total()


def _any_normal(z: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.cross(z, np.eye(3)[int(np.abs(z).argmin())])
    return np.asarray(x / np.linalg.norm(x), dtype=np.float64)


def _reaches_surface(atoms: _Atoms, members: NDArray[np.int64], shape: CoreShape) -> bool:
    height = atoms.positions[members] @ shape.direction
    near = 2.0 * atoms.a
    ends = (members[height < height.min() + near], members[height > height.max() - near])
    return all(int(atoms.layer[end].min()) <= 3 for end in ends)


def _describe(atoms: _Atoms, found: _Line, counts: tuple[int, int, int, int, int], line: LineSpec | None) -> Census:
    shape = found.shape
    z, burgers = shape.direction, np.asarray(found.burgers)
    put_in = None if line is None else line_frame(line)[2]
    first = burgers[np.flatnonzero(burgers)[0]]
    if (float(z @ put_in) < 0) if put_in is not None else first < 0:
        z, burgers = -z, -burgers
    cosine = abs(float(burgers @ z)) / np.sqrt(2.0)
    character = float(np.degrees(np.arccos(min(cosine, 1.0))))
    b: Miller = (int(burgers[0]), int(burgers[1]), int(burgers[2]))
    turned = False
    if line is not None and put_in is not None:
        turn = float(np.degrees(np.arccos(min(abs(float(z @ put_in)), 1.0))))
        turned = b != line.burgers or turn > TURNED_DEG
    away = shape.centre - atoms.positions.mean(axis=0)
    away = away - z * float(away @ z)
    size = (len(atoms.positions) * atoms.a**3 / 4.0) ** (1.0 / 3.0)
    return Census(
        *counts,
        "turned" if turned else "line",
        character_label(character),
        burgers=b,
        direction=(float(z[0]), float(z[1]), float(z[2])),
        character_deg=character,
        line_length_nm=shape.length_A / 10.0,
        line_offset=float(np.linalg.norm(away)) / size,
        dissociated=shape.fault_plane is not None,
        fault_plane=shape.fault_plane,
        fault_width_nm=shape.fault_width_A / 10.0,
    )
