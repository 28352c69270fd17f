"""A runtime that reads device memory gets the address of the network's input; any other gets the volume."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.preprocessing import PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.warm_up import artificial_curve
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp.classifier import BundleClassifier, DeviceClassifier
from braggwatch.models.cxdp.symmetry import symmetry_batch
from braggwatch.models.runtimes import OnnxRuntime, RuntimeOutput
from braggwatch.models.runtimes.device_input import DeviceBatch, DeviceRuntime

EDGE = 64


class ReadsMemory:
    """ONNX Runtime, given an address instead of an array."""

    name, version = "reads-memory", "1"

    def __init__(self, runtime: OnnxRuntime) -> None:
        self._runtime = runtime
        self.batches: list[int] = []

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        return self._runtime.run(batch)

    def run_device(self, pointer: int, batch: int) -> RuntimeOutput:
        self.batches.append(batch)
        values = np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (batch, EDGE, EDGE, EDGE))
        return self._runtime.run(np.array(values))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(Registry(None).resolve("production"))


@pytest.fixture(scope="module")
def runtime(bundle: Bundle) -> ReadsMemory:
    return ReadsMemory(OnnxRuntime(bundle.model, 1))


def test_the_address_is_read_where_the_runtime_can(bundle: Bundle, runtime: ReadsMemory) -> None:
    classifier = BundleClassifier(bundle, runtime)
    assert isinstance(runtime, DeviceRuntime)
    assert isinstance(classifier, DeviceClassifier)
    volume = np.asarray(bundle.golden.counts[0], dtype=np.float32)
    memory = symmetry_batch(volume, 8)
    plain = classifier.classify(volume)
    batch = DeviceBatch(memory.ctypes.data, 8, EDGE, "cuda:0")
    assert classifier.classify_on_device(volume, batch) == plain
    assert runtime.batches == [bundle.manifest.symmetry_copies]


@pytest.mark.parametrize(("copies", "device"), [(8, "cpu"), (0, "cuda:0"), (8, "cuda:1")])
def test_an_address_that_can_not_serve_is_left_alone(
    bundle: Bundle, runtime: ReadsMemory, copies: int, device: str
) -> None:
    runtime.batches.clear()
    classifier = BundleClassifier(bundle, runtime)
    volume = np.asarray(bundle.golden.counts[0], dtype=np.float32)
    assert classifier.classify_on_device(volume, DeviceBatch(0, copies, EDGE, device)) == classifier.classify(volume)
    assert runtime.batches == []


def test_a_runtime_of_the_host_takes_the_volume(bundle: Bundle) -> None:
    classifier = BundleClassifier(bundle, OnnxRuntime(bundle.model, 1))
    volume = np.asarray(bundle.golden.counts[0], dtype=np.float32)
    assert classifier.classify_on_device(volume, DeviceBatch(0, 8, EDGE, "cuda:0")) == classifier.classify(volume)


def test_what_the_preprocessor_hands_over_gives_the_same_verdict(bundle: Bundle, runtime: ReadsMemory) -> None:
    """On a CPU the address is one of the host, so that the whole way can be walked without a GPU."""
    pytest.importorskip("warp")
    from braggwatch.callbacks.cxdp.device.preprocessor import DevicePreprocessor

    runtime.batches.clear()
    made = DevicePreprocessor(PreprocessingSettings(), "cpu")(artificial_curve(np.dtype(np.uint16)))
    assert made.batch is not None
    classifier = BundleClassifier(bundle, runtime)
    there = DeviceBatch(made.batch.pointer, made.batch.copies, made.batch.edge, "cuda:0")
    assert classifier.classify_on_device(made.intensity, there) == classifier.classify(made.intensity)
    assert runtime.batches == [bundle.manifest.symmetry_copies]
