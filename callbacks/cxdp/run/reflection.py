"""Finds the reflection and lattice of a run in its documents or the preset, and which Burgers vectors are visible."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from braggwatch.callbacks.cxdp.records import BurgersVisibility
from braggwatch.callbacks.documents.document_checks import finite
from braggwatch.sim.crystallography.lattices import LATTICES, LatticeName
from braggwatch.sim.crystallography.miller import Miller
from braggwatch.sim.crystallography.stated_lattice import UNSTATED, StatedLattice, lattice_by_name
from braggwatch.sim.crystallography.visibility import visibility
from braggwatch.sim.geometry.model import GeometryPreset

_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_SEPARATED = re.compile(rf"{_NUMBER}(?:[\s,;]+{_NUMBER}){{2,3}}")
_RUN_TOGETHER = re.compile(r"(?:-?\d){3,4}")
# What people write before the indices: "Au 111", "Al2O3 (1 0 4)", "hkl = 1 -1 1".
_NAMED = re.compile(r"[A-Za-z]\w*\s*[\s=:(\[{]\s*|[A-Za-z]+(?=\d)")
_KEYS = ("h", "k", "l")
_LARGEST = 99
_NEAR_WHOLE = 0.05


@dataclass(frozen=True, slots=True)
class StatedReflection:
    """A reflection, the lattice that it belongs to, and where each was stated.

    Attributes
    ----------
    hkl
        None if it is not stated, or can't be read.
    origin
        ``preset`` or ``start:FIELD``; None if it is not stated.
    problem
        Why the stated value can't be used, None if it can.
    lattice
        What is known of the crystal's lattice.
    """

    hkl: Miller | None
    origin: str | None
    problem: str | None = None
    lattice: StatedLattice = UNSTATED


NOT_STATED = StatedReflection(None, None)
"""No reflection is stated."""


def stated_reflection(
    preset: GeometryPreset, start: Mapping[str, object], field: str, lattice_field: str
) -> StatedReflection:
    """Find a run's reflection and lattice: the start document's, else the preset's.

    If the start document's value can't be read, the reflection or lattice is unknown; the preset's is not used in its
    place, as it may be a different one.

    Parameters
    ----------
    field
        Key of the start document; see `read_miller`.
    lattice_field
        Key of the start document: a lattice's name, e.g. ``"bcc"``.
    """
    lattice = _lattice(preset, start.get(lattice_field), lattice_field)
    stated = start.get(field)
    if stated is None:
        return StatedReflection(preset.hkl, None if preset.hkl is None else "preset", lattice=lattice)
    hkl = read_miller(stated)
    if hkl is not None:
        return StatedReflection(hkl, f"start:{field}", lattice=lattice)
    shown = f"{stated!r:.60}"
    problem = f"the start document's {field!r} is not three whole numbers, one not zero: {shown}"
    return StatedReflection(None, f"start:{field}", problem, lattice)


def _lattice(preset: GeometryPreset, stated: object, field: str) -> StatedLattice:
    if stated is None:
        return preset.crystal_lattice
    if isinstance(stated, str):
        found = lattice_by_name(stated.strip(), f"start:{field}")
        if found.problem is None:
            return found
    shown = f"{stated!r:.60}"
    problem = f"the start document's {field!r} is not one of {', '.join(LATTICES)}: {shown}"
    return StatedLattice((), f"start:{field}", problem)


def read_miller(value: object) -> Miller | None:
    """Return three indices from a sequence, text or a mapping; None for anything else, 000, and indices beyond 99.

    Text is ``"1 -1 1"``, ``"1-11"`` or ``"[1,1,1]"``, perhaps after a name: ``"Au 111"``. A mapping has the keys h, k
    and l. Four indices are those of a hexagonal lattice, h k i l with i = -(h + k). Values within 0.05 of a whole
    number are rounded: a diffractometer's readback may be 1.003 instead of 1.
    """
    numbers = _stated_numbers(value)
    found = [number for item in numbers if (number := finite(item)) is not None]
    if len(found) != len(numbers) or len(found) not in (3, 4) or max(map(abs, found)) > _LARGEST + _NEAR_WHOLE:
        return None
    if any(abs(number - round(number)) > _NEAR_WHOLE for number in found):
        return None
    indices = [round(number) for number in found]
    if len(indices) == 4:
        h, k, i, l = indices  # noqa: E741 crystallography's names
        if i != -(h + k):
            return None
        indices = [h, k, l]
    return (indices[0], indices[1], indices[2]) if any(indices) else None


def _stated_numbers(value: object) -> Sequence[object]:
    if isinstance(value, str):
        text = value.strip()
        named = _NAMED.match(text)
        text = text[named.end() if named else 0 :].strip().strip("()[]{}").strip()
        pattern = _NUMBER if _SEPARATED.fullmatch(text) else r"-?\d" if _RUN_TOGETHER.fullmatch(text) else None
        return [] if pattern is None else [float(part) for part in re.findall(pattern, text)]
    if isinstance(value, Mapping):
        stated = {str(key).lower(): item for key, item in cast("Mapping[object, object]", value).items()}
        return [stated[key] for key in _KEYS] if all(key in stated for key in _KEYS) else []
    tolist = getattr(value, "tolist", None)
    listed = tolist() if callable(tolist) else value
    return cast("Sequence[object]", listed) if isinstance(listed, list | tuple) else []


def burgers_visibility(reflection: StatedReflection) -> BurgersVisibility:
    """Return which Burgers vectors are visible at this reflection; unknown, with the reason, if it is not known."""
    problem, lattice = reflection.problem, reflection.lattice
    if reflection.hkl is None or reflection.origin is None:
        problem = problem or "no reflection is stated: state hkl in the preset or the start document"
        return BurgersVisibility.unknown(problem, origin=reflection.origin)
    if lattice.problem is not None:
        return BurgersVisibility.unknown(lattice.problem, origin=reflection.origin, hkl=reflection.hkl)
    # Of the lattices that it may be, one that has the reflection: all have the same Burgers vectors.
    having: list[LatticeName] = [name for name in lattice.names if LATTICES[name].is_allowed(reflection.hkl)]
    name = having[0] if having else lattice.names[0]
    try:
        seen = visibility(reflection.hkl, name)
    except ValueError as error:
        return BurgersVisibility.unknown(str(error), origin=reflection.origin, hkl=reflection.hkl)
    note = ""
    if reflection.origin == "preset" and seen.blind:
        note = "; directions are named for the hkl as the preset states it, another member of its family renames them"
    return BurgersVisibility(
        hkl=seen.hkl,
        origin=reflection.origin,
        lattice=lattice.words,
        seen=tuple(b.numerators for b in seen.seen),
        blind=tuple(b.numerators for b in seen.blind),
        seen_vectors=tuple(b.name for b in seen.seen),
        blind_vectors=tuple(b.name for b in seen.blind),
        short=seen.short,
        statement=seen.sentence + note,
    )
