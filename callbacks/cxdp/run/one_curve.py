"""Tells whether a run is one rocking curve: of one place on the sample, over the range of the circle once.

Two crystals, or one and the same twice, put onto one grid are no crystal: such a run gets no class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.documents.start_facts import scan_dimensions

_FEWEST: Final = 8
# A curve crosses these shares of its range once.
_LOW, _HIGH = 0.25, 0.75
# Less than a sample moves from one particle to another, in micrometres; also the limit where a unit isn't stated.
_MOVED_UM: Final = 0.2
_UM: Final[Mapping[str, float]] = {
    "m": 1e6, "mm": 1e3, "millimeter": 1e3, "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3,
}  # fmt: skip
# Without a unit: a step, unlike noise or drift, exceeds the usual change so many times.
_STEP: Final = 10.0
_MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class SamplePosition:
    """Readings of one sample motor beside the frames, in order; ``unit`` as the descriptor states it."""

    field: str
    values: Sequence[float]
    unit: str | None


def why_not_one_curve(
    start: Mapping[str, object], positions: Sequence[SamplePosition], angles_deg: NDArray[np.float64]
) -> str | None:
    """Say why the run isn't one rocking curve; None if nothing speaks against it.

    Parameters
    ----------
    angles_deg
        (N,) readbacks of the scanned circle in the order of the events, NaN where absent.
    """
    moved = [
        f"{position.field!r} moved from {min(position.values):g} to {max(position.values):g}"
        for position in positions
        if _moved(position)
    ]
    reasons = [f"the sample moved during the curve ({', '.join(moved[:_MOST_SHOWN])})"] if moved else []
    several = _outer_dimensions(start)
    if several is not None and not moved:
        reasons.append(f"the plan scans a grid of {several}")
    passes = _passes(angles_deg)
    if passes > 1:
        reasons.append(f"the scanned circle goes over its range {passes} times")
    if not reasons:
        return None
    return f"{' and '.join(reasons)}: not one rocking curve; take each curve in a run of its own"


def _moved(position: SamplePosition) -> bool:
    values = np.asarray(position.values, np.float64)
    if values.size < 2:
        return False
    spread = float(values.max() - values.min())
    scale = _UM.get(position.unit or "")
    if scale is not None:
        return spread * scale > _MOVED_UM
    steps = np.abs(np.diff(values))
    return spread > _MOVED_UM and float(steps.max()) > _STEP * float(np.median(steps))


def _outer_dimensions(start: Mapping[str, object]) -> str | None:
    """Return the extents of a plan over several dimensions, as bluesky's plans state them; None for one."""
    shape, dimensions = start.get("shape"), scan_dimensions(start)
    if not isinstance(shape, list | tuple) or dimensions is None:
        return None
    extents = cast("Sequence[object]", shape)
    if len(extents) != len(dimensions) or not all(isinstance(n, int) for n in extents):
        return None
    longer = [n for n in cast("Sequence[int]", extents) if n > 1]
    return " × ".join(map(str, longer)) + " points" if len(longer) > 1 else None


def _passes(angles_deg: NDArray[np.float64]) -> int:
    """Count how often the angle goes from one end of its range to the other, except in one step."""
    angles = angles_deg[np.isfinite(angles_deg)]
    if angles.size < _FEWEST:
        return 1
    share = (angles - angles.min()) / max(float(np.ptp(angles)), np.finfo(float).tiny)
    ends = np.flatnonzero((share <= _LOW) | (share >= _HIGH))
    high = share[ends] >= _HIGH
    turns = np.flatnonzero(high[1:] != high[:-1])
    # A return in one or two steps takes the motor back, it measures no curve.
    slow = sum(1 for turn in turns if ends[turn + 1] - ends[turn] > 2)
    return max(slow, 1)
