"""Live diffraction patterns, as the composition lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import FastAPI

from braggwatch.callbacks.documents.stream import DocumentStream
from braggwatch.callbacks.sadp.judging import PatternModel
from braggwatch.callbacks.sadp.pattern_callback import PatternCallback
from braggwatch.callbacks.sadp.records import ParticleState, PatternReport, PatternRunReport
from braggwatch.services.live.modality import Arrival, LiveContext, LiveModality, WorkerLinks
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.live.service_metrics import ServiceMetrics
from braggwatch.services.sadp.live.outbox import PatternOutbox
from braggwatch.services.sadp.live.page_routes import add_pattern_routes
from braggwatch.services.sadp.live.pattern_desk import PatternDesk
from braggwatch.services.sadp.live.pattern_model import load_pattern_model, warm_up_patterns
from braggwatch.services.sadp.live.pattern_recovery import end_unfinished
from braggwatch.services.sadp.live.pattern_store import PatternStore

MakeStream = Callable[[Callable[[PatternReport | PatternRunReport], None]], DocumentStream]
"""Given where to report, makes the callback that judges."""


class PatternModality(LiveModality):
    """Diffraction patterns: each judged as it comes, each particle as it stands.

    Parameters
    ----------
    make_stream
        Called once, when the worker starts.
    prepare
        As `LiveModality.prepare`; None: there is nothing to prepare.
    """

    name = "sadp"

    def __init__(
        self,
        store: PatternStore,
        epoch: int,
        make_stream: MakeStream,
        *,
        classes: tuple[str, ...] = (),
        metrics: ServiceMetrics | None = None,
        prepare: Callable[[], Sequence[str]] | None = None,
        client_queue: int = 256,
        max_pending: int = 10_000,
    ) -> None:
        self._classes = classes
        self.broker = ResultBroker[ParticleState](epoch, queue_size=client_queue)
        self.desk = PatternDesk(store, self.broker, metrics, max_pending=max_pending)
        self._make_stream = make_stream
        self._prepare = prepare
        self._outbox = PatternOutbox(store)

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's space groups."""
        return self._classes

    @property
    def outbox(self) -> PatternOutbox:
        """The journal of patterns, for the sinks."""
        return self._outbox

    @property
    def watchers(self) -> int:
        """How many clients follow the particles."""
        return self.broker.clients

    def add_routes(self, app: FastAPI) -> None:
        """Add the page ``/sadp`` and everything under it."""
        add_pattern_routes(app, self.desk)

    def open_stream(self, links: WorkerLinks) -> DocumentStream:  # noqa: ARG002 (patterns are judged as they come)
        """Make the callback."""
        return self._make_stream(self.desk.take)

    def prepare(self) -> Sequence[str]:
        """Compile and run everything once."""
        return () if self._prepare is None else self._prepare()

    def flush(self, arrival: Arrival | None = None, *, force: bool = False) -> None:
        """Store and tell the patterns that were reported, where enough of them wait or for long enough."""
        self.desk.flush(arrival, force=force)

    def retry(self) -> int:
        """Write what the disk refused, if it takes it now; return how many records still wait."""
        self.desk.flush()
        return self.desk.pending

    def close(self) -> None:
        """Let the watchers go."""
        self.broker.close()


def open_patterns(context: LiveContext) -> PatternModality:
    """Load the model, if there is one, and end the runs that a killed service left open.

    A bundle that is absent or can't be used is no error: patterns are then counted and set aside.
    """
    settings, screening = context.settings, context.settings.screening
    store = PatternStore.of(context.store)
    metrics = context.instruments.metrics
    model = load_pattern_model(
        screening.sadp_bundle,
        screening.registry,
        screening.threads,
        screening.runtime,
        context.instruments.fallbacks.tell,
    )
    metrics.pattern_model_loaded(isinstance(model, PatternModel))
    end_unfinished(store)

    def make_stream(on_report: Callable[[PatternReport | PatternRunReport], None]) -> PatternCallback:
        return PatternCallback(model, on_report, settings.assembly, settings.sadp)

    def prepare() -> tuple[str, ...]:
        shortcoming = warm_up_patterns(model, screening.sadp_bundle)
        return () if shortcoming is None else (shortcoming,)

    return PatternModality(
        store,
        context.store.epoch,
        make_stream,
        classes=model.judge.table.groups if isinstance(model, PatternModel) else (),
        metrics=metrics,
        prepare=prepare,
        client_queue=settings.page.client_queue,
        max_pending=settings.store.max_pending,
    )
