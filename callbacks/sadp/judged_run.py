"""One run of diffraction patterns from its documents to its reports."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.counters import MutableCounters
from braggwatch.callbacks.documents.document_checks import text
from braggwatch.callbacks.sadp.judging import NoPatternModel, PatternModel, RunFacts, RunJudge
from braggwatch.callbacks.sadp.limits import PatternLimits
from braggwatch.callbacks.sadp.records import PatternReport, PatternRunEnding, PatternRunReport, PatternRunResult
from braggwatch.callbacks.sadp.run import PatternFrame, PatternRun

logger = logging.getLogger(__name__)


class JudgedRun:
    """A `Run` for the sorter that judges each pattern as soon as its frame is there.

    Parameters
    ----------
    counters
        Where to count what happens to it.
    report
        Given a report for each pattern, and one for the run at its end where it has declared patterns.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        uid: str,
        model: PatternModel | NoPatternModel,
        settings: AssemblySettings,
        limits: PatternLimits,
        counters: MutableCounters,
        now: float,
        report: Callable[[PatternReport | PatternRunReport], None],
        clock: Callable[[], float],
    ) -> None:
        self._model = model
        self._counters = counters
        self._report = report
        self._clock = clock
        self._timeout_s = settings.run_timeout_s
        self._run = PatternRun(uid, settings, limits.max_patterns, counters, now)
        self._judge = RunJudge(uid, model, limits, clock)

    @property
    def uid(self) -> str:
        """Uid of the run."""
        return self._run.uid

    @property
    def last_document(self) -> float:
        """When its last document came, monotonic seconds."""
        return self._run.last_document

    @property
    def nbytes(self) -> int:
        """Bytes of frames held: none, as each is judged when it comes."""
        return 0

    @property
    def has_stopped(self) -> bool:
        """Whether the stop document is there; documents or files it promises may still be missing."""
        return self._run.stop is not None

    @property
    def has_patterns(self) -> bool:
        """Whether a descriptor with a declared detector has come."""
        return self._run.has_patterns

    @property
    def makes_room_first(self) -> bool:
        """Whether no descriptor has declared patterns so far."""
        return not self.has_patterns

    def is_wanted(self, now: float) -> bool:
        """Tell whether patterns are declared, or may still be: a descriptor is missing and not yet given up."""
        return self.has_patterns or self._run.awaits_descriptor(now)

    def accept(self, name: str, doc: Mapping[str, object], now: float) -> None:
        """Take one checked document of this run whose descriptor, resource or stream resource has come before.

        Raises
        ------
        RejectedDocument
            Where it contradicts what is known.
        """
        self._run.last_document = now
        bad: list[PatternFrame] = []
        if name == "start":
            self._run.open(doc)
        elif name == "descriptor":
            if self._run.declare(doc) and isinstance(self._model, NoPatternModel):
                logger.warning("run %s has diffraction patterns: %s", self.uid, self._model.reason)
        elif name == "event":
            bad = self._run.event(doc)
        elif name == "stream_datum":
            self._run.stream_datum(doc)
        elif name == "stop":
            self._run.close(doc, now)
        else:
            self._run.asset(name, doc)
        self._tell(bad + self._run.poll(now, force=name == "stop"), now)

    def poll(self, now: float) -> None:
        """Try again what could not be read before."""
        self._tell(self._run.poll(now), now)

    def conclude(self, now: float) -> bool:
        """End and report the run where it is over; return whether it is."""
        if not self.has_patterns or not self._run.over(now):
            return False
        self._end(f"no stop document and silence for {self._timeout_s:g} s")
        return True

    def give_up(self, reason: str, *, timed_out: bool) -> None:  # noqa: ARG002 either way it was not heard out
        """End and report the run as it stands."""
        self._end(reason)

    def close(self) -> None:
        """Free memory and files, and report nothing."""
        self._run.give_up()

    def _tell(self, frames: list[PatternFrame], arrived: float) -> None:
        if frames:
            facts = RunFacts(self._run.scan_id, self._run.sample, self._run.started_at)
            for frame in frames:
                self._report(self._judge.judge(frame, facts, arrived))

    def _end(self, without_stop: str) -> None:
        run, judge = self._run, self._judge
        now = self._clock()
        self._tell(run.poll(now, force=True) + run.give_up(), now)
        if not self.has_patterns:
            return
        lost = max(0, (run.expected or 0) - run.seen)
        ending, reason = self._ending(lost, without_stop)
        result = PatternRunResult(
            run_uid=run.uid,
            scan_id=run.scan_id,
            sample=run.sample,
            ending=ending,
            reason=reason,
            expected=run.expected,
            judged=judge.judged,
            lost=lost,
            usable=judge.usable,
            set_aside=judge.set_aside,
            particles=judge.particles,
            model=judge.identity,
            started_at=run.started_at,
            ended_at=time.time(),
        )
        self._counters.runs[ending.value] += 1
        self._counters.joined_late += run.start is None
        self._counters.frames_expected += run.expected or run.seen
        self._counters.frames_received += run.seen
        self._report(PatternRunReport(result, judge.final_states(run.sample)))

    def _ending(self, lost: int, without_stop: str) -> tuple[PatternRunEnding, str | None]:
        run = self._run
        if run.stop is None:
            return PatternRunEnding.TIMEOUT, without_stop
        if run.stop.get("exit_status") != "success":
            why = text(run.stop.get("reason")) or "no reason given"
            return PatternRunEnding.ABORTED, f"the run ended with {run.stop.get('exit_status')}: {why:.300}"
        if lost:
            return PatternRunEnding.PARTIAL, f"{lost} of {run.expected} patterns never came"
        if run.start is None:
            return PatternRunEnding.PARTIAL, "joined late: the start document was never seen"
        return PatternRunEnding.COMPLETE, None
