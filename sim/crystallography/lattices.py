"""Lattices of the crystals that are screened: reflections, perfect Burgers vectors and slip systems.

A perfect Burgers vector is a translation of the lattice, so that g·b is a whole number at each of its reflections.

Sources: J. P. Hirth and J. Lothe, Theory of Dislocations, 2nd ed. (1982), chapters 9 to 12 (fcc, bcc and hcp metals,
diamond, ionic crystals); D. Hull and D. J. Bacon, Introduction to Dislocations, 5th ed. (2011), chapters 5 and 6 (fcc;
hcp, bcc, ionic, covalent); A. Kelly and K. M. Knowles, Crystallography and Crystal Defects, 2nd ed. (2012), chapters 3
(structures), 7 (slip systems) and 9 (dislocations in crystals); for spinel T. E. Mitchell, J. Am. Ceram. Soc. 82, 3305
(1999), for perovskite D. Brunner et al., J. Am. Ceram. Soc. 84, 1161 (2001). Extinctions: International Tables for
Crystallography A, groups 186, 194, 221, 225, 227 and 229, with the sites that each structure fills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import sqrt
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystallography.miller import (
    Miller,
    canonical,
    family,
    four_indices,
    hexagonal_family,
    indices,
    opposite,
)
from braggwatch.sim.errors import InputError, UnknownNameError

LatticeName = Literal["fcc", "bcc", "diamond", "rocksalt", "perovskite", "spinel", "hcp", "wurtzite"]
System = Literal["cubic", "hexagonal"]
Centring = Literal["P", "I", "F"]

IDEAL_C_OVER_A = sqrt(8.0 / 3.0)
"""c/a of hexagonally close-packed spheres; never assumed here: whoever wants it multiplies it by a."""

_FRACTIONS = {1: "", 2: "½", 3: "⅓"}


@dataclass(frozen=True, slots=True)
class Burgers:
    """A Burgers vector in lattice coordinates: b = (U a1 + V a2 + W a3) / denominator.

    Attributes
    ----------
    numerators
        U, V, W; hexagonal ones belong to the axes a1, a2 (120° apart) and c.
    """

    numerators: Miller
    denominator: int
    system: System

    @property
    def name(self) -> str:
        """Its usual name, e.g. ``½[1-10]``, ``[100]``, ``⅓[11-20]``."""
        found, denominator = self._written
        return f"{_FRACTIONS[denominator]}[{indices(found)}]"

    @property
    def direction(self) -> str:
        """Its direction alone, e.g. ``[1-10]`` or ``[11-20]``."""
        return f"[{indices(self._written[0])}]"

    @property
    def family(self) -> str:
        """Name of the vectors that are the same by symmetry, e.g. ``½⟨110⟩``, ``⅓⟨11-23⟩``."""
        found, denominator = self._written
        if len(found) == 3:
            members = sorted(map(abs, found), reverse=True)
        else:
            low, middle, high = sorted(map(abs, found[:3]))
            members = [low, middle, -high, abs(found[3])]
        return f"{_FRACTIONS[denominator]}⟨{indices(tuple(members))}⟩"

    def __neg__(self) -> Burgers:
        return Burgers(opposite(self.numerators), self.denominator, self.system)

    @property
    def _written(self) -> tuple[tuple[int, ...], int]:
        if self.system == "cubic":
            return self.numerators, self.denominator
        four, divisor = four_indices(self.numerators)
        return four, divisor * self.denominator


@dataclass(frozen=True, slots=True)
class SlipSystem:
    """A Burgers vector and a plane that contains it, both one of a ± pair."""

    burgers: Burgers
    normal: Miller

    @property
    def name(self) -> str:
        """E.g. ``½[1-10](111)``; hexagonal planes have four indices, ``⅓[11-20](0001)``."""
        h, k, l = self.normal  # noqa: E741 - the index's own name
        plane = self.normal if self.burgers.system == "cubic" else (h, k, -h - k, l)
        return f"{self.burgers.name}({indices(plane)})"


@dataclass(frozen=True, slots=True)
class Lattice:
    """A lattice with its basis: what it reflects and which dislocations it has.

    Attributes
    ----------
    system
        ``hexagonal``: hkl and [UVW] are the three indices of a1, a2 (120° apart) and c, and lattice constants are
        a and c.
    burgers_directions
        Perfect Burgers vectors, one of each ± pair; the shortest family first.
    slip_systems
        One of each ± pair of Burgers vector and of plane; the commonest planes of each family first.
    """

    name: LatticeName
    system: System
    centring: Centring
    burgers_directions: tuple[Burgers, ...]
    slip_systems: tuple[SlipSystem, ...] = field(repr=False)

    def is_node(self, hkl: Miller) -> bool:
        """Return whether hkl is a point of the reciprocal lattice, whatever the basis makes of it."""
        return any(hkl) and _CENTRINGS[self.centring][0](hkl)

    def extinction(self, hkl: Miller) -> str | None:
        """Return why hkl is no reflection to measure, in words; None if it is one.

        Centring leaves nothing at all there. What only the basis or a glide plane takes away is called forbidden or
        weak: bonds, anisotropic vibration and multiple scattering may leave a little.
        """
        if not self.is_node(hkl):
            return f"{self.name} has no {indices(hkl)} reflection: {_CENTRINGS[self.centring][1]}"
        rule = _BASES.get(self.name)
        if rule is None or not rule[0](hkl):
            return None
        return f"{indices(hkl)} of {self.name} is forbidden or weak: {rule[1]}"

    def is_allowed(self, hkl: Miller) -> bool:
        """Return whether both centring and basis allow the reflection."""
        return self.extinction(hkl) is None

    def g_dot_b(self, hkl: Miller, burgers: Burgers) -> float:
        """Return g·b: a whole number at each reflection for each of `burgers_directions`."""
        return float(Fraction(sum(h * u for h, u in zip(hkl, burgers.numerators, strict=True)), burgers.denominator))

    def family(self, hkl: Miller) -> list[Miller]:
        """Return all planes or reflections that are hkl by symmetry (m-3m or 6/mmm), in sorted order."""
        return family(hkl) if self.system == "cubic" else hexagonal_family(hkl)

    def family_name(self, hkl: Miller) -> str:
        """Name the family: ``{311}``, largest index first; hexagonal by three indices, h ≥ k ≥ 0, such as ``{102}``."""
        if self.system == "cubic":
            return f"{{{indices(tuple(sorted(map(abs, hkl), reverse=True)))}}}"
        return f"{{{indices(max(m for m in self.family(hkl) if min(m) >= 0 and m[0] >= m[1]))}}}"

    def direct_basis(self, a: float, c: float | None = None) -> NDArray[np.float64]:
        """Return the conventional axes in Cartesian coordinates.

        Parameters
        ----------
        a, c
            Lattice constants in any unit; c for hexagonal lattices only.

        Returns
        -------
        (3, 3) float64, rows a1, a2, a3 in that unit: x along a1, z along a3. ``(numerators / denominator) @ basis`` is
        a Burgers vector.

        Raises
        ------
        InputError
            If c is missing where it is needed or given where there is none, or one is not positive.
        """
        if self.system == "cubic":
            if c is not None:
                raise InputError(f"{self.name} is cubic: it has no lattice constant c")
            return _positive(a, "a") * np.eye(3)
        if c is None:
            raise InputError(f"{self.name} is hexagonal: it needs its lattice constant c")
        a, c = _positive(a, "a"), _positive(c, "c")
        return np.array([[a, 0.0, 0.0], [-a / 2.0, a * sqrt(3.0) / 2.0, 0.0], [0.0, 0.0, c]])

    def reciprocal_basis(self, a: float, c: float | None = None) -> NDArray[np.float64]:
        """Return the reciprocal axes, without 2 pi, in the frame and with the errors of `direct_basis`.

        Returns
        -------
        (3, 3) float64, rows a1*, a2*, a3* in the inverse unit: ``hkl @ basis`` is g, or a plane's normal; |g| = 1/d.
        """
        return np.asarray(np.linalg.inv(self.direct_basis(a, c)).T, dtype=np.float64)

    def d_spacing(self, hkl: Miller, a: float, c: float | None = None) -> float:
        """Return the distance of the planes hkl in the unit of a, with the errors of `direct_basis`."""
        return 1.0 / float(np.linalg.norm(np.asarray(hkl) @ self.reciprocal_basis(a, c)))

    def burgers_vector(self, burgers: Burgers, a: float, c: float | None = None) -> NDArray[np.float64]:
        """Return a Burgers vector, (3,) float64 in the frame, unit and with the errors of `direct_basis`."""
        return np.asarray(burgers.numerators) @ self.direct_basis(a, c) / burgers.denominator


def lattice_named(name: str) -> Lattice:
    """Return the lattice of this name.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    for known, lattice in LATTICES.items():
        if known == name:
            return lattice
    raise UnknownNameError(f"unknown lattice {name!r}; known are {', '.join(get_args(LatticeName))}")


def _positive(length: float, name: str) -> float:
    if not (np.isfinite(length) and length > 0.0):
        raise InputError(f"lattice constant {name} must be positive, got {length}")
    return float(length)


def _unmixed(hkl: Miller) -> bool:
    return len({index % 2 for index in hkl}) == 1


def _body(hkl: Miller) -> bool:
    return sum(hkl) % 2 == 0


_CENTRINGS: dict[Centring, tuple[Callable[[Miller], bool], str]] = {
    "P": (lambda _: True, "h, k, l must not all be zero"),
    "I": (_body, "h + k + l must be even, and h, k, l not all zero"),
    "F": (_unmixed, "h, k, l must be all even or all odd, and not all zero"),
}


def _diamond_basis(hkl: Miller) -> bool:
    """Atoms on 8a alone: of all-even reflections those with h + k + l = 4n remain."""
    return hkl[0] % 2 == 0 and sum(hkl) % 4 != 0


def _d_glide(hkl: Miller) -> bool:
    """Fd-3m's d glide: 0kl only with k + l = 4n. Spinel's oxygen, on 32e, fills 222 and the like."""
    return 0 in hkl and sum(map(abs, hkl)) % 4 != 0


def _close_packing(hkl: Miller) -> bool:
    """Layers A and B half a c apart (2c of P6_3/mmc, 2b of P6_3mc): odd l needs h - k other than 3n."""
    return hkl[2] % 2 != 0 and (hkl[0] - hkl[1]) % 3 == 0


_BASES: dict[LatticeName, tuple[Callable[[Miller], bool], str]] = {
    "diamond": (_diamond_basis, "even h, k, l need h + k + l = 4n"),
    "spinel": (_d_glide, "with one index zero the others must add up to 4n"),
    "hcp": (_close_packing, "odd l needs h - k that is no multiple of 3"),
    # The c glide forbids it for h = k alone; the rest is extinct as both kinds of atom are on 2b.
    "wurtzite": (_close_packing, "odd l needs h - k that is no multiple of 3"),
}


def _vectors(direction: Miller, denominator: int) -> tuple[Burgers, ...]:
    """Return a cubic family of Burgers vectors, one of each ± pair."""
    found = sorted({canonical(m) for m in family(direction)}, key=lambda b: (*map(abs, b), *b), reverse=True)
    return tuple(Burgers(m, denominator, "cubic") for m in found)


def _hexagonal(*numerators: Miller) -> tuple[Burgers, ...]:
    return tuple(Burgers(m, 1, "hexagonal") for m in numerators)


def _systems(burgers: tuple[Burgers, ...], *planes: Miller) -> Iterator[SlipSystem]:
    """Combine each vector with the planes of each family that contain it: hU + kV + lW = 0."""
    members = family if burgers[0].system == "cubic" else hexagonal_family
    for plane in planes:
        normals = sorted({canonical(n) for n in members(plane)}, reverse=True)
        for b in burgers:
            for normal in normals:
                if sum(h * u for h, u in zip(normal, b.numerators, strict=True)) == 0:
                    yield SlipSystem(b, normal)


_HALF_110, _HALF_111 = _vectors((1, 1, 0), 2), _vectors((1, 1, 1), 2)
_100, _110 = _vectors((1, 0, 0), 1), _vectors((1, 1, 0), 1)

# In four indices a is ⅓[2-1-10], ⅓[1-210], ⅓[11-20]; c is [0001].
_A = _hexagonal((1, 0, 0), (0, -1, 0), (1, 1, 0))
_C = _hexagonal((0, 0, 1))
_C_A = _hexagonal((1, 0, 1), (1, 0, -1), (0, -1, 1), (0, -1, -1), (1, 1, 1), (1, 1, -1))

# Basal, prismatic {10-10} and first-order pyramidal {10-11}; c on both prisms; c+a on second- and first-order pyramids.
_HEXAGONAL_SYSTEMS = (
    *_systems(_A, (0, 0, 1), (1, 0, 0), (1, 0, 1)),
    *_systems(_C, (1, 0, 0), (1, 1, 0)),
    *_systems(_C_A, (1, 1, 2), (1, 0, 1)),
)

LATTICES: dict[LatticeName, Lattice] = {
    lattice.name: lattice
    for lattice in (
        Lattice("fcc", "cubic", "F", _HALF_110, tuple(_systems(_HALF_110, (1, 1, 1)))),
        Lattice(
            "bcc",
            "cubic",
            "I",
            (*_HALF_111, *_100),
            # ⟨100⟩ comes of two ½⟨111⟩ that meet: Hull and Bacon, section 6.3.
            (*_systems(_HALF_111, (1, 1, 0), (2, 1, 1)), *_systems(_100, (1, 1, 0))),
        ),
        Lattice("diamond", "cubic", "F", _HALF_110, tuple(_systems(_HALF_110, (1, 1, 1)))),
        # {100} is PbS's plane and the second of MgO and NaCl.
        Lattice("rocksalt", "cubic", "F", _HALF_110, tuple(_systems(_HALF_110, (1, 1, 0), (1, 0, 0)))),
        Lattice(
            "perovskite",
            "cubic",
            "P",
            (*_100, *_110),
            (*_systems(_100, (1, 1, 0), (1, 0, 0)), *_systems(_110, (1, 1, 0), (1, 0, 0))),
        ),
        Lattice("spinel", "cubic", "F", _HALF_110, tuple(_systems(_HALF_110, (1, 1, 1), (1, 1, 0)))),
        Lattice("hcp", "hexagonal", "P", (*_A, *_C, *_C_A), _HEXAGONAL_SYSTEMS),
        Lattice("wurtzite", "hexagonal", "P", (*_A, *_C, *_C_A), _HEXAGONAL_SYSTEMS),
    )
}
"""Each lattice by name."""
