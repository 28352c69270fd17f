"""Takes the reports of a live stream of diffraction patterns: stores them, then tells the page and the metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from braggwatch.callbacks.sadp.records import (
    ParticleState,
    PatternReport,
    PatternResult,
    PatternRunReport,
    PatternRunResult,
)
from braggwatch.services.live.desk import ReportDesk
from braggwatch.services.live.modality import Arrival
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.live.service_metrics import NoMetrics, ServiceMetrics
from braggwatch.services.sadp.live.pattern_picture import PatternPicture, draw, pack_picture, unpack_picture
from braggwatch.services.sadp.live.pattern_store import ParticleKey, PatternStore
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_LONGEST_WAIT_S = 0.1
_LARGEST_BATCH = 32
_PICTURE_EVERY_S = 1.0
_LARGEST_FRAMES_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class _Waiting:
    report: PatternReport
    arrived: float


class PatternDesk(ReportDesk[PatternReport | PatternRunReport]):
    """Batches reports, so that a disk that takes 10 ms for a commit keeps up with thirty patterns a second.

    Nothing is told before it is on the disk. While the disk refuses, records wait in memory (the oldest go beyond
    ``max_pending``, with an error in the log) and are told all the same. `take` and `flush` belong to one thread, the
    rest may be called from any. Latency is measured from the document's arrival.

    Parameters
    ----------
    broker
        Is told of each particle that changed.
    """

    def __init__(
        self,
        store: PatternStore,
        broker: ResultBroker[ParticleState],
        metrics: ServiceMetrics | None = None,
        *,
        max_pending: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock)
        self.store = store
        self.broker = broker
        self._metrics: ServiceMetrics = metrics or NoMetrics()
        self._max_pending = max_pending
        self._waiting: list[_Waiting] = []
        self._runs: list[PatternRunReport] = []
        self._refused: list[tuple[PatternResult | PatternRunResult, tuple[ParticleState, ...]]] = []
        # The newest particles' frames; of the others the store has a picture.
        self._latest = Bounded[ParticleKey, PatternReport](most_bytes=_LARGEST_FRAMES_BYTES, size_of=_frame_bytes)
        self._drawn_at: dict[ParticleKey, float] = {}
        self._lock = threading.Lock()

    @property
    def pending(self) -> int:
        """Records that wait in memory for the disk."""
        return len(self._refused)

    def picture(self, run_uid: str, particle: str) -> PatternPicture | None:
        """Return the picture of the particle's newest pattern, from memory or, after a restart, from the store."""
        with self._lock:
            report = self._latest.get((run_uid, particle))
        if report is not None:
            return draw(report)
        packed = self.store.picture(run_uid, particle)
        return None if packed is None else unpack_picture(packed)

    def _admit(self, report: PatternReport | PatternRunReport, taken_at: float, arrival: Arrival | None) -> None:
        if isinstance(report, PatternRunReport):
            self._runs.append(report)
            return
        arrived = taken_at - report.result.latency_s if arrival is None else arrival.received_at
        result = report.result.model_copy(update={"latency_s": max(0.0, taken_at - arrived)})
        state = report.particle.model_copy(update={"last": result})
        whole = replace(report, result=result, particle=state)
        self._waiting.append(_Waiting(whole, arrived))
        with self._lock:
            if report.frame is not None:
                self._latest[result.run_uid, result.particle] = whole

    def _store(self, force: bool) -> None:
        # Time to: enough of it, long enough, or a run's end.
        force = force or bool(self._runs)
        self._retry()
        if not self._waiting and not self._runs:
            return
        oldest = self._waiting[0].arrived if self._waiting else self._clock()
        if not force and len(self._waiting) < _LARGEST_BATCH and self._clock() - oldest < _LONGEST_WAIT_S:
            return
        waiting, runs = self._waiting, self._runs
        self._waiting, self._runs = [], []
        changed: dict[ParticleKey, ParticleState] = {}
        for one in waiting:
            state = one.report.particle
            changed[state.run_uid, state.particle] = state
        for run in runs:
            for state in run.particles:
                before = changed.get((state.run_uid, state.particle))
                last = before.last if before is not None else self._last_of(state)
                changed[state.run_uid, state.particle] = state.model_copy(update={"last": last})
        records: list[PatternResult | PatternRunResult] = [one.report.result for one in waiting]
        records += [run.result for run in runs]
        pictures = self._pictures(changed, force=bool(runs))
        began = self._clock()
        if self._refused or not self.store.put(records, tuple(changed.values()), pictures):
            self._hold(records, tuple(changed.values()))
        self._metrics.stage("sadp_store", self._clock() - began)
        self._tell(waiting, runs, changed)

    def _last_of(self, state: ParticleState) -> PatternResult:
        # The desk measures latency from the document's arrival: a run's end must not bring the shorter figure back.
        stored = self.store.particle(state.run_uid, state.particle)
        same = stored is not None and stored.last.number == state.last.number
        return stored.last if stored is not None and same else state.last

    def _pictures(self, changed: dict[ParticleKey, ParticleState], *, force: bool) -> dict[ParticleKey, bytes]:
        now = self._clock()
        pictures: dict[ParticleKey, bytes] = {}
        for key, state in changed.items():
            if not (force or state.final) and now - self._drawn_at.get(key, float("-inf")) < _PICTURE_EVERY_S:
                continue
            with self._lock:
                report = self._latest.get(key)
            picture = draw(report) if report is not None else None
            if picture is not None:
                pictures[key] = pack_picture(picture)
                self._drawn_at[key] = now
            if state.final:
                self._drawn_at.pop(key, None)
        return pictures

    def _tell(
        self, waiting: list[_Waiting], runs: list[PatternRunReport], changed: dict[ParticleKey, ParticleState]
    ) -> None:
        for state in changed.values():
            self.broker.publish(state)
        now = self._clock()
        for one in waiting:
            result = one.report.result
            self._metrics.pattern_judged(result, now - one.arrived)
            for stage, seconds in one.report.stage_seconds.items():
                self._metrics.stage(stage, seconds)
        for run in runs:
            self._metrics.pattern_run_finished(run.result)
            logger.info(
                "run %s: %d diffraction patterns of %d particles, %s",
                run.result.run_uid,
                run.result.judged,
                run.result.particles,
                run.result.ending,
            )

    def _hold(self, records: list[PatternResult | PatternRunResult], particles: tuple[ParticleState, ...]) -> None:
        self._refused += [(record, ()) for record in records[:-1]]
        self._refused.append((records[-1], particles))
        over = len(self._refused) - self._max_pending
        if over > 0:
            del self._refused[:over]
            logger.error("%d pattern records given up: the disk has refused too many", over)

    def _retry(self) -> None:
        if not self._refused:
            return
        particles = {(p.run_uid, p.particle): p for _, group in self._refused for p in group}
        if self.store.put([record for record, _ in self._refused], tuple(particles.values()), {}):
            self._refused.clear()


def _frame_bytes(report: PatternReport) -> int:
    return 0 if report.frame is None else report.frame.nbytes
