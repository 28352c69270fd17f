"""A verdict as an ophyd-async device, read by a plan like any detector."""

from __future__ import annotations

from ophyd_async.core import (
    AsyncStatus,
    StandardReadable,
    StandardReadableFormat,
    soft_signal_r_and_setter,
    soft_signal_rw,
)

from braggwatch.callbacks.plans.verdict_plans import PlanVerdict
from braggwatch.callbacks.plans.verdict_source import VerdictSource, final_or_reason


class VerdictDevice(StandardReadable):
    """When triggered, waits for the verdict on the run named by `target`; can then be read like a detector.

    Set ``target`` to the raw run's uid, then trigger and read. Without an answer within ``timeout_s`` the signals
    take the safe default: no class, outcome ``no_answer``, or ``no_record`` if the service gives this run none. Where
    there is no class, ``reason`` says why. A trigger doesn't fail if the service is down.

    ``label`` is empty where there is no class; ``confidence`` and ``completeness`` are 0 where unknown, so that no
    document carries a NaN. ``blind_directions`` is -1 where unknown: 0 says that the reflection sees every direction.
    ``region_radius`` is -1 for other classes than ``perfect``, and where it is unknown.
    """

    def __init__(self, source: VerdictSource, timeout_s: float = 10.0, name: str = "verdict") -> None:
        self._source = source
        self._timeout_s = timeout_s
        self.target = soft_signal_rw(str)
        with self.add_children_as_readables(StandardReadableFormat.HINTED_SIGNAL):
            self.label, self._set_label = soft_signal_r_and_setter(str)
            self.confidence, self._set_confidence = soft_signal_r_and_setter(float)
        with self.add_children_as_readables():
            self.outcome, self._set_outcome = soft_signal_r_and_setter(str)
            self.reason, self._set_reason = soft_signal_r_and_setter(str)
            self.completeness, self._set_completeness = soft_signal_r_and_setter(float)
            self.blind_directions, self._set_blind_directions = soft_signal_r_and_setter(int, -1)
            self.region_radius, self._set_region_radius = soft_signal_r_and_setter(float, -1.0)
            self.run_uid, self._set_run_uid = soft_signal_r_and_setter(str)
            self.model_id, self._set_model_id = soft_signal_r_and_setter(str)
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Wait for the verdict on the run named by `target` and show it."""
        run_uid = await self.target.get_value()
        answer = await final_or_reason(self._source, run_uid, self._timeout_s)
        self._show(PlanVerdict.of_answer(answer, run_uid))

    def _show(self, verdict: PlanVerdict) -> None:
        self._set_run_uid(verdict.run_uid)
        self._set_label(verdict.label or "")
        self._set_outcome(verdict.outcome)
        self._set_reason(verdict.reason or "")
        self._set_confidence(verdict.confidence or 0.0)
        self._set_completeness(verdict.completeness or 0.0)
        self._set_model_id(verdict.model_id or "")
        self._set_region_radius(-1.0 if verdict.region_radius is None else verdict.region_radius)
        self._set_blind_directions(-1 if verdict.blind_directions is None else verdict.blind_directions)
