"""The Bluesky callback for diffraction patterns: documents in, a verdict for each pattern as its event arrives."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.counters import AssemblyCounters, MutableCounters
from braggwatch.callbacks.documents.intake import DocumentIntake, KnownDocument
from braggwatch.callbacks.documents.run_sorter import RunSorter
from braggwatch.callbacks.sadp.declaration import declared_detectors
from braggwatch.callbacks.sadp.judged_run import JudgedRun
from braggwatch.callbacks.sadp.judging import NoPatternModel, PatternModel
from braggwatch.callbacks.sadp.limits import PatternLimits
from braggwatch.callbacks.sadp.records import PatternReport, PatternRunReport

logger = logging.getLogger(__name__)


class PatternCallback:
    """Judges every pattern of the streams declared as `sadp`; ``RE.subscribe(PatternCallback(...))`` works alone too.

    Other streams and runs are left alone. It never raises into the RunEngine. Reports come in the caller's thread:
    one for each pattern as soon as its frame is there, and one for each run at its end.

    Parameters
    ----------
    model
        What judges, or why nothing can.
    clock
        Monotonic seconds; wall time is only used for ``judged_at`` and ``ended_at``.
    """

    def __init__(
        self,
        model: PatternModel | NoPatternModel,
        on_report: Callable[[PatternReport | PatternRunReport], None],
        settings: AssemblySettings | None = None,
        limits: PatternLimits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_report = on_report
        self._clock = clock
        settings, limits = settings or AssemblySettings(), limits or PatternLimits()
        counters = self._counters = MutableCounters()

        def make_run(uid: str, now: float) -> JudgedRun:
            return JudgedRun(uid, model, settings, limits, counters, now, self._tell, clock)

        self._sorter = RunSorter(make_run, settings, counters, limits.max_open_runs)
        self._intake = DocumentIntake(self.take, self.expire, counters, settings, clock)
        self._report_failures = 0

    @property
    def open_runs(self) -> int:
        """Runs with declared patterns that have begun and not ended."""
        return sum(run.has_patterns for run in self._sorter.runs.values())

    @property
    def counters(self) -> AssemblyCounters:
        """Totals since the beginning, as they are now."""
        return self._counters.snapshot()

    @property
    def report_failures(self) -> int:
        """Times that ``on_report`` raised."""
        return self._report_failures

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document of the event model."""
        self._intake(name, doc)

    def take(self, documents: Sequence[KnownDocument], now: float) -> None:
        """Take what one document brought, checked, without what belongs to others; ``now`` in monotonic seconds."""
        self._sorter.take(documents, now)

    def claims(self, start: Mapping[str, object] | None, descriptor: Mapping[str, object]) -> frozenset[str]:
        """Return the data keys declared as `sadp`, by the descriptor or by the run's start document."""
        return frozenset(declared_detectors(start, descriptor))

    def leave_to_others(self, run_uid: str) -> None:
        """Do nothing: a run without patterns is nothing to tell of."""

    def expire(self, now_monotonic: float) -> None:
        """Retry unread files and end the runs whose grace period or timeout is over; call it about once a second."""
        self._intake.expire(now_monotonic)
        self._sorter.expire(now_monotonic)

    def flush(self) -> None:
        """End every open run, as at shutdown."""
        self._sorter.flush(self._clock())
        self._intake.flush()

    def _tell(self, report: PatternReport | PatternRunReport) -> None:
        try:
            self._on_report(report)
        except Exception:
            # Neither a full disk nor a closed socket behind on_report may stop the plan.
            self._report_failures += 1
            logger.exception("a report of run %s was not taken", report.result.run_uid)
