"""Builds the service from its settings; the only module that knows all parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final, TypeVar

from braggwatch.services.cxdp.live.modality import open_curves
from braggwatch.services.feedback.registry import enabled_sinks
from braggwatch.services.live.feedback_dispatch import FeedbackDispatcher
from braggwatch.services.live.health import Health
from braggwatch.services.live.instruments import Instruments
from braggwatch.services.live.modality import LiveContext, LiveModality, ModalityFactory
from braggwatch.services.live.screening_service import ScreeningService
from braggwatch.services.live.service_metrics import ServiceMetrics
from braggwatch.services.live.sink import SinkContext
from braggwatch.services.live.unrecorded_board import UnrecordedBoard
from braggwatch.services.sadp.live.modality import open_patterns
from braggwatch.services.settings import Settings
from braggwatch.services.storage.result_store import ResultStore

MODALITIES: Final[tuple[ModalityFactory, ...]] = (open_curves, open_patterns)
"""The modalities of the live service; a new one needs a package of its own and an entry here."""

_Kind = TypeVar("_Kind", bound=LiveModality)


@dataclass(frozen=True, slots=True)
class ComposedService:
    """The service and the parts that other code reads from.

    It ends in two steps, so that the page can outlive the last verdict: `stop`, after which the store can still be
    read, and `close`, which also stops the service if necessary. Both are idempotent.
    """

    service: ScreeningService
    store: ResultStore
    modalities: tuple[LiveModality, ...]
    feedback: FeedbackDispatcher
    unrecorded: UnrecordedBoard
    _running: ExitStack
    _everything: ExitStack

    def modality(self, kind: type[_Kind]) -> _Kind:
        """Return the modality of a kind.

        Raises
        ------
        LookupError
            If the service has none.
        """
        for modality in self.modalities:
            if isinstance(modality, kind):
                return modality
        raise LookupError(f"no {kind.__name__} in this service")

    @property
    def watchers(self) -> int:
        """Number of clients that follow records over HTTP."""
        return sum(modality.watchers for modality in self.modalities)

    def stop(self) -> None:
        """Process and deliver what is queued, end the threads, and disconnect the watchers."""
        self._running.close()

    def close(self) -> None:
        """Stop the service and close the store."""
        self._everything.close()


def compose_service(
    settings: Settings,
    *,
    metrics: ServiceMetrics | None = None,
    health: Health | None = None,
    on_beat: Callable[[], None] | None = None,
    on_raw_message: Callable[[bytes], None] | None = None,
) -> ComposedService:
    """Open the store, load the models, connect the sinks; nothing runs before ``service.start()``.

    Raises
    ------
    SettingsError
        If a file or address that the settings name can't be used.
    StoreError
        If the result store can't be opened.
    LookupError, ValueError, OSError, BundleError, RegistryError, RuntimeUnavailableError
        If the geometry preset or the model bundle can't be used; the text says why.
    """
    instruments = Instruments.of(metrics, health)
    kinds = enabled_sinks(settings.feedback)
    with ExitStack() as everything:
        store = everything.enter_context(
            ResultStore(
                settings.store.path,
                sinks=[kind.name for kind in kinds],
                max_array_bytes=settings.store.max_array_bytes,
                max_pending=settings.store.max_pending,
            )
        )
        running = everything.enter_context(ExitStack())
        modalities: list[LiveModality] = []
        for open_modality in MODALITIES:
            modality = open_modality(LiveContext(settings, store, instruments))
            running.callback(modality.close)
            modalities.append(modality)
        context = SinkContext(store.epoch, {modality.name: modality.classes for modality in modalities})
        with ExitStack() as half_made:
            sinks = [half_made.enter_context(closing(kind.open(settings.feedback, context))) for kind in kinds]
            half_made.pop_all()
        feedback = FeedbackDispatcher(
            sinks,
            [modality.outbox for modality in modalities],
            store.wait_for_change,
            instruments.metrics,
            retry_first_s=settings.feedback.retry_first_s,
            retry_longest_s=settings.feedback.retry_longest_s,
        )
        running.callback(feedback.stop)
        service = ScreeningService(
            settings, modalities, feedback, instruments, on_beat=on_beat, on_raw_message=on_raw_message
        )
        running.callback(service.stop)
        return ComposedService(
            service, store, tuple(modalities), feedback, instruments.unrecorded, running, everything.pop_all()
        )
