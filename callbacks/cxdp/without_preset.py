"""Stands in for the screening of rocking curves while no geometry preset is named: says what runs hold."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from braggwatch.callbacks.cxdp.records import ScreeningReport, ScreeningResult
from braggwatch.callbacks.documents import start_facts
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.contents import RunContents
from braggwatch.callbacks.documents.contents_book import ContentsBook
from braggwatch.callbacks.documents.counters import AssemblyCounters, MutableCounters
from braggwatch.callbacks.documents.intake import DocumentIntake, KnownDocument
from braggwatch.callbacks.documents.run_sorter import RunSorter
from braggwatch.callbacks.documents.stream import DocumentStream
from braggwatch.callbacks.documents.unrecorded import RunFate
from braggwatch.models.verdict import Outcome, Verdict
from braggwatch.sim.geometry import preset_names

logger = logging.getLogger(__name__)

OnReport = Callable[[ScreeningReport], None]


def no_preset() -> str:
    """Return that no geometry preset is named, and the way out, as every command and record says it."""
    return (
        f"no geometry preset: name one with --geometry or [screening] geometry ({', '.join(preset_names())}, or the "
        "path of a preset file); a geometry is never assumed"
    )


class WithoutPreset(DocumentStream):
    """Gives each run that may hold detector frames an ``invalid`` record, which says what the run holds.

    Nothing of a scan can be read without a preset: not which key has the frames, nor which circle rocks. Frames are not
    kept.

    Parameters
    ----------
    on_report
        Called once for each such run, in the caller's thread.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        on_report: OnReport,
        settings: AssemblySettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = settings or AssemblySettings()
        counters = self._counters = MutableCounters()

        def make_run(uid: str, now: float) -> _HeldRun:
            return _HeldRun(uid, settings, counters, now, self._report)

        self._on_report = on_report
        self._clock = clock
        self._sorter = RunSorter(make_run, settings, counters, settings.max_open_runs)
        self._intake = DocumentIntake(self.take, self.expire, counters, settings, clock)

    @property
    def open_runs(self) -> int:
        """Runs that have begun and not ended."""
        return len(self._sorter.runs)

    @property
    def counters(self) -> AssemblyCounters:
        """Totals since the beginning, as they are now."""
        return self._counters.snapshot()

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document of the event model."""
        self._intake(name, doc)

    def take(self, documents: Sequence[KnownDocument], now: float) -> None:
        """Take what one document brought."""
        self._sorter.take(documents, now)

    def claims(
        self,
        start: Mapping[str, object] | None,  # noqa: ARG002 part of `DocumentStream`
        descriptor: Mapping[str, object],  # noqa: ARG002
    ) -> frozenset[str]:
        """Return nothing: no descriptor declares a rocking curve."""
        return frozenset()

    def leave_to_others(self, run_uid: str) -> None:
        """Do nothing: data keys of others never come here."""

    def fate(self, run_uid: str) -> RunFate:
        """Return what became of a run."""
        return self._sorter.fate(run_uid)

    def why_unrecorded(self, contents: RunContents) -> str:
        """Say that no preset is named, and what the run holds."""
        return f"{no_preset()}; this run has {contents.in_words}, none of it looks like frames"

    def expire(self, now_monotonic: float) -> None:
        """End the runs whose grace period or timeout is over."""
        self._intake.expire(now_monotonic)
        self._sorter.expire(now_monotonic)

    def flush(self) -> None:
        """End and report every open run, as at shutdown."""
        self._sorter.flush(self._clock())
        self._intake.flush()

    def _report(self, run: _HeldRun) -> None:
        contents = run.contents
        motors = f", motors {', '.join(map(repr, contents.motors))}" if contents.motors else ""
        reason = f"{no_preset()}; this run has {contents.in_words}{motors}"
        result = ScreeningResult(
            run_uid=run.uid,
            scan_id=contents.scan_id,
            revision=1,
            verdict=Verdict.without_class(Outcome.INVALID, reason),
            frames_expected=contents.num_points,
            frames_received=max((stream.events for stream in contents.streams), default=0),
            quality=None,
            sample=run.sample,
            started_at=run.started_at,
            finished_at=time.time(),
            latency_s=max(0.0, self._clock() - run.last_document),
        )
        try:
            self._on_report(ScreeningReport(result, None))
        except Exception:
            # An error in on_report, such as a full disk, must not stop the plan.
            logger.exception("the report of run %s could not be delivered", run.uid)


class _HeldRun:
    """One open run of which only the contents are kept; implements `Run` for the sorter."""

    nbytes = 0

    def __init__(
        self,
        uid: str,
        settings: AssemblySettings,
        counters: MutableCounters,
        now: float,
        report: Callable[[_HeldRun], None],
    ) -> None:
        self._uid = uid
        self._settings = settings
        self._counters = counters
        self._book = ContentsBook(most_runs=1)
        self._start: Mapping[str, object] | None = None
        self._stop: Mapping[str, object] | None = None
        self._last_document = now
        self._report = report
        self._holds_images = False

    @property
    def uid(self) -> str:
        return self._uid

    @property
    def last_document(self) -> float:
        return self._last_document

    @property
    def has_stopped(self) -> bool:
        return self._stop is not None

    @property
    def makes_room_first(self) -> bool:
        return self._start is None

    @property
    def contents(self) -> RunContents:
        return self._book.contents(self._uid)

    @property
    def sample(self) -> str | None:
        return start_facts.sample_name(self._start, self._settings.sample_field)

    @property
    def started_at(self) -> float:
        return start_facts.started_at(self._start, self._stop)

    def is_wanted(self, now: float) -> bool:  # noqa: ARG002 part of `Run`
        return self._holds_images

    def accept(self, name: str, doc: Mapping[str, object], now: float) -> None:
        self._last_document = now
        self._book.take(name, doc)
        if name == "descriptor" or (name == "event" and not self._holds_images):
            self._holds_images = bool(self.contents.images)
        if name == "start":
            self._start = self._start or doc
        elif name == "stop":
            self._stop = self._stop or doc

    def poll(self, now: float) -> None:
        pass

    def conclude(self, now: float) -> bool:
        over = self._stop is not None or now - self._last_document > self._settings.run_timeout_s
        if over:
            self.give_up("", timed_out=False)
        return over

    def give_up(self, reason: str, *, timed_out: bool) -> None:  # noqa: ARG002 no preset is the reason
        self._counters.runs["invalid"] += 1
        self._report(self)

    def close(self) -> None:
        pass
