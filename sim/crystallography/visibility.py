"""Which dislocations are visible at a reflection: g·b over the perfect Burgers vectors of the crystal's lattice.

A line whose Burgers vector b satisfies g·b = 0 leaves the phase at g unchanged (exactly for a screw; an edge has weak
residual contrast through g·(b x u), u along the line). Hirsch, Howie, Nicholson, Pashley and Whelan, Electron
Microscopy of Thin Crystals (1965), chapter 7. Elastic anisotropy leaves a little contrast where the line isn't along an
axis of even order, as with the ½⟨111⟩ screws of bcc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from braggwatch.sim.crystallography.lattices import Burgers, Lattice, LatticeName, lattice_named
from braggwatch.sim.crystallography.miller import Miller, indices
from braggwatch.sim.errors import InputError

_NUMERALS = {6: "six", 7: "seven", 9: "nine", 10: "ten"}


@dataclass(frozen=True, slots=True)
class Visibility:
    """Visibility of a lattice's perfect dislocations at one reflection.

    Attributes
    ----------
    hkl
        The reflection, sign and order of its indices as stated.
    seen, blind
        Burgers vectors (of `Lattice.burgers_directions`, in its order) with g·b ≠ 0 and with g·b = 0.
    """

    lattice: Lattice
    hkl: Miller
    seen: tuple[Burgers, ...]
    blind: tuple[Burgers, ...]

    @property
    def short(self) -> str:
        """What completes "perfect, …", e.g. ``as far as 111 sees: blind to 3 of 6 Burgers directions``."""
        if not self.blind:
            return f"and {indices(self.hkl)} sees all {len(self.seen)} Burgers directions"
        total = len(self.seen) + len(self.blind)
        return f"as far as {indices(self.hkl)} sees: blind to {len(self.blind)} of {total} Burgers directions"

    @property
    def sentence(self) -> str:
        """What a verdict at this reflection speaks of and what it can't, with every direction by name."""
        known = f"at {indices(self.hkl)} a line with {burgers_vectors(self.seen)} would show"
        if self.blind:
            return f"{known}; this reflection can't see {burgers_vectors(self.blind)} (g·b = 0)"
        families = list(dict.fromkeys(b.family for b in self.lattice.burgers_directions))
        count = _NUMERALS[len(self.seen)]
        if len(families) == 1:
            return f"{known}: these are all {count} {families[0].lstrip('½')} directions"
        return f"{known}: these are all {count} directions of {_listed(families, 'and')}"


def visibility(hkl: Miller, lattice: LatticeName) -> Visibility:
    """Divide a lattice's Burgers vectors by whether g·b is zero.

    Raises
    ------
    InputError
        If the lattice doesn't have the reflection, or its basis makes it forbidden or weak.
    UnknownNameError
        If there is no lattice of this name.
    """
    found = lattice_named(lattice)
    problem = found.extinction(hkl)
    if problem is not None:
        raise InputError(problem)
    return Visibility(
        lattice=found,
        hkl=hkl,
        seen=tuple(b for b in found.burgers_directions if found.g_dot_b(hkl, b) != 0.0),
        blind=tuple(b for b in found.burgers_directions if found.g_dot_b(hkl, b) == 0.0),
    )


def directions(burgers: Sequence[Burgers]) -> str:
    """Write directions in square brackets, separated by a space: ``[1-10] [10-1]``; at most 38 characters for fcc."""
    return " ".join(b.direction for b in burgers)


def burgers_vectors(burgers: Sequence[Burgers]) -> str:
    """Write Burgers vectors in lattice parameters: ``b = ½[1-10] or ½[10-1]``."""
    return "b = " + _listed([b.name for b in burgers], "or")


def _listed(words: Sequence[str], joint: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joint} {words[-1]}"
