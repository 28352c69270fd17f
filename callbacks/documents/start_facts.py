"""What a run's start and stop documents say of it, read in one way for every system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from braggwatch.callbacks.documents.document_checks import finite, text


def scan_id(start: Mapping[str, object] | None) -> int | None:
    """Return the scan number of a start document, None if there is none."""
    number = finite((start or {}).get("scan_id"))
    return None if number is None else int(number)


def sample_name(start: Mapping[str, object] | None, field: str) -> str | None:
    """Return the sample's name, which the start document holds under ``field``; None if it doesn't."""
    return text((start or {}).get(field))


def started_at(start: Mapping[str, object] | None, stop: Mapping[str, object] | None) -> float:
    """Return the time of the start document, else of the stop document, seconds since the epoch; 0 without either."""
    return finite((start or {}).get("time")) or finite((stop or {}).get("time")) or 0.0


def scan_dimensions(start: Mapping[str, object] | None) -> Sequence[object] | None:
    """Return the dimensions that the start document's ``hints`` state, one entry each; None where it states none."""
    hints = (start or {}).get("hints")
    dimensions = cast("Mapping[str, object]", hints).get("dimensions") if isinstance(hints, Mapping) else None
    return cast("Sequence[object]", dimensions) if isinstance(dimensions, list | tuple) else None


def scan_streams(start: Mapping[str, object] | None) -> frozenset[str]:
    """Return the streams that hold the scan's points, by the start document's ``hints``: ``[[fields], stream]``."""
    listed = [pair for pair in scan_dimensions(start) or () if isinstance(pair, list | tuple)]
    named = [pair[1] for pair in cast("list[Sequence[object]]", listed) if len(pair) == 2]
    return frozenset(name for name in named if isinstance(name, str))
