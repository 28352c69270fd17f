"""Whatever runs a bundle gives what ONNX Runtime on the CPU gives, refuses the same, and may be shared by threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.cxdp.benchmarking import Benchmark
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.runtimes import (
    GoldenMismatchError,
    InferenceError,
    OnnxRuntime,
    RuntimeUnavailableError,
    golden_difference,
)
from braggwatch.models.runtimes.base import Runtime, RuntimeOutput
from braggwatch.models.runtimes.onnx_cuda import (
    BATCH_SIZES,
    BoundSession,
    OnnxCudaRuntime,
    probe_onnx_cuda,
    provider_options,
)
from braggwatch.models.runtimes.openvino import OpenVinoRuntime, probe_openvino, probe_openvino_bf16
from braggwatch.models.runtimes.self_test import ReducedPrecision, allowed_difference
from support.production import production_bundle

Opener = Callable[[bytes], Runtime]


class OnnxBound:
    """The GPU runtime's own buffers, bindings and batch sizes, on the CPU."""

    name = "onnxruntime-bound-on-cpu"
    version = str(onnxruntime.__version__)

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RuntimeUnavailableError(f"can't load the model: {error}") from error
        self.run = BoundSession(session, "cpu").run


def open_openvino(model: bytes) -> Runtime:
    if (reason := probe_openvino()) is not None:
        pytest.skip(reason)
    return OpenVinoRuntime(model)


def open_openvino_bf16(model: bytes) -> Runtime:
    if (reason := probe_openvino_bf16()) is not None:
        pytest.skip(reason)
    return OpenVinoRuntime(model, precision="bf16")


OPENERS = (
    pytest.param(OnnxRuntime, id="onnxruntime-cpu"),
    pytest.param(OnnxBound, id="onnxruntime-bound"),
    pytest.param(open_openvino, id="openvino-cpu"),
    pytest.param(open_openvino_bf16, id="openvino-cpu-bf16"),
    pytest.param(OnnxCudaRuntime, id="onnxruntime-cuda", marks=pytest.mark.gpu),
    pytest.param(
        lambda model: OnnxCudaRuntime(model, cuda_graph=False), id="onnxruntime-cuda-eager", marks=pytest.mark.gpu
    ),
)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(production_bundle())


@pytest.fixture(scope="module")
def reference(bundle: Bundle) -> OnnxRuntime:
    return OnnxRuntime(bundle.model)


@pytest.fixture(scope="module", params=OPENERS)
def opener(request: pytest.FixtureRequest) -> Opener:
    return request.param


@pytest.fixture(scope="module")
def runtime(opener: Opener, bundle: Bundle) -> Runtime:
    return opener(bundle.model)


@pytest.fixture(scope="module")
def patterns() -> NDArray[np.float32]:
    """Some of the open test set: (24, 64, 64, 64)."""
    return np.stack([volume for _, volume in Benchmark.load().volumes()][::14])


def is_reduced(runtime: Runtime) -> bool:
    return isinstance(runtime, ReducedPrecision) and runtime.golden_tolerance > 0


def allowed(runtime: Runtime, bundle: Bundle) -> float:
    """Golden volumes are few: on others fewer bits may deviate three times as far.

    Over the 334 patterns of the open test set bf16 deviates by 0.021 in a logit in the middle, by 0.105 at most.
    """
    return allowed_difference(runtime, bundle) * (3 if is_reduced(runtime) else 1)


def assert_close(got: RuntimeOutput, expected: RuntimeOutput, tolerance: float) -> None:
    for name in ("logits", "probabilities", "features"):
        found, wanted = getattr(got, name), getattr(expected, name)
        assert found.shape == wanted.shape
        assert found.dtype == np.float32
        unit = max(float(np.abs(wanted).max()), 1.0) if name == "features" else 1.0
        assert np.abs(found - wanted).max() <= tolerance * unit, name


def test_it_reproduces_the_golden_outputs_and_says_what_it_is(runtime: Runtime, bundle: Bundle) -> None:
    assert golden_difference(runtime, bundle) <= allowed_difference(runtime, bundle)
    assert runtime.name
    assert runtime.version


@pytest.mark.parametrize("size", [1, 8, 32, 35])
def test_any_batch_is_what_its_volumes_are_alone(
    runtime: Runtime, bundle: Bundle, reference: OnnxRuntime, patterns: NDArray[np.float32], size: int
) -> None:
    batch = np.resize(patterns, (size, *patterns.shape[1:]))
    assert_close(runtime.run(batch), reference.run(batch), allowed(runtime, bundle))


def test_a_smaller_batch_after_a_larger_one_sees_nothing_of_it(
    runtime: Runtime, bundle: Bundle, patterns: NDArray[np.float32]
) -> None:
    alone = runtime.run(patterns[:3])
    kept = [np.array(one) for one in (alone.logits, alone.probabilities, alone.features)]
    runtime.run(patterns[10:14])
    again = runtime.run(patterns[:3])
    for one, now, then in zip(kept, (alone.logits, alone.probabilities, alone.features), kept, strict=True):
        np.testing.assert_array_equal(now, then, err_msg="a later run wrote into an earlier result")
        assert one.shape[0] == 3
    assert_close(again, alone, allowed(runtime, bundle))


def test_what_is_no_batch_is_refused_in_words(runtime: Runtime) -> None:
    for bad in (
        np.zeros((64, 64, 64), np.float32),
        np.zeros((1, 32, 64, 64), np.float32),
        np.zeros((1, 64, 64, 64), np.float64),
        np.zeros((1, 64, 64, 64), np.int32),
        np.zeros((0, 64, 64, 64), np.float32),
    ):
        with pytest.raises(InferenceError, match="expected"):
            runtime.run(bad)  # pyright: ignore[reportArgumentType] - among them wrong types


def test_any_memory_layout_will_do_and_is_left_alone(
    runtime: Runtime, bundle: Bundle, reference: OnnxRuntime, patterns: NDArray[np.float32]
) -> None:
    mirrored = patterns[:2, ::-1, :, ::-1]
    mirrored.setflags(write=False)
    before = mirrored.copy()
    assert_close(runtime.run(mirrored), reference.run(before), allowed(runtime, bundle))
    np.testing.assert_array_equal(mirrored, before)


def test_empty_and_bright_volumes_stay_finite(runtime: Runtime, patterns: NDArray[np.float32]) -> None:
    batch = np.stack([np.zeros_like(patterns[0]), patterns[0] * np.float32(1e6)])
    output = runtime.run(batch)
    for one in (output.logits, output.probabilities, output.features):
        assert np.isfinite(one).all()
    np.testing.assert_allclose(output.probabilities.sum(axis=1), 1.0, atol=5e-3)


def test_a_volume_that_is_not_finite_spoils_no_other(
    runtime: Runtime, bundle: Bundle, patterns: NDArray[np.float32]
) -> None:
    batch = patterns[:4].copy()
    batch[1, 10, 10, 10] = np.nan
    batch[2] = np.inf
    output, clean = runtime.run(batch), runtime.run(patterns[:4])
    for number in (0, 3):
        assert np.abs(output.logits[number] - clean.logits[number]).max() <= allowed(runtime, bundle)


def test_threads_may_share_it(runtime: Runtime, bundle: Bundle, patterns: NDArray[np.float32]) -> None:
    sizes = (1, 2, 3, 4)
    alone = {size: runtime.run(patterns[size : 2 * size]) for size in sizes}
    barrier = threading.Barrier(len(sizes))

    def work(size: int) -> list[RuntimeOutput]:
        barrier.wait()
        return [runtime.run(patterns[size : 2 * size]) for _ in range(5)]

    with ThreadPoolExecutor(len(sizes)) as pool:
        together = list(pool.map(work, sizes))
    for size, outputs in zip(sizes, together, strict=True):
        for output in outputs:
            assert_close(output, alone[size], allowed(runtime, bundle))


def test_a_graph_that_is_no_bundles_is_refused(opener: Opener, bundle: Bundle) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
    with pytest.raises(RuntimeUnavailableError):
        opener(b"not a graph")
    model = onnx.load_from_string(bundle.model)
    del model.graph.output[2]
    with pytest.raises(RuntimeUnavailableError, match="features"):
        opener(model.SerializeToString())


def test_the_classes_of_the_open_test_set_stay(
    runtime: Runtime, bundle: Bundle, reference: OnnxRuntime, patterns: NDArray[np.float32]
) -> None:
    compare_classes(runtime, bundle, reference, patterns)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_classes_of_the_whole_open_test_set_stay(runtime: Runtime, bundle: Bundle, reference: OnnxRuntime) -> None:
    volumes = np.stack([volume for _, volume in Benchmark.load().volumes()])
    compare_classes(runtime, bundle, reference, volumes)


def compare_classes(runtime: Runtime, bundle: Bundle, reference: OnnxRuntime, volumes: NDArray[np.float32]) -> None:
    """A class may change only between two whose probabilities the precision can't tell apart; in float32, none does."""
    for start in range(0, len(volumes), 8):
        batch = volumes[start : start + 8]
        got, expected = runtime.run(batch), reference.run(batch)
        # logits of outliers are large, and their rounding with them: what is reported is the probability
        assert np.abs(got.probabilities - expected.probabilities).max() <= allowed(runtime, bundle)
        ranked = np.sort(expected.logits, axis=1)
        changed = got.logits.argmax(axis=1) != expected.logits.argmax(axis=1)
        margin = 2 * allowed(runtime, bundle) if is_reduced(runtime) else 0.0
        assert (ranked[changed, -1] - ranked[changed, -2] <= margin).all()


def test_verdicts_are_the_same(
    runtime: Runtime, bundle: Bundle, reference: OnnxRuntime, patterns: NDArray[np.float32]
) -> None:
    ours, theirs = BundleClassifier(bundle, runtime), BundleClassifier(bundle, reference)
    for volume in patterns[::4]:
        got, expected = ours.classify(volume), theirs.classify(volume)
        assert got.confidence == pytest.approx(expected.confidence, abs=allowed(runtime, bundle))
        if is_reduced(runtime):
            # beside a threshold a class may turn into "unsure", never into another class
            assert got.label in (expected.label, None) or expected.label is None
        else:
            assert got.headline == expected.headline


def test_fewer_threads_than_one_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="thread"):
        OpenVinoRuntime(bundle.model, threads=0)


def test_openvino_passes_the_self_test_at_the_bundles_own_tolerance(bundle: Bundle) -> None:
    assert golden_difference(open_openvino(bundle.model), bundle) < bundle.manifest.golden_tolerance


def test_bf16_is_told_from_f32_by_name_and_by_its_tolerance(bundle: Bundle) -> None:
    runtime = open_openvino_bf16(bundle.model)
    assert runtime.name == "openvino-cpu-bf16"
    assert bundle.manifest.golden_tolerance < allowed_difference(runtime, bundle) < 0.1
    wrong = replace(bundle, golden=replace(bundle.golden, logits=bundle.golden.logits + np.float32(0.2)))
    with pytest.raises(GoldenMismatchError, match="logits"):
        golden_difference(runtime, wrong)


def in_new_process(script: str, home: Path) -> dict[str, object]:
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


WATCH = """
import json, sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith("socket.") else None)
{body}
import time; time.sleep(1.0)
print(json.dumps({{"sockets": seen, "reporter": "openvino_telemetry" in sys.modules}}))
"""


def test_opening_openvino_reports_nothing_to_its_maker(tmp_path: Path) -> None:
    if (reason := probe_openvino()) is not None:
        pytest.skip(reason)
    body = (
        "from braggwatch.models.runtimes.openvino import OpenVinoRuntime\n"
        f"OpenVinoRuntime(open({str(production_bundle() / 'model.onnx')!r}, 'rb').read())"
    )
    ours = in_new_process(WATCH.format(body=body), tmp_path)
    assert ours == {"sockets": [], "reporter": False}
    assert not (tmp_path / "intel").exists()


def test_without_openvino_it_says_what_to_install(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braggwatch.models.runtimes.openvino.find_spec", lambda name: None)
    assert "pip install" in str(probe_openvino())
    assert probe_openvino_bf16() == probe_openvino()
    with pytest.raises(RuntimeUnavailableError, match=r"braggwatch\[openvino\]"):
        OpenVinoRuntime(bundle.model)


def test_importing_the_runtimes_imports_no_optional_library(tmp_path: Path) -> None:
    script = (
        "import json, sys\n"
        "import braggwatch.models.runtimes.openvino, braggwatch.models.runtimes.onnx_cuda\n"
        "print(json.dumps({'loaded': [m for m in ('openvino', 'cupy', 'tensorrt', 'torch') if m in sys.modules]}))"
    )
    assert in_new_process(script, tmp_path) == {"loaded": []}


def test_batch_sizes_rise_and_cover_the_symmetry_copies() -> None:
    assert list(BATCH_SIZES) == sorted(set(BATCH_SIZES))
    assert {1, 2, 4, 8} <= set(BATCH_SIZES)


def test_the_gpu_computes_in_full_precision_and_replays_only_where_asked() -> None:
    assert provider_options(1, cuda_graph=True)["enable_cuda_graph"] == "1"
    options = provider_options(0, cuda_graph=False)
    assert options["use_tf32"] == "0"
    assert options["enable_cuda_graph"] == "0"
    assert all(isinstance(value, str) for value in options.values())


def test_without_a_gpu_the_reason_is_in_words(bundle: Bundle) -> None:
    reason = probe_onnx_cuda()
    if reason is None:
        pytest.skip("there is a GPU")
    assert "onnxruntime-gpu" in reason or "driver" in reason
    with pytest.raises(RuntimeUnavailableError) as refused:
        OnnxCudaRuntime(bundle.model)
    assert str(refused.value) == reason


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_cuda_build_without_its_libraries_does_not_pass_for_a_gpu(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the driver is there and cuDNN is not: ONNX Runtime itself would go on, on the CPU."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    monkeypatch.setattr("braggwatch.models.runtimes.onnx_cuda.probe_onnx_cuda", lambda: None)
    with pytest.raises(RuntimeUnavailableError, match="GPU"):
        OnnxCudaRuntime(bundle.model)
