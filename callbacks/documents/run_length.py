"""How long a run is by what its documents say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from braggwatch.callbacks.documents.document_checks import finite


def promised_events(stop: Mapping[str, object] | None) -> dict[str, int]:
    """Return stream → events as the stop document counts them; empty without one."""
    counts = stop.get("num_events") if stop is not None else None
    if not isinstance(counts, Mapping):
        return {}
    named = cast("Mapping[str, object]", counts)
    return {name: int(n) for name, value in named.items() if (n := finite(value)) is not None and n >= 0}


def expected_frames(start: Mapping[str, object], promised: int | None, max_frames: int) -> int | None:
    """Return the number of frames that start and stop documents promise; None where neither says.

    Parameters
    ----------
    promised
        Events of the detector's stream by the stop document.
    max_frames
        More are no number of frames.
    """
    fly = start.get("fly")
    stated = [finite(start.get("num_points"))]
    stated.append(finite(cast("Mapping[str, object]", fly).get("num")) if isinstance(fly, Mapping) else None)
    stated.append(promised)
    numbers = [int(n) for n in stated if n is not None and 1 <= n <= max_frames]
    return max(numbers, default=None)
