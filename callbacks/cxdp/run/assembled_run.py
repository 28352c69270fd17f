"""What the assembly hands on when a run has ended, one way or another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.records import GeometryOrigin, RockingCurve
from braggwatch.callbacks.cxdp.run.reflection import NOT_STATED, StatedReflection


class Ending(StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    INVALID = "invalid"
    ABORTED = "aborted"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class AssembledRun:
    """A run that will not change any more.

    Attributes
    ----------
    curve
        Present for complete and partial runs, None otherwise.
    reason
        Why the ending is not ``complete``, in words for an operator; None where it is.
    classifiable
        Whether enough frames are there, and those near the peak, for a class to be named.
    rocking_curve
        (N, 2) float64 in scan order: readback of the scanned circle in degrees, without the geometry's offset, and
        summed counts of the frame; NaN where a frame is absent. None where no frame arrived.
    last_document
        Monotonic seconds at which the run's last document came.
    """

    run_uid: str
    ending: Ending
    reason: str | None
    classifiable: bool
    curve: RockingCurve | None
    frames_expected: int | None
    frames_received: int
    started_at: float
    last_document: float
    scan_id: int | None = None
    sample: str | None = None
    truth: str | None = None
    position: Mapping[str, float] = field(default_factory=dict[str, float])
    origins: tuple[GeometryOrigin, ...] = ()
    reflection: StatedReflection = NOT_STATED
    rocking_curve: NDArray[np.float64] | None = None
