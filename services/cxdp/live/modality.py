"""Rocking curves as a modality of the live service."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import FastAPI

from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, warm_up
from braggwatch.callbacks.cxdp.records import LiveRecord, ProvisionalVerdict, ScreeningReport
from braggwatch.callbacks.cxdp.run.provisional import ProvisionalScreening
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.cxdp.without_preset import WithoutPreset, no_preset
from braggwatch.callbacks.documents.stream import DocumentStream
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.runtimes.factory import standing_in
from braggwatch.services.cxdp.live.desk import ResultDesk
from braggwatch.services.cxdp.live.explainer import Explainer
from braggwatch.services.cxdp.live.outbox import ResultOutbox
from braggwatch.services.cxdp.live.provisional_board import ProvisionalBoard
from braggwatch.services.cxdp.live.routes import add_curve_routes
from braggwatch.services.cxdp.preprocessing import live_preprocessor
from braggwatch.services.cxdp.preset import chosen_preset
from braggwatch.services.live.health import GEOMETRY
from braggwatch.services.live.modality import Arrival, LiveContext, LiveModality, WorkerLinks
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.live.service_metrics import ServiceMetrics
from braggwatch.services.live.unrecorded_board import UnrecordedBoard
from braggwatch.services.storage.result_store import ResultStore

OnReport = Callable[[ScreeningReport], None]
OnProvisional = Callable[[ProvisionalVerdict], None]
MakeStream = Callable[[OnReport, OnProvisional, WorkerLinks], DocumentStream]
"""Given where to report results and provisional verdicts, and the worker, makes the callback that classifies."""


class CurveModality(LiveModality):
    """Rocking curves: each run is classified when it ends and, if enabled, provisionally while in progress.

    Parameters
    ----------
    make_stream
        Called once, when the worker starts.
    prepare
        As `LiveModality.prepare`; None: there is nothing to prepare.
    classifier
        The model, for others to read from; None if it is not from a bundle.
    explainer
        Explains verdicts on demand; None: no explanations. Closed with this object.
    unrecorded
        The service's runs without a record, to be shown beside those with one; None: there are none.
    """

    name = "cxdp"

    def __init__(
        self,
        store: ResultStore,
        make_stream: MakeStream,
        *,
        classifier: BundleClassifier | None = None,
        metrics: ServiceMetrics | None = None,
        prepare: Callable[[], Sequence[str]] | None = None,
        explainer: Explainer | None = None,
        unrecorded: UnrecordedBoard | None = None,
        client_queue: int = 256,
    ) -> None:
        self.classifier = classifier
        self.broker = ResultBroker[LiveRecord](store.epoch, queue_size=client_queue)
        self.board = ProvisionalBoard(self.broker, metrics)
        self.explainer = explainer
        self._unrecorded = unrecorded or UnrecordedBoard()
        self._unrecorded.listen(self.broker.publish)
        self._store = store
        self._make_stream = make_stream
        self._prepare = prepare
        self._desk = ResultDesk(store, self.broker, metrics, self.board)
        self._outbox = ResultOutbox(store)

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's classes."""
        return () if self.classifier is None else self.classifier.classes

    @property
    def outbox(self) -> ResultOutbox:
        """The results, for the sinks."""
        return self._outbox

    @property
    def watchers(self) -> int:
        """How many clients follow the results."""
        return self.broker.clients

    def add_routes(self, app: FastAPI) -> None:
        """Add the front page, the runs, their explanations and their events."""
        add_curve_routes(app, self._store, self.broker, self.board, self.explainer, self.classes, self._unrecorded)

    def open_stream(self, links: WorkerLinks) -> DocumentStream:
        """Make the callback; its provisional verdicts go to the board and to the sinks."""

        def on_provisional(verdict: ProvisionalVerdict) -> None:
            self.board.put(verdict)
            links.on_provisional(verdict)

        return self._make_stream(self._desk.take, on_provisional, links)

    def prepare(self) -> Sequence[str]:
        """Compile and run everything once."""
        return () if self._prepare is None else self._prepare()

    def flush(self, arrival: Arrival | None = None, *, force: bool = False) -> None:
        """Store and announce the reported results."""
        self._desk.flush(arrival, force=force)

    def retry(self) -> int:
        """Retry results that could not be written to disk; return how many still wait."""
        return self._store.retry_pending()

    def close(self) -> None:
        """Disconnect the watchers and drop queued explanations."""
        self.broker.close()
        if self.explainer is not None:
            self.explainer.close()


def open_curves(context: LiveContext) -> CurveModality:
    """Load geometry, preprocessing and model.

    Where no geometry preset is named, runs get records that say what they hold, and the service is degraded.

    Raises
    ------
    SettingsError
        If a file that the settings name can't be used.
    LookupError, ValueError, OSError, BundleError, RegistryError, RuntimeUnavailableError
        If the geometry preset or the model bundle can't be used; the text says why.
    """
    settings, screening = context.settings, context.settings.screening
    metrics, fallbacks = context.instruments.metrics, context.instruments.fallbacks
    preset = None if screening.geometry is None else chosen_preset(settings)
    preprocessor = None
    if preset is not None:
        preprocessor = live_preprocessor(
            settings.preprocessing, preset, settings.assembly.max_total_bytes, fallbacks.tell
        )
    classifier = BundleClassifier.load(
        Registry(screening.registry).locate(screening.model),
        threads=screening.threads,
        prefer=screening.runtime,
        on_takeover=fallbacks.tell,
        prior=screening.prior,
    )
    metrics.expect_classes(classifier.classes)
    metrics.backend(classifier.identity)
    metrics.fallback(bool(fallbacks.reasons) or standing_in(screening.runtime, classifier.runtime.name) is not None)

    def make_stream(on_report: OnReport, on_provisional: OnProvisional, links: WorkerLinks) -> DocumentStream:
        if preset is None or preprocessor is None:
            return WithoutPreset(on_report, settings.assembly)
        provisional = ProvisionalScreening(
            # one of its own, on the processor: what the other remembers, and its frames on a device, are for the record
            CpuPreprocessor(preprocessor.settings),
            classifier,
            on_provisional,
            screening.provisional_at,
            is_behind=links.is_behind,
            allow_untrained=screening.allow_untrained_crystals,
        )
        return ScreeningCallback(
            preset,
            preprocessor,
            classifier,
            on_report,
            settings.assembly,
            mirror=None if isinstance(preprocessor, CpuPreprocessor) else preprocessor.frames,
            provisional=provisional if screening.provisional_at else None,
            allow_untrained=screening.allow_untrained_crystals,
        )

    def prepare() -> tuple[str, ...]:
        if preprocessor is None:
            context.instruments.health.degraded(GEOMETRY, no_preset())
        else:
            warm_up(preprocessor)
        classifier.warm_up()
        # A fallback reports itself, and its message explains why the CPU is used.
        shortcoming = None if fallbacks.reasons else standing_in(screening.runtime, classifier.runtime.name)
        return () if shortcoming is None else (shortcoming,)

    return CurveModality(
        context.store,
        make_stream,
        classifier=classifier,
        metrics=metrics,
        prepare=prepare,
        explainer=Explainer(classifier.bundle),
        unrecorded=context.instruments.unrecorded,
        client_queue=settings.page.client_queue,
    )
