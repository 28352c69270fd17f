"""Which dislocations are visible at a reflection: g·b over the six directions of the fcc Burgers vectors.

A line whose Burgers vector b satisfies g·b = 0 leaves the phase at g unchanged (exactly for a screw; an edge has weak
residual contrast through g·(b x u), u along the line). Hirsch, Howie, Nicholson, Pashley and Whelan, Electron
Microscopy of Thin Crystals (1965), chapter 7.
"""

from __future__ import annotations

from dataclasses import dataclass

from braggwatch.sim.crystallography.fcc import BURGERS, Miller, g_dot_b, is_allowed
from braggwatch.sim.errors import InputError


def canonical(direction: Miller) -> Miller:
    """Return the one of ±direction with a positive first non-zero index: ±b have the same visibility."""
    leading = next((index for index in direction if index), 0)
    return (-direction[0], -direction[1], -direction[2]) if leading < 0 else direction


BURGERS_DIRECTIONS: tuple[Miller, ...] = tuple(
    sorted({canonical(b) for b in BURGERS}, key=lambda b: (*map(abs, b), *b), reverse=True)
)
"""The six ⟨110⟩ directions as integers, one of each ± pair: b = a/2 times one of these."""


@dataclass(frozen=True, slots=True)
class Visibility:
    """Visibility of perfect fcc dislocations at one reflection.

    Attributes
    ----------
    hkl
        The reflection, sign and order of its indices as stated.
    seen, blind
        Burgers directions (of `BURGERS_DIRECTIONS`, in its order) with g·b ≠ 0 and with g·b = 0.
    """

    hkl: Miller
    seen: tuple[Miller, ...]
    blind: tuple[Miller, ...]

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
        if not self.blind:
            return f"{known}: these are all six ⟨110⟩ directions"
        return f"{known}; this reflection can't see {burgers_vectors(self.blind)} (g·b = 0)"


def visibility(hkl: Miller) -> Visibility:
    """Divide the six Burgers directions by whether g·b is zero.

    Raises
    ------
    InputError
        If fcc doesn't allow the reflection.
    """
    if not is_allowed(hkl):
        raise InputError(f"fcc has no {indices(hkl)} reflection: h, k, l must be all even or all odd, and not all zero")
    return Visibility(
        hkl=hkl,
        seen=tuple(b for b in BURGERS_DIRECTIONS if g_dot_b(hkl, b) != 0.0),
        blind=tuple(b for b in BURGERS_DIRECTIONS if g_dot_b(hkl, b) == 0.0),
    )


def indices(miller: Miller) -> str:
    """Write three indices with minus signs in front: ``1-10``; with spaces if any has two digits."""
    return ("" if all(abs(index) < 10 for index in miller) else " ").join(str(index) for index in miller)


def directions(burgers: tuple[Miller, ...]) -> str:
    """Write directions in square brackets, separated by a space: ``[1-10] [10-1]``; at most 38 characters for six."""
    return " ".join(f"[{indices(b)}]" for b in burgers)


def burgers_vectors(burgers: tuple[Miller, ...]) -> str:
    """Write Burgers vectors in lattice parameters: ``b = ½[1-10] or ½[10-1]``."""
    named = [f"½[{indices(b)}]" for b in burgers]
    return "b = " + (named[0] if len(named) == 1 else f"{', '.join(named[:-1])} or {named[-1]}")
