"""Which reflection a run was measured at, as its documents or the preset state it, and what that lets a verdict say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from braggwatch.callbacks.cxdp.records import BurgersVisibility
from braggwatch.callbacks.documents.document_checks import finite
from braggwatch.sim.crystallography.fcc import Miller
from braggwatch.sim.crystallography.visibility import visibility
from braggwatch.sim.geometry.model import GeometryPreset

_SEPARATED = re.compile(r"[-+]?\d+(?:[\s,;]+[-+]?\d+){2}")
_RUN_TOGETHER = re.compile(r"(?:-?\d){3}")
_LARGEST = 99
_NEAR_WHOLE = 0.05


@dataclass(frozen=True, slots=True)
class StatedReflection:
    """A reflection and who stated it.

    Attributes
    ----------
    hkl
        None where nobody stated it, or not in a way that can be read.
    origin
        ``preset`` or ``start:FIELD``; None where nobody stated it.
    problem
        Why what was stated can't be used, None where it can.
    """

    hkl: Miller | None
    origin: str | None
    problem: str | None = None


NOT_STATED = StatedReflection(None, None)
"""Nobody stated a reflection."""


def stated_reflection(preset: GeometryPreset, start: Mapping[str, object], field: str) -> StatedReflection:
    """Find a run's reflection: the start document's, else the preset's.

    A start document that states something unreadable makes the reflection unknown; the preset's is not put in its
    place, as it may be another one.

    Parameters
    ----------
    field
        Key of the start document: three whole numbers, or text such as ``"1 -1 1"`` or ``"1-11"``.
    """
    stated = start.get(field)
    if stated is None:
        return StatedReflection(preset.hkl, None if preset.hkl is None else "preset")
    hkl = read_miller(stated)
    if hkl is not None:
        return StatedReflection(hkl, f"start:{field}")
    shown = f"{stated!r:.60}"
    return StatedReflection(
        None, f"start:{field}", f"the start document's {field!r} is not three whole numbers, one not zero: {shown}"
    )


def read_miller(value: object) -> Miller | None:
    """Return three indices from a sequence or text; None for anything else, for 000 and for indices beyond 99.

    A diffractometer that reports where it stands states 1.003 for 1: within 0.05 of a whole number it counts as that.
    """
    if isinstance(value, str):
        text = value.strip().strip("()[]{}").strip()
        pattern = r"[-+]?\d+" if _SEPARATED.fullmatch(text) else r"-?\d" if _RUN_TOGETHER.fullmatch(text) else None
        numbers: Sequence[object] = [] if pattern is None else [int(part) for part in re.findall(pattern, text)]
    else:
        tolist = getattr(value, "tolist", None)
        listed = tolist() if callable(tolist) else value
        numbers = listed if isinstance(listed, list | tuple) else []
    found = [number for item in numbers if (number := finite(item)) is not None]
    if len(numbers) != 3 or len(found) != 3 or max(map(abs, found)) > _LARGEST + _NEAR_WHOLE:
        return None
    hkl = (round(found[0]), round(found[1]), round(found[2]))
    if not any(hkl) or any(abs(number - index) > _NEAR_WHOLE for number, index in zip(found, hkl, strict=True)):
        return None
    return hkl


def burgers_visibility(reflection: StatedReflection) -> BurgersVisibility:
    """Say which Burgers directions a verdict at this reflection speaks of; unknown, with the reason, where it must."""
    problem = reflection.problem
    if reflection.hkl is None or reflection.origin is None:
        problem = problem or "no reflection is stated: state hkl in the preset or the start document"
        return BurgersVisibility.unknown(problem, origin=reflection.origin)
    try:
        seen = visibility(reflection.hkl)
    except ValueError as error:
        return BurgersVisibility.unknown(str(error), origin=reflection.origin, hkl=reflection.hkl)
    note = ""
    if reflection.origin == "preset" and seen.blind:
        note = "; directions are named for the hkl as the preset states it, another member of its family renames them"
    return BurgersVisibility(
        hkl=seen.hkl,
        origin=reflection.origin,
        seen=seen.seen,
        blind=seen.blind,
        short=seen.short,
        statement=seen.sentence + note,
    )
