"""State machine for liveness and readiness of the service, with the reasons.

Alive means that the pipeline's loop runs: it calls `Health.beat`; a supervisor restarts a process that is not alive.
Ready means that every named condition was reported and none failed; degraded means ready with a limitation (such as
the CPU in place of the accelerator). Conditions start as pending: a service is never ready before each was reported.
Only ``housekeeping``, the maintenance between documents, and ``geometry``, are ok until something else is reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from braggwatch.models.valid_text import SoundText, sound_text

HOUSEKEEPING: Final = "housekeeping"
"""Name of the condition for maintenance between documents: deadlines, retries, metrics."""

GEOMETRY: Final = "geometry"
"""Name of the condition for the geometry preset of rocking curves."""


class ConditionStatus(StrEnum):
    """State of one part of the service."""

    PENDING = "pending"
    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


class HealthState(StrEnum):
    """State of the whole service."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    NOT_READY = "not_ready"
    UNRESPONSIVE = "unresponsive"
    STOPPING = "stopping"


class Condition(BaseModel):
    """State of one part of the service, with the reason unless it is ok."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: ConditionStatus = ConditionStatus.PENDING
    reason: SoundText | None = None


class HealthReport(BaseModel):
    """Snapshot of the state of the service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: HealthState
    live: bool = Field(description="Whether the pipeline's loop runs; false asks for a restart.")
    ready: bool = Field(description="Whether a run that arrives now would be classified; true also when degraded.")
    reasons: tuple[str, ...] = Field(description="Everything that is not ok, and remarks, for the operator.")
    conditions: dict[str, Condition]


class Health:
    """Collects the states that the parts report; thread-safe.

    Parameters
    ----------
    conditions
        Names of the parts that must report before the service is ready, not counting ``housekeeping`` and ``geometry``.
    stall_after_s
        Age of the last `beat`, in seconds, from which the process counts as stalled. Never before the first beat.
    clock
        Monotonic clock in seconds.
    on_change
        Called with (ready, degraded) when either changes, e.g. `Metrics.ready`.
    """

    def __init__(
        self,
        conditions: tuple[str, ...] = ("stream", "model", "store"),
        *,
        stall_after_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[bool, bool], None] | None = None,
    ) -> None:
        self._conditions = {name: Condition() for name in conditions}
        self._conditions |= {name: Condition(status=ConditionStatus.OK) for name in (HOUSEKEEPING, GEOMETRY)}
        self._stall_after_s = stall_after_s
        self._clock = clock
        self._on_change = on_change
        self._remarks: dict[str, str] = {}
        self._last_beat: float | None = None
        self._stopping = False
        self._last_told: tuple[bool, bool] | None = None
        self._lock = threading.Lock()

    def beat(self) -> None:
        """Report one turn of the pipeline's loop."""
        with self._lock:
            self._last_beat = self._clock()

    def ok(self, condition: str) -> None:
        """Report that a part is ok."""
        self._set(condition, Condition(status=ConditionStatus.OK))

    def degraded(self, condition: str, reason: str) -> None:
        """Report that a part works with a limitation."""
        self._set(condition, Condition(status=ConditionStatus.DEGRADED, reason=reason))

    def failed(self, condition: str, reason: str) -> None:
        """Report that a part does not work."""
        self._set(condition, Condition(status=ConditionStatus.FAILED, reason=reason))

    def remark(self, subject: str, words: str | None) -> None:
        """Add a remark to the reasons without changing the state; None removes it."""
        with self._lock:
            self._remarks.pop(subject, None)
            if words is not None:
                self._remarks[subject] = sound_text(words)

    def stopping(self) -> None:
        """Report that the service is stopping; it is never ready again."""
        with self._lock:
            self._stopping = True
        self._tell()

    def report(self) -> HealthReport:
        """Return the current state of the service."""
        with self._lock:
            conditions = dict(self._conditions)
            remarks = dict(self._remarks)
            stopping = self._stopping
            silent_s = None if self._last_beat is None else self._clock() - self._last_beat
        live = silent_s is None or silent_s <= self._stall_after_s
        reasons = [f"{name}: {c.reason or 'not reported yet'}" for name, c in conditions.items() if not _well(c)]
        if not live:
            reasons.insert(0, f"pipeline: no sign of life for {silent_s:.0f} s")
        reasons += [f"{subject}: {words}" for subject, words in remarks.items()]
        state = _state(conditions, live=live, stopping=stopping)
        ready = state in (HealthState.READY, HealthState.DEGRADED)
        return HealthReport(state=state, live=live, ready=ready, reasons=tuple(reasons), conditions=conditions)

    def _set(self, name: str, condition: Condition) -> None:
        with self._lock:
            if name not in self._conditions:
                known = ", ".join(self._conditions)
                raise KeyError(f"unknown condition {name!r}; known: {known}")
            self._conditions[name] = condition
        self._tell()

    def _tell(self) -> None:
        report = self.report()
        now = (report.ready, report.state is HealthState.DEGRADED)
        with self._lock:
            changed = now != self._last_told
            self._last_told = now
        if changed and self._on_change is not None:
            self._on_change(*now)


def _well(condition: Condition) -> bool:
    return condition.status is ConditionStatus.OK


def _state(conditions: dict[str, Condition], *, live: bool, stopping: bool) -> HealthState:
    statuses = {condition.status for condition in conditions.values()}
    if stopping:
        return HealthState.STOPPING
    if not live:
        return HealthState.UNRESPONSIVE
    if ConditionStatus.FAILED in statuses:
        return HealthState.NOT_READY
    if ConditionStatus.PENDING in statuses:
        return HealthState.STARTING
    if ConditionStatus.DEGRADED in statuses:
        return HealthState.DEGRADED
    return HealthState.READY
