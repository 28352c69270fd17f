"""Where an accelerator fails on a scan, the CPU judges that scan and the next ones, and says so once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.runtimes import InferenceError, OnnxRuntime, RuntimeOutput
from braggwatch.models.runtimes.device_input import DeviceBatch, DeviceRuntime
from braggwatch.models.runtimes.takeover import TakeoverRuntime
from braggwatch.models.verdict import Outcome
from support.task_networks import TASK_NETWORKS, task_bundle


class DyingRuntime:
    """A GPU's runtime that answers a number of times and then fails for good, as a CUDA context does."""

    version = "1"

    def __init__(self, bundle: Bundle, answers: int, error: Exception, name: str = "tensorrt") -> None:
        self.name = name
        self._runtime = OnnxRuntime(bundle.model, threads=1)
        self.answers, self.error, self.calls = answers, error, 0

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        self.calls += 1
        if self.answers <= 0:
            raise self.error
        self.answers -= 1
        return self._runtime.run(batch)


class DyingDeviceRuntime(DyingRuntime):
    """The same, reading the device's memory."""

    def run_device(self, pointer: int, batch: int) -> RuntimeOutput:
        self.calls += 1
        raise self.error


class NumberlessRuntime(DyingRuntime):
    """Answers with what a broken memory holds."""

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        output = super().run(batch)
        return replace(output, features=np.full_like(output.features, np.nan))


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return Bundle.load(bundle_path)


@pytest.fixture
def volumes(make_blob: Callable[..., NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    return [make_blob(label, rng) for label in (0, 1, 2, 0)]


ILLEGAL = InferenceError("tensorrt: the device failed: illegal memory access")


@pytest.mark.parametrize("error", [ILLEGAL, RuntimeError("CUDA error 700")], ids=["its own", "the driver's"])
def test_no_scan_is_lost_and_one_line_says_so(
    bundle: Bundle, volumes: list[NDArray[np.float32]], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    runtime = DyingRuntime(bundle, 2, error)
    classifier = BundleClassifier(bundle, runtime, threads=1, on_takeover=told.append)
    wanted = BundleClassifier(bundle, OnnxRuntime(bundle.model, threads=1))
    with caplog.at_level(logging.WARNING):
        verdicts = [classifier.classify(one) for one in volumes]
    assert [one.probabilities for one in verdicts] == [wanted.classify(one).probabilities for one in volumes]
    assert [one.model.runtime for one in verdicts if one.model] == ["tensorrt"] * 2 + ["onnxruntime-cpu"] * 2
    assert classifier.identity.runtime == classifier.runtime.name == "onnxruntime-cpu"
    assert runtime.calls == 3
    (message,) = [record.getMessage() for record in caplog.records]
    assert told == [message]
    assert message.startswith("tensorrt failed")
    assert str(error) in message


def test_a_batch_on_a_dead_device_is_made_anew(bundle: Bundle, volumes: list[NDArray[np.float32]]) -> None:
    runtime = DyingDeviceRuntime(bundle, 0, ILLEGAL)
    assert isinstance(runtime, DeviceRuntime)
    classifier = BundleClassifier(bundle, runtime, threads=1)
    verdict = classifier.classify_on_device(volumes[0], DeviceBatch(1, 8, 64, "cuda:0"))
    assert verdict.probabilities == classifier.classify(volumes[0]).probabilities
    assert runtime.calls == 1


def test_numbers_that_are_none_are_a_failure_too(bundle: Bundle, volumes: list[NDArray[np.float32]]) -> None:
    told: list[str] = []
    classifier = BundleClassifier(bundle, NumberlessRuntime(bundle, 9, ILLEGAL), threads=1, on_takeover=told.append)
    assert classifier.classify(volumes[1]).probabilities
    assert "features are not finite" in told[0]


def test_where_the_cpu_fails_as_well_the_run_gets_an_error_and_nothing_is_replaced(
    bundle: Bundle, volumes: list[NDArray[np.float32]]
) -> None:
    runtime = DyingRuntime(bundle, 0, ILLEGAL)
    broken = replace(bundle, model=b"no graph")
    classifier = BundleClassifier(broken, runtime, threads=1)
    for _ in range(2):
        verdict = classifier.classify(volumes[0])
        assert verdict.outcome is Outcome.ERROR
        assert "illegal memory access" in str(verdict.reason)
    assert classifier.runtime is runtime
    alone = BundleClassifier(bundle, DyingRuntime(bundle, 0, ILLEGAL, "onnxruntime-cpu"), threads=1)
    assert alone.classify(volumes[0]).outcome is Outcome.ERROR


def test_threads_that_meet_the_failure_together_take_over_once(
    bundle: Bundle, volumes: list[NDArray[np.float32]]
) -> None:
    told: list[str] = []
    classifier = BundleClassifier(bundle, DyingRuntime(bundle, 0, ILLEGAL), threads=1, on_takeover=told.append)
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(classifier.classify, volumes * 2))
    assert all(one.probabilities for one in verdicts)
    assert len(told) == 1


@pytest.mark.parametrize("name", TASK_NETWORKS)
def test_the_network_of_every_task_goes_on(name: str) -> None:
    task = task_bundle(name)
    told: list[str] = []
    runtime = TakeoverRuntime(task, DyingRuntime(task, 1, ILLEGAL), threads=1, on_takeover=told.append)
    for _ in range(3):
        np.testing.assert_allclose(runtime.run(task.golden.counts).logits, task.golden.logits, atol=1e-4)
    assert (runtime.name, runtime.version) == ("onnxruntime-cpu", OnnxRuntime(task.model, threads=1).version)
    assert len(told) == 1
