"""How long a verdict takes on this machine's CPU, beside what the machine could do at best.

Run with ``pytest -m benchmark tests/benchmarks/test_inference.py``. Nothing here fails for being slow: the figures are
only worth comparing within one run, because other work on the machine scales them all alike.
"""

from __future__ import annotations

import time
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.cxdp.symmetry import SymmetryCopies, symmetry_batch
from braggwatch.models.cxdp.volume.volume_checks import measure_volume, second_peak_radius
from braggwatch.models.runtimes import OnnxRuntime
from braggwatch.models.runtimes.engine_torch import TorchRuntime
from support.production import production_bundle
from support.volume_measures import measure_by_arrays

pytestmark = pytest.mark.benchmark


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(production_bundle())


def matrix_rate_flops(size: int = 384) -> float:
    """Floating-point operations a second of this machine's matrix product, best of forty: the roof."""
    left, right = np.random.default_rng(0).random((2, size, size), dtype=np.float32)
    best = np.inf
    for _ in range(40):
        start = time.perf_counter()
        _ = left @ right
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def network_flop(bundle: Bundle) -> float:
    """Multiplications and additions of convolutions and dense layers for one volume."""
    onnx = pytest.importorskip("onnx", reason="onnx counts the graph's operations")
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(bundle.model), data_prop=True)
    shapes = {
        value.name: [one.dim_value or 1 for one in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    weights = {one.name: list(one.dims) for one in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in weights and node.output[0] in shapes:
            # output positions times the weights that each uses
            total += 2 * prod(shapes[node.output[0]][2:]) * prod(weights[node.input[1]])
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in weights:
            total += 2 * prod(weights[node.input[1]])
    return float(total)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 8])
def test_network_alone(benchmark: BenchmarkFixture, bundle: Bundle, threads: int, batch: SymmetryCopies) -> None:
    runtime = OnnxRuntime(bundle.model, threads)
    volumes = symmetry_batch(bundle.golden.counts[0], batch)
    flop = network_flop(bundle) * batch
    benchmark.extra_info["gflop"] = flop / 1e9
    benchmark.extra_info["roof_ms"] = 1e3 * flop / matrix_rate_flops()
    runtime.run(volumes)
    benchmark.pedantic(runtime.run, args=(volumes,), rounds=15, warmup_rounds=3)


@pytest.mark.parametrize("copies", [1, 8])
def test_volume_to_verdict(benchmark: BenchmarkFixture, bundle: Bundle, copies: SymmetryCopies) -> None:
    classifier = BundleClassifier(bundle, OnnxRuntime(bundle.model, threads=2), copies)
    classifier.warm_up()
    verdict = benchmark.pedantic(classifier.classify, args=(bundle.golden.counts[0],), rounds=15, warmup_rounds=3)
    assert verdict.probabilities


def test_checks_around_the_network(benchmark: BenchmarkFixture, bundle: Bundle) -> None:
    """Everything of a verdict but the network: what calibration, conformal sets and volume checks cost."""
    volume = bundle.golden.counts[0]
    runtime = OnnxRuntime(bundle.model, threads=2)
    fixed = runtime.run(symmetry_batch(volume, bundle.manifest.symmetry_copies))

    class Recorded:
        name, version = runtime.name, runtime.version

        def run(self, batch):
            return replace(fixed)

    classifier = BundleClassifier(bundle, Recorded())
    benchmark.pedantic(classifier.classify, args=(volume,), rounds=15, warmup_rounds=3)


@pytest.mark.parametrize("measure", [measure_volume, measure_by_arrays], ids=["in two passes", "by whole arrays"])
def test_measures_of_a_volume(benchmark: BenchmarkFixture, bundle: Bundle, measure) -> None:
    """What the host computes between preprocessing on a device and the verdict."""
    radius = second_peak_radius(bundle.manifest.input.fringe_period_voxels)
    benchmark.pedantic(measure, args=(bundle.golden.counts[0], radius), rounds=30, warmup_rounds=3)


def test_the_same_network_in_torch(benchmark: BenchmarkFixture, bundle: Bundle) -> None:
    """Torch eager with the bundle's own weights, the runtime that the service does without."""
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    pytest.importorskip("safetensors", reason="safetensors isn't installed")
    before = torch.get_num_threads()
    try:
        runtime = TorchRuntime(bundle, "cpu", threads=2)
        volumes = symmetry_batch(bundle.golden.counts[0], 8)
        benchmark.pedantic(runtime.run, args=(volumes,), rounds=10, warmup_rounds=2)
    finally:
        torch.set_num_threads(before)
