"""An accelerator that fails in the middle of a night: scans go on being judged, and the operator can see why slower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp import classifier as classifying
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.runtimes import InferenceError, OnnxRuntime, RuntimeOutput, open_runtime
from braggwatch.models.runtimes.factory import RuntimePreference
from braggwatch.models.verdict import Outcome
from braggwatch.services.composition import compose_service
from braggwatch.services.cxdp.live.modality import CurveModality
from braggwatch.services.live.accelerator_fallbacks import AcceleratorFallbacks
from braggwatch.services.live.health import Health, HealthState
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.settings import load_settings
from braggwatch.services.storage.result_store import ResultStore
from support.elongation import blob
from support.quick_bundle import write_quick_registry


class DyingRuntime:
    """Answers some runs as a GPU would, then fails for good."""

    name, version = "tensorrt", "1"

    def __init__(self, bundle: Bundle, answers: int) -> None:
        self._runtime, self.answers = OnnxRuntime(bundle.model, threads=1), answers

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        self.answers -= 1
        if self.answers < 0:
            raise InferenceError("tensorrt: the device failed: CUDA error 700")
        return self._runtime.run(batch)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_quick_registry(tmp_path_factory.mktemp("registry"))


def test_every_scan_of_a_stream_gets_its_verdict(
    quick, registry: Path, shared_proxy, make_publisher, make_run, eventually, tmp_path: Path
) -> None:
    bundle = Bundle.load(Registry(registry).resolve("production"))
    metrics = Metrics()
    health = Health(on_change=metrics.ready)
    takeovers = AcceleratorFallbacks(metrics, health)
    classifier = BundleClassifier(bundle, DyingRuntime(bundle, 2), threads=1, on_takeover=takeovers.tell)

    def make_stream(on_report, *_):
        return ScreeningCallback(quick.small_preset(), quick.QuickPreprocessor(), classifier, on_report)

    with ResultStore(tmp_path / "results.sqlite") as store:
        service = quick.make_service(
            quick.make_settings(shared_proxy.out_address),
            store,
            modalities=[quick.make_curves(store, make_stream, metrics=metrics)],
            metrics=metrics,
            health=health,
        )
        service.start()
        try:
            assert service.wait_ready(10.0)
            publisher = make_publisher(shared_proxy)
            runs = [make_run(seed=seed, scan_id=seed + 1) for seed in range(5)]
            for run in runs:
                run.send(publisher)
            waited = [store.wait(run.uid, 20.0) for run in runs]
            results = [one for one in waited if one is not None]
            eventually(lambda: health.report().state is HealthState.DEGRADED, what="degraded")
        finally:
            service.stop()
    assert all(one.verdict.outcome is not Outcome.ERROR and one.verdict.probabilities for one in results)
    models = [one.verdict.model for one in results]
    assert [one.runtime for one in models if one is not None] == ["tensorrt"] * 2 + ["onnxruntime-cpu"] * 3
    (reason,) = takeovers.reasons
    assert "CUDA error 700" in reason
    assert b"braggwatch_fallback_active 1.0" in metrics.exposition()
    assert b'runtime="onnxruntime-cpu"' in metrics.exposition()
    assert any("CUDA error 700" in one for one in health.report().reasons)


def test_the_composed_service_is_told(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "braggwatch.toml"
    config.write_text(
        f'[screening]\nregistry = "{registry}"\ngeometry = "simulated"\n[store]\npath = "{tmp_path / "r.sqlite"}"\n'
    )

    def opened(bundle: Bundle, prefer: RuntimePreference = "auto", threads: int = 2) -> tuple[object, float]:
        return (DyingRuntime(bundle, 1), 0.0) if prefer == "auto" else open_runtime(bundle, prefer, threads)

    monkeypatch.setattr(classifying, "open_runtime", opened)
    metrics = Metrics()
    health = Health(on_change=metrics.ready)
    composed = compose_service(load_settings(config), metrics=metrics, health=health)
    try:
        classifier = composed.modality(CurveModality).classifier
        volumes = [blob(label, np.random.default_rng(label)) for label in range(3)]
        verdicts = [classifier.classify(one) for one in volumes]
    finally:
        composed.close()
    models = [one.model for one in verdicts]
    assert [one.runtime for one in models if one is not None] == ["tensorrt", "onnxruntime-cpu", "onnxruntime-cpu"]
    assert b"braggwatch_fallback_active 1.0" in metrics.exposition()
    assert "CUDA error 700" in str(health.report().conditions["model"].reason)
