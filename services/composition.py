"""Puts the service together from its settings: the one place that knows all parts."""

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
from braggwatch.services.sadp.live.modality import open_patterns
from braggwatch.services.settings import Settings
from braggwatch.services.storage.result_store import ResultStore

MODALITIES: Final[tuple[ModalityFactory, ...]] = (open_curves, open_patterns)
"""The modalities of a running service: a new one is a folder of its own, and an entry here."""

_Kind = TypeVar("_Kind", bound=LiveModality)


@dataclass(frozen=True, slots=True)
class ComposedService:
    """A service with the parts that others read from.

    It ends in two steps, so that a page can outlive the last verdict: `stop`, after which the store can still be
    read, and `close`, which takes the first step too where it is still to be taken. Each does nothing the second time.
    """

    service: ScreeningService
    store: ResultStore
    modalities: tuple[LiveModality, ...]
    feedback: FeedbackDispatcher
    _running: ExitStack
    _everything: ExitStack

    def modality(self, kind: type[_Kind]) -> _Kind:
        """Return the modality of a kind.

        Raises
        ------
        LookupError
            Where the service has none.
        """
        for one in self.modalities:
            if isinstance(one, kind):
                return one
        raise LookupError(f"no {kind.__name__} in this service")

    @property
    def watchers(self) -> int:
        """How many clients follow records over HTTP."""
        return sum(modality.watchers for modality in self.modalities)

    def stop(self) -> None:
        """Judge and deliver what is there, end the threads, and let those who watch go."""
        self._running.close()

    def close(self) -> None:
        """Stop, and close the store."""
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
        Where a file or address that the settings name can't be used.
    StoreError
        Where the result store can't be opened.
    LookupError, ValueError, OSError, BundleError, RegistryError, RuntimeUnavailableError
        Where the geometry preset or the model bundle can't be used; the text says why.
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
        return ComposedService(service, store, tuple(modalities), feedback, running, everything.pop_all())
