"""The Bluesky callback for diffraction patterns: documents in, a verdict for each pattern as its event arrives."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.contents import RunContents
from braggwatch.callbacks.documents.counters import AssemblyCounters, MutableCounters
from braggwatch.callbacks.documents.intake import DocumentIntake, KnownDocument
from braggwatch.callbacks.documents.run_sorter import RunSorter
from braggwatch.callbacks.documents.unrecorded import RunFate
from braggwatch.callbacks.sadp.declaration import declared_detectors
from braggwatch.callbacks.sadp.judged_run import JudgedRun
from braggwatch.callbacks.sadp.judging import NoPatternModel, PatternModel
from braggwatch.callbacks.sadp.limits import PatternLimits
from braggwatch.callbacks.sadp.records import PatternReport, PatternRunReport

logger = logging.getLogger(__name__)


class PatternCallback:
    """Classifies every pattern of streams declared as `sadp`; works alone with ``RE.subscribe(PatternCallback(...))``.

    Other streams and runs are ignored. It never raises into the RunEngine. Reports are made in the caller's thread:
    one for each pattern as soon as its frame is available, and one for each run at its end.

    Parameters
    ----------
    model
        The model, or why there is none.
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
        """Number of times that ``on_report`` raised."""
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
        """Do nothing: runs without patterns are not reported."""

    def fate(self, run_uid: str) -> RunFate:
        """Return what became of a run."""
        return self._sorter.fate(run_uid)

    def why_unrecorded(self, contents: RunContents) -> None:
        """Say nothing: runs without declared patterns are not missed."""

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
            # An error in on_report, such as a full disk or a closed socket, must not stop the plan.
            self._report_failures += 1
            logger.exception("a report of run %s could not be delivered", report.result.run_uid)
