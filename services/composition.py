"""Puts the service together from its settings: the one place that knows all parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from braggwatch.callbacks.cxdp.device.selection import DeviceUnavailableError, open_preprocessor
from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings, warm_up
from braggwatch.callbacks.cxdp.records import LiveRecord, ScreeningReport
from braggwatch.callbacks.cxdp.run.provisional import ProvisionalScreening
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.modalities import ModalityCallback
from braggwatch.callbacks.sadp.judging import PatternModel
from braggwatch.callbacks.sadp.pattern_callback import PatternCallback
from braggwatch.callbacks.sadp.records import ParticleState
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.runtimes.factory import standing_in
from braggwatch.services.cxdp.detector_arrays import read_detector_array
from braggwatch.services.cxdp.live.provisional_board import ProvisionalBoard
from braggwatch.services.feedback.publisher import DerivedRunPublisher
from braggwatch.services.feedback.pvs import VerdictPvs
from braggwatch.services.feedback.sink import Sink
from braggwatch.services.live.accelerator_fallbacks import Takeovers
from braggwatch.services.live.health import Health
from braggwatch.services.live.result_broker import EventBroker
from braggwatch.services.live.screening_service import ScreeningService
from braggwatch.services.live.service_metrics import NoMetrics, ServiceMetrics
from braggwatch.services.sadp.live.pattern_desk import PatternDesk
from braggwatch.services.sadp.live.pattern_model import load_pattern_model, warm_up_patterns
from braggwatch.services.sadp.live.pattern_recovery import end_unfinished
from braggwatch.services.settings import PreprocessingChoices, Settings, SettingsError
from braggwatch.services.storage.result_store import ResultStore
from braggwatch.sim.geometry import load_preset
from braggwatch.sim.geometry.model import GeometryPreset

if TYPE_CHECKING:
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor


@dataclass(frozen=True, slots=True)
class ComposedService:
    """A service with the parts that others read from."""

    service: ScreeningService
    store: ResultStore
    broker: EventBroker[LiveRecord]
    classifier: BundleClassifier
    patterns: PatternDesk
    board: ProvisionalBoard
    pvs: VerdictPvs | None = None

    def close(self) -> None:
        """Stop the service, end its watchers and close the store."""
        self.service.stop()
        if self.pvs is not None:
            self.pvs.close()
        self.broker.close()
        self.patterns.broker.close()
        self.store.close()


def compose_service(
    settings: Settings,
    *,
    metrics: ServiceMetrics | None = None,
    health: Health | None = None,
    on_beat: Callable[[], None] | None = None,
    tap: Callable[[bytes], None] | None = None,
) -> ComposedService:
    """Load geometry and model, open the store, connect the sinks; nothing runs before ``service.start()``.

    Raises
    ------
    SettingsError
        Where a file or address that the settings name can't be used.
    StoreError
        Where the result store can't be opened.
    LookupError, ValueError, OSError, BundleError, RegistryError, RuntimeUnavailableError
        Where the geometry preset or the model bundle can't be used; the text says why.
    """
    screening = settings.screening
    preset = load_preset(screening.geometry)
    metrics = metrics or NoMetrics()
    health = health or Health(on_change=metrics.ready)
    takeovers = Takeovers(metrics, health)
    preprocessor = _preprocessor(settings, preset, takeovers)
    mirror = None if isinstance(preprocessor, CpuPreprocessor) else preprocessor.frames
    classifier = BundleClassifier.load(
        _bundle_path(screening.model, screening.registry),
        threads=screening.threads,
        prefer=screening.runtime,
        on_takeover=takeovers.tell,
    )
    pattern_model = load_pattern_model(
        screening.sadp_bundle, screening.registry, screening.threads, screening.runtime, takeovers.tell
    )
    metrics.pattern_model_loaded(isinstance(pattern_model, PatternModel))
    feedback = settings.feedback
    enabled = {DerivedRunPublisher.name: feedback.publisher.enabled, VerdictPvs.name: feedback.pvs.enabled}
    store = ResultStore(
        settings.store.path,
        sinks=[name for name, wanted in enabled.items() if wanted],
        max_array_bytes=settings.store.max_array_bytes,
        max_pending=settings.store.max_pending,
    )
    sinks: list[Sink] = []
    pvs: VerdictPvs | None = None
    try:
        if feedback.publisher.enabled:
            sinks.append(DerivedRunPublisher(feedback.publisher, store.epoch))
        if feedback.pvs.enabled:
            pvs = VerdictPvs(feedback.pvs, store.epoch, classifier.classes)
            sinks.append(pvs)
    except Exception:
        for sink in sinks:
            sink.close()
        store.close()
        raise
    broker = EventBroker[LiveRecord](store.epoch, queue_size=settings.page.client_queue)
    board = ProvisionalBoard(broker, metrics, None if pvs is None else pvs.say_so_far)

    end_unfinished(store.patterns)
    pattern_broker = EventBroker[ParticleState](store.epoch, queue_size=settings.page.client_queue)
    patterns = PatternDesk(store.patterns, pattern_broker, metrics, max_pending=settings.store.max_pending)

    def make_callback(on_report: Callable[[ScreeningReport], None]) -> ModalityCallback:
        provisional = ProvisionalScreening(
            # one of its own, on the processor: what the other remembers, and its frames on a device, are for the record
            CpuPreprocessor(preprocessor.settings),
            classifier,
            board.put,
            screening.provisional_at,
            is_behind=lambda: service.is_behind,
        )
        return ModalityCallback(
            ScreeningCallback(
                preset,
                preprocessor,
                classifier,
                on_report,
                settings.assembly,
                mirror=mirror,
                provisional=provisional if screening.provisional_at else None,
            ),
            PatternCallback(pattern_model, patterns.take, settings.assembly, settings.sadp),
        )

    def prepare() -> str | None:
        warm_up(preprocessor)
        classifier.warm_up()
        shortcomings = (
            *takeovers.reasons,
            None if takeovers.reasons else standing_in(screening.runtime, classifier.runtime.name),
            warm_up_patterns(pattern_model, screening.sadp_bundle),
        )
        return "; ".join(one for one in shortcomings if one is not None) or None

    service = ScreeningService(
        settings,
        make_callback,
        store,
        broker,
        sinks=sinks,
        metrics=metrics,
        health=health,
        warm_up=prepare,
        on_beat=on_beat if pvs is None else _both(on_beat, pvs.beat),
        tap=tap,
        patterns=patterns,
        board=board,
    )
    return ComposedService(service, store, broker, classifier, patterns, board, pvs)


def preprocessing_settings(choices: PreprocessingChoices, preset: GeometryPreset) -> PreprocessingSettings:
    """Read the detector's arrays and add the preset's saturation where none is set.

    Raises
    ------
    SettingsError
        Where an array can't be read.
    """
    values: Mapping[str, object] = choices.model_dump(exclude={"device", "mask_path", "flat_path", "dark_path"})
    arrays = {
        name: None if path is None else read_detector_array(path)
        for name, path in (("mask", choices.mask_path), ("flat", choices.flat_path), ("dark", choices.dark_path))
    }
    saturation = choices.saturation_counts if choices.saturation_counts is not None else preset.saturation_counts
    return PreprocessingSettings.model_validate({**values, **arrays, "saturation_counts": saturation})


def _preprocessor(
    settings: Settings, preset: GeometryPreset, takeovers: Takeovers
) -> CpuPreprocessor | DevicePreprocessor:
    choices = settings.preprocessing
    try:
        return open_preprocessor(
            preprocessing_settings(choices, preset), choices.device, settings.assembly.max_total_bytes, takeovers.tell
        )
    except DeviceUnavailableError as error:
        raise SettingsError(str(error)) from error


def _both(first: Callable[[], None] | None, second: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        if first is not None:
            first()
        second()

    return call


def _bundle_path(model: str, registry: Path | None) -> Path:
    path = Path(model)
    return path if path.is_dir() else Registry(registry).resolve(model)
