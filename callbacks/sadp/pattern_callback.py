"""The Bluesky callback for diffraction patterns: documents in, a verdict for each pattern as its event arrives."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.document_checks import RejectedDocument, check, text
from braggwatch.callbacks.documents.event_pages import array_bytes, parts
from braggwatch.callbacks.sadp.judging import NoPatternModel, PatternModel, RunFacts, RunJudge
from braggwatch.callbacks.sadp.limits import PatternLimits
from braggwatch.callbacks.sadp.records import (
    PatternReport,
    PatternRunEnding,
    PatternRunReport,
    PatternRunResult,
)
from braggwatch.callbacks.sadp.run import PatternFrame, PatternRun

logger = logging.getLogger(__name__)

_Kept = TypeVar("_Kept")
_REMEMBERED = 65536
_SWEEP_S = 0.25
_ASSETS = frozenset({"resource", "datum", "stream_resource"})


@dataclass(slots=True)
class _Open:
    run: PatternRun
    judge: RunJudge


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
        self._model = model
        self._on_report = on_report
        self._settings = settings or AssemblySettings()
        self._limits = limits or PatternLimits()
        self._clock = clock
        self._runs: OrderedDict[str, _Open] = OrderedDict()
        self._owner: OrderedDict[str, tuple[str, frozenset[str]]] = OrderedDict()
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._orphans: list[tuple[float, str, Mapping[str, object]]] = []
        self._swept = float("-inf")
        self._report_failures = 0

    @property
    def open_runs(self) -> int:
        """Runs with declared patterns that have begun and not ended."""
        return sum(one.run.has_patterns for one in self._runs.values())

    @property
    def report_failures(self) -> int:
        """Times that ``on_report`` raised."""
        return self._report_failures

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document of the event model."""
        try:
            check(name, doc)
            for part_name, part in parts(name, doc):
                self._accept(part_name, part, self._clock())
        except RejectedDocument as rejection:
            logger.debug("document left out (%s): %s", rejection.reason, rejection)
        except Exception:
            # The plan goes on whatever happens here; what is missing shows as lost at the run's end.
            logger.exception("document %r could not be handled", name)
        now = self._clock()
        if now - self._swept >= _SWEEP_S:
            self.expire(now)

    def detectors_of(self, descriptor_uid: str) -> frozenset[str]:
        """Return the data keys that a descriptor declared as diffraction patterns; empty for any other."""
        return self._owner.get(descriptor_uid, ("", frozenset[str]()))[1]

    def expire(self, now_monotonic: float) -> None:
        """Retry unread files and end the runs whose grace period or timeout is over; call it about once a second."""
        self._swept = now_monotonic
        for one in list(self._runs.values()):
            self._judge(one, one.run.poll(now_monotonic), now_monotonic)
            self._conclude(one, now_monotonic)
        self._orphans = [kept for kept in self._orphans if now_monotonic - kept[0] <= self._settings.grace_s]

    def flush(self) -> None:
        """End every open run, as at shutdown."""
        now = self._clock()
        for one in list(self._runs.values()):
            self._judge(one, one.run.poll(now, force=True), now)
            self._end(one, "the service stopped before the run did" if one.run.stop is None else None)

    def _accept(self, name: str, doc: Mapping[str, object], now: float) -> None:
        if name == "start":
            uid = str(doc["uid"])
            if doc.get("original_run_uid") is not None:
                _remember(self._closed, uid, None)
            elif uid not in self._closed:
                self._run(uid, now).run.start = doc
        elif name == "descriptor":
            if str(doc["run_start"]) not in self._closed:
                self._descriptor(doc, now)
        elif name == "stop":
            one = self._runs.get(str(doc["run_start"]))
            if one is not None:
                one.run.last_document = now
                one.run.close(doc, now)
                self._judge(one, one.run.poll(now, force=True), now)
                self._conclude(one, now)
        elif name in _ASSETS:
            uid = text(doc.get("run_start"))
            for one in list(self._runs.values()) if uid not in self._runs else [self._runs[uid]]:
                one.run.asset(name, doc)
                self._judge(one, one.run.poll(now), now)
        else:
            self._data(name, doc, now)

    def _descriptor(self, doc: Mapping[str, object], now: float) -> None:
        uid = str(doc["uid"])
        one = self._run(str(doc["run_start"]), now)
        one.run.last_document = now
        detectors = one.run.declare(doc)
        _remember(self._owner, uid, (one.run.uid, detectors))
        if detectors and isinstance(self._model, NoPatternModel):
            logger.warning("run %s has diffraction patterns: %s", one.run.uid, self._model.reason)
        waiting = [kept for kept in self._orphans if kept[2].get("descriptor") == uid]
        self._orphans = [kept for kept in self._orphans if kept[2].get("descriptor") != uid]
        for _, name, orphan in waiting:
            self._data(name, orphan, now)

    def _data(self, name: str, doc: Mapping[str, object], now: float) -> None:
        """Take an event or a stream datum."""
        owner = self._owner.get(str(doc["descriptor"]))
        if owner is None:
            self._put_aside(name, doc, now)
            return
        uid, detectors = owner
        one = self._runs.get(uid)
        if one is None or not detectors:
            return
        one.run.last_document = now
        bad = one.run.event(doc) if name == "event" else []
        if name == "stream_datum":
            one.run.stream_datum(doc)
        self._judge(one, bad + one.run.poll(now), now)
        self._conclude(one, now)

    def _put_aside(self, name: str, doc: Mapping[str, object], now: float) -> None:
        """Keep a document whose descriptor has not come, for a while and within bounds."""
        self._orphans.append((now, name, doc))
        while len(self._orphans) > self._settings.max_orphans or (
            sum(array_bytes(kept) for _, _, kept in self._orphans) > self._settings.max_orphan_bytes
        ):
            self._orphans.pop(0)

    def _run(self, uid: str, now: float) -> _Open:
        known = self._runs.get(uid)
        if known is not None:
            return known
        while len(self._runs) >= self._limits.max_open_runs:
            idlest = min(self._runs.values(), key=lambda one: (one.run.has_patterns, one.run.last_document))
            self._end(idlest, f"given up: more than {self._limits.max_open_runs} runs were open")
        judge = RunJudge(uid, self._model, self._limits, self._clock)
        made = _Open(PatternRun(uid, self._settings, self._limits.max_patterns, now), judge)
        self._runs[uid] = made
        return made

    def _judge(self, one: _Open, frames: list[PatternFrame], arrived: float) -> None:
        if not frames:
            return
        facts = RunFacts(one.run.scan_id, one.run.sample, one.run.started_at)
        for frame in frames:
            self._tell(one.judge.judge(frame, facts, arrived))

    def _conclude(self, one: _Open, now: float) -> None:
        if one.run.uid in self._runs and one.run.over(now):
            self._end(one, None)

    def _end(self, one: _Open, given_up: str | None) -> None:
        """Report a run as it stands and forget it; one without declared patterns is forgotten."""
        run, judge = one.run, one.judge
        del self._runs[run.uid]
        _remember(self._closed, run.uid, None)
        if not run.has_patterns:
            return
        self._judge(one, run.give_up(), self._clock())
        lost = max(0, (run.expected or 0) - run.seen)
        ending, reason = self._ending(run, lost, given_up)
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
        self._tell(PatternRunReport(result, judge.final_states(run.sample)))

    def _ending(self, run: PatternRun, lost: int, given_up: str | None) -> tuple[PatternRunEnding, str | None]:
        if run.stop is None:
            silence = f"no stop document and silence for {self._settings.run_timeout_s:g} s"
            return PatternRunEnding.TIMEOUT, given_up or silence
        if run.stop.get("exit_status") != "success":
            why = text(run.stop.get("reason")) or "no reason given"
            return PatternRunEnding.ABORTED, f"the run ended with {run.stop.get('exit_status')}: {why:.300}"
        if lost:
            return PatternRunEnding.PARTIAL, f"{lost} of {run.expected} patterns never came"
        if run.start is None:
            return PatternRunEnding.PARTIAL, "joined late: the start document was never seen"
        return PatternRunEnding.COMPLETE, None

    def _tell(self, report: PatternReport | PatternRunReport) -> None:
        try:
            self._on_report(report)
        except Exception:
            # Neither a full disk nor a closed socket behind on_report may stop the plan.
            self._report_failures += 1
            logger.exception("a report of run %s was not taken", report.result.run_uid)


def _remember(known: OrderedDict[str, _Kept], key: str, value: _Kept) -> None:
    """Keep a value, and forget the oldest ones."""
    known[key] = value
    while len(known) > _REMEMBERED:
        known.popitem(last=False)
