"""Classes of zone-axis patterns that look alike, and what a class implies about the space group.

The idea is from Ra et al., RSC Adv. 11 (2021) 38307: patterns of several space groups along several zones are equal up
to scale, rotation and mirror, so a network predicts the class, which then gives the group. Here classes are computed:
the zero-layer reflections that the group's symmetry allows, in units of the shortest one, modulo rotations and mirrors.

Space group 227 is divided into three effective groups by the extinctions of its occupied sites (International Tables A:
sites 8a, 8b and 48f require h + k + l = 4n for all-even reflections; with 16c or 16d reflections with h, k, l = 4n + 2
are present too, first 222; 32e, 96g and others lift both conditions, first 442). A structure's effective group follows
from its computed |F|.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import acos, degrees
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError
from braggwatch.sim.sadp.model import SPACE_GROUPS, ZONES, Direction
from braggwatch.sim.sadp.scattering import structure_factors
from braggwatch.sim.sadp.structure import CrystalStructure

Category = Literal["A", "B", "C", "D"]

EFFECTIVE_GROUPS: tuple[str, ...] = ("213", "221", "225", "227a", "227b", "227c", "229")
"""227a diamond-like, 227b with 222 and without 442, 227c with both."""

CATEGORY_NAMES: Mapping[Category, str] = {"A": "square", "B": "rectangle", "C": "hexagonal", "D": "oblique"}

_RADIUS = 3.0
"""Radius of the points that define the class, in lengths of the mesh's longer vector."""
_DECIMALS = 4
_NET_POINTS = 40
_PRESENT = 0.01
"""Share of the strongest |F| from which a kind of reflection counts as present."""
_UNIT_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class PatternClass:
    """One class of patterns that look alike.

    Attributes
    ----------
    number
        From 0, by category and angles.
    name
        Category letter, angles in degrees, and a number if several classes share them: ``C60.0``, ``B54.7-2``.
    category
        Category of the net spanned by the points, with absences filled in: A square, B rectangular, C hexagonal, D
        oblique (including centred nets).
    angles_deg
        Angles of the triangle of the net's two shortest vectors, at the ends of the shortest one. For a rectangle the
        first is the angle between its diagonal and its shorter side.
    members
        (effective group, zone) pairs that give this class.
    """

    number: int
    name: str
    category: Category
    angles_deg: tuple[float, float]
    members: tuple[tuple[str, Direction], ...]


def allowed(group: str, hkl: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which reflections (N, 3) an effective group allows: (N,) bool.

    Raises
    ------
    InputError
        If the group is not one of ``EFFECTIVE_GROUPS``.
    """
    if group not in EFFECTIVE_GROUPS:
        raise InputError(f"no effective group {group!r}: one of {', '.join(EFFECTIVE_GROUPS)}")
    if group == "221":
        return np.ones(len(hkl), dtype=np.bool_)
    total = hkl.sum(axis=1)
    zeros = (hkl == 0).sum(axis=1)
    if group == "213":
        return (zeros != 2) | (total % 4 == 0)
    if group == "229":
        return total % 2 == 0
    same_parity = (hkl % 2 == hkl[:, :1] % 2).all(axis=1)
    if group == "225":
        return same_parity
    odd = hkl[:, 0] % 2 == 1
    demand = total % 4 == 0
    if group == "227b":
        demand |= (hkl % 4 == 2).all(axis=1)
    elif group == "227c":
        demand |= zeros == 0
    return same_parity & (odd | demand)


def effective_group(structure: CrystalStructure) -> str:
    """Return the effective group of a structure of 213, 221, 225, 227 or 229.

    It follows from the structure's |F|: a kind of reflection counts as present if the strongest of them, up to 442, has
    at least 1 % of the strongest |F|.

    Raises
    ------
    InputError
        If the structure has another space group.
    """
    number = structure.space_group
    if str(number) in EFFECTIVE_GROUPS:
        return str(number)
    if number != 227:
        raise InputError(f"{structure.id}: space group {number} is none of 213, 221, 225, 227, 229")
    kinds = np.array(
        [[2, 2, 2], [6, 2, 2], [6, 6, 2], [4, 4, 2], [6, 4, 4], [8, 4, 2], [1, 1, 1], [2, 2, 0], [4, 0, 0]]
    )
    strength = np.abs(structure_factors(structure, kinds.astype(np.int32)))
    largest = strength.max()
    if strength[3:5].max() >= _PRESENT * largest:
        return "227c"
    return "227b" if strength[:3].max() >= _PRESENT * largest else "227a"


@cache
def classes() -> tuple[PatternClass, ...]:
    """Return all classes of the effective groups along the sixteen zones, by number."""
    found: dict[bytes, list[tuple[str, Direction]]] = {}
    meshes: dict[bytes, tuple[Category, tuple[float, float]]] = {}
    for zone in ZONES:
        for group in EFFECTIVE_GROUPS:
            points = zero_layer(group, zone)
            form = canonical(points)
            found.setdefault(form, []).append((group, zone))
            meshes.setdefault(form, mesh(points))
    order = sorted(found, key=lambda form: (*meshes[form], form))
    labels: list[PatternClass] = []
    for number, form in enumerate(order):
        category, angles = meshes[form]
        alike = [other for other in order if meshes[other] == meshes[form]]
        stem = f"{category}{angles[0]:.1f}" if category != "D" else f"D{angles[0]:.1f}/{angles[1]:.1f}"
        name = stem if len(alike) == 1 else f"{stem}-{alike.index(form) + 1}"
        labels.append(PatternClass(number, name, category, angles, tuple(found[form])))
    return tuple(labels)


def class_of(group: str, zone: Direction) -> int:
    """Return the number of the class of an effective group along a zone.

    Raises
    ------
    InputError
        If the classes don't cover the group or zone.
    """
    try:
        return _numbers()[group, zone]
    except KeyError:
        raise InputError(f"no class of group {group!r} along {list(zone)}") from None


def group_given_class() -> NDArray[np.float64]:
    """Return P(effective group | class), (classes, effective groups): equal for all groups that show the class."""
    table = np.zeros((len(classes()), len(EFFECTIVE_GROUPS)))
    for pattern_class in classes():
        for group in {name for name, _ in pattern_class.members}:
            table[pattern_class.number, EFFECTIVE_GROUPS.index(group)] = 1.0
    return table / table.sum(axis=1, keepdims=True)


def space_group_given_class() -> NDArray[np.float64]:
    """Return P(space group | class), (classes, 5), ordered as ``model.SPACE_GROUPS``: equal for all with the class."""
    table = np.zeros((len(classes()), len(SPACE_GROUPS)))
    for pattern_class in classes():
        for group in {_space_group(name) for name, _ in pattern_class.members}:
            table[pattern_class.number, SPACE_GROUPS.index(group)] = 1.0
    return table / table.sum(axis=1, keepdims=True)


def _space_group(effective: str) -> int:
    return int(effective[:3])


@cache
def _numbers() -> Mapping[tuple[str, Direction], int]:
    return {member: pattern_class.number for pattern_class in classes() for member in pattern_class.members}


def zero_layer(group: str, zone: Direction) -> NDArray[np.float64]:
    """Return the allowed reflections of the zero layer of a cubic crystal, in lengths of the shortest one.

    Returns
    -------
    NDArray
        (N, 2), up to three times the longer vector of the mesh, nearest first.
    """
    reach = 32
    axis = np.arange(-reach, reach + 1, dtype=np.int32)
    first, second = _plane_basis(zone)
    i, j = (a.reshape(-1, 1) for a in np.meshgrid(axis, axis, indexing="ij"))
    hkl = (i * first + j * second).astype(np.int32)
    hkl = hkl[allowed(group, hkl) & hkl.any(axis=1)]
    lengths = np.linalg.norm(hkl, axis=1)
    order = np.argsort(lengths, kind="stable")
    hkl, lengths = hkl[order], lengths[order]
    independent = np.cross(hkl[0], hkl).any(axis=1)
    near = lengths <= lengths[independent][0] * (_RADIUS + _UNIT_TOLERANCE)
    hkl, lengths = hkl[near], lengths[near]
    normal = np.asarray(zone) / np.linalg.norm(zone)
    x = first / np.linalg.norm(first)
    y = np.cross(normal, x)
    return np.stack([hkl @ x, hkl @ y], axis=1) / lengths[0]


def _plane_basis(zone: Direction) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the two shortest reciprocal vectors that span the zero layer of a primitive cubic lattice."""
    axis = np.arange(-6, 7)
    hkl = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    hkl = hkl[(hkl @ np.asarray(zone) == 0) & hkl.any(axis=1)]
    hkl = hkl[np.argsort((hkl**2).sum(axis=1), kind="stable")]
    first = hkl[0]
    second = next(v for v in hkl if np.any(np.cross(first, v)))
    return first, second


def canonical(points: NDArray[np.float64]) -> bytes:
    """Return a form of a point set (N, 2) invariant under rotations and mirrors; its shortest vectors have length 1."""
    shortest = points[np.linalg.norm(points, axis=1) < 1 + _UNIT_TOLERANCE]
    forms: list[bytes] = []
    for start in shortest:
        turn = np.array([[start[0], start[1]], [-start[1], start[0]]])
        for mirror in (1.0, -1.0):
            turned = np.round((points @ turn.T) * np.array([1.0, mirror]), _DECIMALS) + 0.0
            forms.append(turned[np.lexsort(turned.T)].tobytes())
    return min(forms)


def mesh(points: NDArray[np.float64]) -> tuple[Category, tuple[float, float]]:
    """Return category and angles in degrees of the triangle of the shortest vectors of the net that points span.

    Parameters
    ----------
    points
        (N, 2) nearest first; the net may have more points, at absences.
    """
    nearest = points[:_NET_POINTS]
    net = np.concatenate([points, (nearest[:, None] - nearest[None]).reshape(-1, 2)])
    lengths = np.linalg.norm(net, axis=1)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > _UNIT_TOLERANCE]
    net, lengths = net[order], lengths[order]
    first = net[0]
    independent = np.abs(net[:, 0] * first[1] - net[:, 1] * first[0]) > _UNIT_TOLERANCE
    others, length = net[independent], float(lengths[independent][0])
    near = others[np.linalg.norm(others, axis=1) < length * (1 + _UNIT_TOLERANCE)]
    second = near[np.argmax(near @ first)]
    between = _angle_deg(first, second)
    at_first = _angle_deg(-first, second - first)
    angles = (round(between, 1), round(at_first, 1))
    equal = abs(length - lengths[0]) < _UNIT_TOLERANCE
    if abs(between - 90) < 0.01:
        return ("A" if equal else "B"), (angles[1], angles[0])
    if equal and abs(between - 60) < 0.01:
        return "C", angles
    return "D", angles


def _angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return degrees(acos(float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1, 1))))
