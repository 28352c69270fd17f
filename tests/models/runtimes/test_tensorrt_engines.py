"""Engines are really built here, without a device; what the cache holds is used only where it is sound and right."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.bundling.tasks import DEFECT_TASK
from braggwatch.models.runtimes import (
    GoldenMismatchError,
    OnnxRuntime,
    RuntimeCandidate,
    RuntimeUnavailableError,
    open_runtime,
)
from braggwatch.models.runtimes.cuda_probe import CudaDevice, cuda_problem, find_device
from braggwatch.models.runtimes.engine_build import (
    BATCHES,
    PORTABLE_CAPABILITIES,
    EngineBuildError,
    build_plan,
    parser_problem,
)
from braggwatch.models.runtimes.engine_cache import EngineCache
from braggwatch.models.runtimes.engine_open import build_engine, engine_graph, open_engine
from braggwatch.models.runtimes.tensorrt import TensorRtRuntime
from braggwatch.models.runtimes.tensorrt_api import load_tensorrt
from support.small_graph import small_graph, volume_bundle
from support.task_networks import TASK_NETWORKS, task_bundle
from support.tensorrt_host import HostMemory, HostTensorRt, rtx

HERE = CudaDevice("NVIDIA H200", (9, 0), "580.1, CUDA 13.0")
FEW = (1, 2)


@pytest.mark.parametrize("bundle_id", Registry().list())
def test_a_real_engine_is_built_for_every_shipped_bundle(bundle_id: str, tmp_path: Path) -> None:
    bundle, api = Bundle.load(Registry().root / bundle_id), rtx()
    record, built = build_engine(bundle, api, capabilities=PORTABLE_CAPABILITIES)
    # Of another task's bundle that loses too much in fp16, the engine stays in fp32.
    assert record.precision == "fp16" or bundle.manifest.task != DEFECT_TASK
    assert record.graph_difference is not None
    assert record.graph_difference < 1e-2
    assert record.golden_difference is None
    assert record.plan_bytes > len(bundle.model) // 4
    cache = EngineCache(tmp_path)
    cache.store(record, built.plan)
    assert cache.load(record.key).plan == built.plan


@pytest.mark.parametrize("name", TASK_NETWORKS)
def test_a_real_engine_is_built_for_the_network_of_every_task(name: str) -> None:
    bundle, api = task_bundle(name), rtx()
    record, built = build_engine(bundle, api, capabilities=("SM86", "SM89"))
    assert (record.precision, record.key.batches) == ("fp16", BATCHES)
    assert record.graph_difference is not None
    assert record.graph_difference < 1e-2 * float(np.abs(bundle.golden.logits).max())
    assert built.plan
    assert parser_problem(api, bundle.model) is None


@pytest.mark.parametrize("name", TASK_NETWORKS)
def test_an_engine_of_every_task_is_run_behind_the_same_calls(name: str, cache: EngineCache) -> None:
    bundle = task_bundle(name)
    runtime, _ = opened(bundle, cache)
    np.testing.assert_allclose(runtime.run(bundle.golden.counts).logits, bundle.golden.logits, atol=1e-2)


def test_an_input_of_any_name_and_shape_can_be_built() -> None:
    built = build_plan(rtx(), small_graph(), batches=BATCHES, capabilities=("SM86",))
    assert built.plan
    assert built.timing_cache is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"capabilities": ("SM90",)}, "doesn't build for SM90"),
        ({"capabilities": ("SM75",)}, "can't build the engine"),
        ({"capabilities": ("SM86",), "batches": (1, 1)}, "distinct"),
        ({"capabilities": ("SM86",), "batches": ()}, "distinct"),
    ],
)
def test_what_can_not_be_built_says_why(options, words: str) -> None:
    with pytest.raises((RuntimeUnavailableError, ValueError), match=words):
        build_plan(rtx(), small_graph(), **options)


def test_a_graph_that_can_not_be_parsed_says_why() -> None:
    with pytest.raises(EngineBuildError, match="can't parse"):
        build_plan(rtx(), small_graph()[:300], capabilities=("SM86",))


def test_a_size_that_is_not_fixed_is_named() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed: no graph to make")
    graph = onnx.load_from_string(small_graph())
    graph.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(EngineBuildError, match="only the batch may be dynamic"):
        build_plan(rtx(), graph.SerializeToString(), capabilities=("SM86",))


def test_a_device_or_capabilities_are_needed() -> None:
    with pytest.raises(EngineBuildError, match="named compute capabilities"):
        build_engine(volume_bundle(), rtx())


def test_no_driver_is_said_before_tensorrt_is_touched(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="no NVIDIA driver"):
        find_device(library=str(tmp_path / "libcuda.so.1"))
    assert cuda_problem(library="libnowhere.so") is not None


# From here on engines are built by TensorRT-RTX and run by ONNX Runtime behind the same calls.


@pytest.fixture
def bundle() -> Bundle:
    rtx()
    return volume_bundle()


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def opened(
    bundle: Bundle, cache: EngineCache, device: CudaDevice = HERE, **options
) -> tuple[TensorRtRuntime, HostTensorRt]:
    api = HostTensorRt(engine_graph(bundle).model, FEW, **options)
    runtime = open_engine(
        bundle,
        "tensorrt",
        cache=cache,
        load=lambda _: api,
        find=lambda: device,
        make_memory=HostMemory,
        batches=FEW,
    ).runtime
    return runtime, api


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


def test_an_engine_is_built_tested_kept_and_found_again(
    bundle: Bundle, cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    first, api = opened(bundle, cache)
    assert api.built == 1
    (record,) = cache.records()
    assert record.golden_difference is not None
    assert record.golden_difference < 1e-2
    assert record.bundle == bundle.manifest.id
    second, again = opened(bundle, cache)
    assert again.built == 0
    output = second.run(bundle.golden.counts)
    np.testing.assert_allclose(output.logits, bundle.golden.logits, atol=1e-2)
    np.testing.assert_array_equal(first.run(bundle.golden.counts).logits, output.logits)
    assert warnings_of(caplog) == []


def damage(plan: Path, how: str) -> None:
    content = plan.read_bytes()
    middle = len(content) // 2
    plan.write_bytes(
        content[:middle]
        if how == "truncated"
        else content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    )


@pytest.mark.parametrize("how", ["flipped", "truncated", "writable"])
def test_an_unsound_plan_is_named_once_and_built_again(
    bundle: Bundle, cache: EngineCache, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened(bundle, cache)
    (plan,) = cache.folder.glob("*.plan")
    if how == "writable":
        plan.chmod(0o666)
    else:
        damage(plan, how)
    runtime, api = opened(bundle, cache)
    assert api.built == 1
    (message,) = warnings_of(caplog)
    assert "built again" in message
    assert ("written by others" if how == "writable" else "SHA-256") in message
    assert runtime.run(bundle.golden.counts[:1]).logits.shape == (1, 3)
    assert opened(bundle, cache)[1].built == 0


def test_a_foreign_plan_is_named_and_never_loaded(
    bundle: Bundle, cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    opened(bundle, cache)
    here = cache.records()[0].key
    there = here.model_copy(update={"device": "NVIDIA A100, compute capability 8.0"})
    (cache.folder / f"{here.digest[:24]}.json").rename(cache.folder / f"{there.digest[:24]}.json")
    _, api = opened(bundle, cache, device=CudaDevice("NVIDIA A100", (8, 0), HERE.driver))
    assert api.built == 1
    (message,) = warnings_of(caplog)
    assert "belongs to another engine" in message


def test_a_stale_engine_stays_where_it_is_and_a_new_one_is_built(
    bundle: Bundle, cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    opened(bundle, cache, version="10.9.0")
    _, api = opened(bundle, cache, version="11.4.0")
    assert api.built == 1
    (message,) = warnings_of(caplog)
    assert "stale: version 10.9.0 instead of 11.4.0" in message
    assert {one.key.version for one in cache.records()} == {"10.9.0", "11.4.0"}


def test_another_network_is_another_engine(bundle: Bundle, cache: EngineCache) -> None:
    opened(bundle, cache)
    other = replace(bundle, sha256="f" * 64)
    assert opened(other, cache)[1].built == 1


def test_a_cached_engine_that_gives_wrong_answers_is_built_again(
    bundle: Bundle, cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    opened(bundle, cache)
    runtime, api = opened(bundle, cache, shifts=(0.1,))
    assert api.built == 1
    assert len(api.loaded) == 2
    (message,) = warnings_of(caplog)
    assert "golden logits" in message
    np.testing.assert_allclose(runtime.run(bundle.golden.counts).logits, bundle.golden.logits, atol=1e-2)


def test_a_fresh_engine_that_gives_wrong_answers_is_not_kept_and_onnx_runtime_runs(
    bundle: Bundle, cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    def opens(one: Bundle, _: int) -> TensorRtRuntime:
        return opened(one, cache, shifts=(0.1,))[0]

    candidates = (
        RuntimeCandidate("tensorrt", lambda: None, opens),
        RuntimeCandidate("onnxruntime-cpu", lambda: None, lambda one, threads: OnnxRuntime(one.model, threads)),
    )
    runtime, _ = open_runtime(bundle, candidates=candidates)
    assert runtime.name == "onnxruntime-cpu"
    assert cache.records() == ()
    (message,) = warnings_of(caplog)
    assert "golden logits" in message
    with pytest.raises(GoldenMismatchError):
        opened(bundle, cache, shifts=(0.1,))


def test_a_cache_that_can_not_be_written_costs_a_build_not_the_engine(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    runtime, api = opened(bundle, EngineCache(tmp_path / "file" / "engines"))
    assert api.built == 1
    assert runtime.run(bundle.golden.counts).logits.shape == (3, 3)
    assert any("not kept" in one for one in warnings_of(caplog))


def test_timings_of_kernels_are_kept_for_the_next_network(bundle: Bundle, cache: EngineCache) -> None:
    opened(bundle, cache)
    opened(replace(bundle, sha256="e" * 64), cache)
    (timings,) = cache.folder.glob("*.timings")
    assert cache.read_blob(timings.name) == b"timedtimed"


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_without_driver_or_module_the_named_runtime_says_why(flavour) -> None:
    try:
        load_tensorrt(flavour)
    except RuntimeUnavailableError:
        words = "isn't installed"
    else:
        if cuda_problem() is None:
            pytest.skip("TensorRT and a driver are here: nothing is missing")
        words = "no NVIDIA driver"
    with pytest.raises(RuntimeUnavailableError, match=words):
        open_runtime(volume_bundle(), prefer=flavour)


@pytest.mark.gpu
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("bundle_id", Registry().list())
def test_on_a_device_engines_answer_as_onnx_runtime_does(flavour, bundle_id: str, tmp_path: Path) -> None:
    bundle = Bundle.load(Registry().root / bundle_id)
    try:
        runtime = open_engine(bundle, flavour, cache=EngineCache(tmp_path / "engines")).runtime
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(1)
    counts = np.resize(bundle.golden.counts, (41, *bundle.manifest.input.shape))
    if bundle.manifest.task == DEFECT_TASK:
        counts = rng.poisson(10.0 ** rng.uniform(-1, 4, size=counts.shape)).astype(np.float32)
        counts[:3] = bundle.golden.counts[:3]
    reference = OnnxRuntime(bundle.model, threads=4)
    for count in (1, 3, 8, 9, 32, 41):
        got, want = runtime.run(counts[:count]), reference.run(counts[:count])
        np.testing.assert_allclose(got.probabilities, want.probabilities, atol=1e-2)
    assert open_engine(bundle, flavour, cache=EngineCache(tmp_path / "engines")).runtime.captured
    import warp

    there = warp.array(counts, dtype=warp.float32, device="cuda:0")
    stream = warp.get_stream("cuda:0")
    assert there.ptr is not None
    from_device = runtime.run_device(int(there.ptr), 41, int(stream.cuda_stream or 0))
    np.testing.assert_array_equal(from_device.logits, runtime.run(counts).logits)
