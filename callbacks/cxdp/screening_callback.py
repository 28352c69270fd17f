"""The Bluesky callback: documents in, a verdict for each rocking curve out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import ValidationError

from braggwatch.callbacks.cxdp.preprocess.preprocessing import Preprocessor
from braggwatch.callbacks.cxdp.records import ModelInput, ScreeningReport, ScreeningResult
from braggwatch.callbacks.cxdp.run.assembled_run import AssembledRun, Ending
from braggwatch.callbacks.cxdp.run.assembly import RunAssembly
from braggwatch.callbacks.cxdp.run.frame_mirror import FrameMirror
from braggwatch.callbacks.cxdp.run.judging import CurveJudge
from braggwatch.callbacks.cxdp.run.missing_detector import missing_detector
from braggwatch.callbacks.cxdp.run.provisional import ProvisionalScreening
from braggwatch.callbacks.cxdp.run.reflection import burgers_visibility
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.asset_book import AssetBook
from braggwatch.callbacks.documents.contents import RunContents
from braggwatch.callbacks.documents.counters import AssemblyCounters, MutableCounters
from braggwatch.callbacks.documents.intake import DocumentIntake, KnownDocument
from braggwatch.callbacks.documents.look_again import LookAgain
from braggwatch.callbacks.documents.run_sorter import RunSorter
from braggwatch.callbacks.documents.unrecorded import RunFate, UnrecordedRun, UnrecordedRuns
from braggwatch.models.cxdp.classifier import Classifier
from braggwatch.models.cxdp.training_domain import TrainedFor
from braggwatch.models.valid_text import sound_text
from braggwatch.models.verdict import Outcome, Verdict
from braggwatch.sim.geometry.model import GeometryPreset

logger = logging.getLogger(__name__)

_OUTCOMES = {
    Ending.PARTIAL: Outcome.PARTIAL,
    Ending.INVALID: Outcome.INVALID,
    Ending.ABORTED: Outcome.ABORTED,
    Ending.TIMEOUT: Outcome.TIMEOUT,
}


class ScreeningCallback:
    """Classifies every rocking curve it sees; can be used alone with ``RE.subscribe(ScreeningCallback(...))``.

    Runs without the preset's detector and derived runs get no record; they are counted, logged and told of
    (``on_unrecorded``). A run joined late, i.e. without its start document, gets a record with outcome ``invalid``
    unless its descriptors show that it has no detector; so does a derived run joined late, as it can't be
    distinguished from a raw one.

    It never raises into the RunEngine: unusable documents are counted (`counters`), and a failure is an outcome.
    ``on_report`` is called once for each run, in the caller's thread, with the final record.

    Parameters
    ----------
    preset
        The beamline's geometry and field names.
    clock
        Monotonic seconds; wall time is only used for ``finished_at``.
    mirror
        Notified of frames as they arrive, and of each run once it has its record.
    provisional
        Makes provisional verdicts; None: runs are only classified when they end.
    allow_untrained
        Name classes of crystals that the classifier's bundle wasn't trained for (`CurveJudge`).
    on_unrecorded
        Called once for each run that ends without a record, with the reason; derived runs only if they hold frames.
    """

    def __init__(
        self,
        preset: GeometryPreset,
        preprocessor: Preprocessor,
        classifier: Classifier,
        on_report: Callable[[ScreeningReport], None],
        settings: AssemblySettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        mirror: FrameMirror | None = None,
        provisional: ProvisionalScreening | None = None,
        allow_untrained: bool = False,
        on_unrecorded: Callable[[UnrecordedRun], None] | None = None,
    ) -> None:
        self._preset = preset
        self._mirror = mirror
        self._provisional = provisional
        self._preprocessor = preprocessor
        self._judge_curve = CurveJudge(classifier, allow_untrained=allow_untrained)
        self._on_report = on_report
        self._clock = clock
        settings = settings or AssemblySettings()
        counters = self._counters = MutableCounters()
        book = AssetBook()

        def make_run(uid: str, now: float) -> RunAssembly:
            return RunAssembly(uid, preset, settings, counters, now, self._take_ended, mirror, book)

        self._sorter = RunSorter(make_run, settings, counters, settings.max_open_runs)
        self._unrecorded = UnrecordedRuns(
            self.fate, self.why_unrecorded, on_unrecorded or _nobody, counters, settings.run_timeout_s
        )
        self._intake = DocumentIntake(self.take, self.expire, counters, settings, clock, self._unrecorded)
        self._report_failures = 0
        self._again = LookAgain(self._look_again, settings.file_retry_s)

    @property
    def open_runs(self) -> int:
        """Number of runs that have begun and not ended."""
        return len(self._sorter.runs)

    @property
    def held_bytes(self) -> int:
        """Bytes of frames held by all open runs."""
        return self._sorter.nbytes

    @property
    def counters(self) -> AssemblyCounters:
        """Totals since the beginning, as they are now."""
        return self._counters.snapshot()

    @property
    def report_failures(self) -> int:
        """Number of times that ``on_report`` raised; each is logged with its run uid."""
        return self._report_failures

    def leave_to_others(self, run_uid: str) -> None:
        """Do nothing: whether another callback makes a record of this run is asked where all of them are known."""

    def fate(self, run_uid: str) -> RunFate:
        """Return what became of a run."""
        return self._sorter.fate(run_uid)

    def why_unrecorded(self, contents: RunContents) -> str:
        """Say that the preset's detector is missing, and what the run has instead."""
        return missing_detector(self._preset, contents)

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document of the event model."""
        self._intake(name, doc)
        self._again.while_waiting(self._waits)

    def take(self, documents: Sequence[KnownDocument], now: float) -> None:
        """Take what one document brought, checked, without what belongs to others; ``now`` in monotonic seconds."""
        self._sorter.take(documents, now)
        if self._provisional is not None:
            runs = self._sorter.runs
            progress = {uid: run.progress for uid, run in runs.items()}
            self._provisional.look(
                {uid: counts for uid, counts in progress.items() if counts is not None}, lambda uid: runs[uid].so_far()
            )

    def claims(
        self,
        start: Mapping[str, object] | None,  # noqa: ARG002 part of `DocumentStream`
        descriptor: Mapping[str, object],  # noqa: ARG002
    ) -> frozenset[str]:
        """Return nothing: the preset names the detector of rocking curves, descriptors don't declare it."""
        return frozenset()

    def expire(self, now_monotonic: float) -> None:
        """Retry unread files and report runs whose grace period or timeout is over; call it about once a second.

        Where documents come in a running event loop, as in a RunEngine, it is done for runs that have stopped.
        """
        with self._again.alone() as alone:
            if alone:
                self._intake.expire(now_monotonic)
                self._sorter.expire(now_monotonic)
                self._unrecorded.look(now_monotonic)

    def flush(self) -> None:
        """End and report every open run, as at shutdown."""
        self._sorter.flush(self._clock())
        self._intake.flush()
        self._unrecorded.flush(self._clock())

    @property
    def _waits(self) -> bool:
        """Whether a run has stopped, and waits for its files or for documents."""
        return any(run.has_stopped for run in self._sorter.runs.values())

    def _look_again(self) -> bool:
        self.expire(self._clock())
        return self._waits

    def _take_ended(self, run: AssembledRun) -> None:
        try:
            self._on_report(self._judge(run))
        except Exception:
            # An error in on_report, such as a full disk or a closed socket, must not stop the plan.
            self._report_failures += 1
            logger.exception("the report of run %s could not be delivered", run.run_uid)
        if self._mirror is not None:
            self._mirror.dropped(run.run_uid)

    def _judge(self, run: AssembledRun) -> ScreeningReport:
        stages = dict[str, float]()
        try:
            return self._report(run, *self._verdict(run, stages), stages)
        except Exception as error:
            # Any failure of preprocessing or model is an outcome of this run; later runs are not affected.
            logger.exception("run %s could not be classified", run.run_uid)
            verdict = Verdict.without_class(Outcome.ERROR, _describe(error))
            return self._report(run, verdict, None, None, stages)

    def _verdict(
        self, run: AssembledRun, stages: dict[str, float]
    ) -> tuple[Verdict, ModelInput | None, TrainedFor | None]:
        reason = run.reason or "no reason given"
        if run.curve is None or run.ending not in (Ending.COMPLETE, Ending.PARTIAL):
            return Verdict.without_class(_OUTCOMES.get(run.ending, Outcome.INVALID), reason), None, None
        if not run.classifiable:
            return Verdict.without_class(Outcome.PARTIAL, f"{reason}: too much for a class"), None, None
        began = self._clock()
        model_input = self._preprocessor(run.curve)
        stages["preprocess"] = self._clock() - began
        if model_input.quality.invalid_reason is not None:
            return Verdict.without_class(Outcome.INVALID, model_input.quality.invalid_reason), model_input, None
        if not bool(np.isfinite(model_input.intensity).all()):
            return Verdict.without_class(Outcome.ERROR, "the model input is not finite"), None, None
        began = self._clock()
        verdict, trained = self._judge_curve(model_input, run.reflection)
        stages["classify"] = self._clock() - began
        if run.ending is Ending.PARTIAL:
            verdict = _partial(verdict, reason)
        return verdict, model_input, trained

    def _report(
        self,
        run: AssembledRun,
        verdict: Verdict,
        model_input: ModelInput | None,
        trained: TrainedFor | None,
        stages: dict[str, float],
    ) -> ScreeningReport:
        result = ScreeningResult(
            run_uid=run.run_uid,
            scan_id=run.scan_id,
            revision=1,
            verdict=verdict,
            frames_expected=run.frames_expected,
            frames_received=run.frames_received,
            quality=model_input.quality if model_input is not None else None,
            geometry_origins=run.origins,
            burgers=burgers_visibility(run.reflection) if verdict.probabilities else None,
            trained_for=trained,
            sample=run.sample,
            position=dict(run.position),
            truth=run.truth,
            started_at=run.started_at,
            finished_at=time.time(),
            latency_s=max(0.0, self._clock() - run.last_document),
            stage_seconds=stages,
        )
        return ScreeningReport(result, model_input, run.rocking_curve)


def _nobody(run: UnrecordedRun) -> None:
    """Tell nobody: it is counted and logged."""


def _partial(verdict: Verdict, reason: str) -> Verdict:
    """Return the verdict on a partial run: its class is kept if it has one, and the reason says what is missing."""
    if verdict.outcome is Outcome.ERROR:
        return verdict
    if verdict.label is None:
        reason = f"{reason}; {verdict.outcome}: {verdict.reason}"
    return verdict.model_copy(update={"outcome": Outcome.PARTIAL, "reason": sound_text(reason)})


def _describe(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"the verdict is not valid: {where}: {first['msg']}"[:500]
    return f"{type(error).__name__}: {error}"[:500]
