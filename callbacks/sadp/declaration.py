"""How a Bluesky stream says that its detector takes electron diffraction patterns, and what of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import cast

from braggwatch.callbacks.documents.document_checks import finite, text
from braggwatch.models.sadp.groups import Zone
from braggwatch.models.valid_text import sound_text

MODALITY = "sadp"
"""Value of ``modality`` in a data key, and the start document's key for a plan's own declaration."""

CALIBRATION_KEY = "inv_nm_per_px"
_LONGEST_NAME = 128
_FIELDS = ("particle_field", "visit_field", "zone_field")


@dataclass(frozen=True, slots=True)
class PatternDeclaration:
    """What a descriptor, with its start document, says of one detector of diffraction patterns.

    Attributes
    ----------
    detector
        Data key of the frames.
    shape
        (rows, columns) of a frame, None where the descriptor doesn't say.
    inv_nm_per_px
        Scale of the pattern, 1/nm a pixel; None where it is declared to be unknown.
    problem
        Why no pattern of this stream may be judged; None where it may.
    particle
        Name of the particle where an event names none.
    particle_field, visit_field, zone_field
        Event fields that name particle, zone visit and stated zone.
    saturation_counts
        Counts at which a pixel is full; None: the largest number of an integer dtype.
    """

    detector: str
    shape: tuple[int, int] | None
    inv_nm_per_px: float | None
    problem: str | None
    particle: str
    particle_field: str = "particle"
    visit_field: str = "zone_visit"
    zone_field: str = "zone"
    saturation_counts: float | None = None


def declared_detectors(start: Mapping[str, object] | None, descriptor: Mapping[str, object]) -> tuple[str, ...]:
    """Return the data keys of a descriptor that are declared as `sadp`, by themselves or by the start document."""
    data_keys = cast("Mapping[str, object]", descriptor["data_keys"])
    named = _named_by_start(start)
    return tuple(
        key
        for key, value in data_keys.items()
        if key in named
        or (isinstance(value, Mapping) and cast("Mapping[str, object]", value).get("modality") == MODALITY)
    )


def read_declaration(
    start: Mapping[str, object] | None, descriptor: Mapping[str, object], detector: str, sample_field: str
) -> PatternDeclaration:
    """Read what is declared of one detector; the data key wins over the start document.

    Parameters
    ----------
    detector
        One of `declared_detectors`.
    sample_field
        Start document's key for the sample, which names the particle where nothing else does.
    """
    plan = _plan(start)
    key = cast("Mapping[str, object]", cast("Mapping[str, object]", descriptor["data_keys"])[detector])
    stated = {**plan, **key}
    scale, problem = _calibration(stated)
    saturation = finite(stated.get("saturation_counts"))
    sample = (start or {}).get(sample_field)
    names = {name: value for name in _FIELDS if (value := text(stated.get(name))) is not None}
    return PatternDeclaration(
        detector=detector,
        shape=_shape(key.get("shape")),
        inv_nm_per_px=scale,
        problem=problem,
        particle=name_of(plan.get("particle")) or name_of(sample) or "particle",
        saturation_counts=saturation if saturation is not None and saturation > 0 else None,
        **names,
    )


def name_of(value: object) -> str | None:
    """Return a particle's or a visit's name: text, or a whole number in words; None for anything else."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", None) == 1:
        value = item()
    if _is_whole(value):
        value = str(int(cast("int", value)))
    if not isinstance(value, str) or not value.strip():
        return None
    return sound_text(value.strip()[:_LONGEST_NAME])


def read_zone(value: object) -> Zone | None:
    """Return the family of a stated zone axis, as the group tables have it: no signs, indices in rising order.

    ``[0, 1, 3]``, ``"0 1 3"``, ``"[013]"`` and ``"1-10"`` are read; None for anything else, and for 0 0 0.
    """
    numbers: list[int]
    if isinstance(value, str):
        words = (
            re.findall(r"-?\d+", value) if re.search(r"[\s,;]", value.strip(" []()")) else re.findall(r"-?\d", value)
        )
        numbers = [int(word) for word in words]
    else:
        items = value.tolist() if hasattr(value, "tolist") else value  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
        if not isinstance(items, Sequence):
            return None
        entries = cast("Sequence[object]", items)
        if not all(_is_whole(entry) for entry in entries):
            return None
        numbers = [int(cast("int", entry)) for entry in entries]
    if len(numbers) != 3 or not any(numbers):
        return None
    low, middle, high = sorted(abs(number) for number in numbers)
    return (low, middle, high)


def _is_whole(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral)


def _plan(start: Mapping[str, object] | None) -> Mapping[str, object]:
    plan = (start or {}).get(MODALITY)
    return cast("Mapping[str, object]", plan) if isinstance(plan, Mapping) else {}


def _named_by_start(start: Mapping[str, object] | None) -> frozenset[str]:
    detectors = _plan(start).get("detector")
    if isinstance(detectors, str):
        return frozenset({detectors})
    if isinstance(detectors, list | tuple):
        return frozenset(str(detector) for detector in cast("Sequence[object]", detectors))
    return frozenset()


def _calibration(stated: Mapping[str, object]) -> tuple[float | None, str | None]:
    if CALIBRATION_KEY not in stated:
        return None, f"no calibration declared: state {CALIBRATION_KEY}, as null where it is unknown"
    value = stated[CALIBRATION_KEY]
    if value is None:
        return None, None
    scale = finite(value)
    if scale is None or not scale > 0:
        return None, f"{CALIBRATION_KEY} is neither a number above zero nor null: {value!r:.60}"
    return scale, None


def _shape(stated: object) -> tuple[int, int] | None:
    if not isinstance(stated, list | tuple):
        return None
    sides = cast("Sequence[object]", stated)
    if len(sides) < 2 or not all(isinstance(side, int) and side > 0 for side in sides[-2:]):
        return None
    return cast("int", sides[-2]), cast("int", sides[-1])
