"""Any number of samples goes through fixed buffers and comes back as ONNX Runtime alone would give it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.models.bundling.half_precision import to_half_precision
from braggwatch.models.runtimes import InferenceError, RuntimeUnavailableError
from braggwatch.models.runtimes.device_input import DeviceRuntime
from braggwatch.models.runtimes.self_test import ReducedPrecision
from braggwatch.models.runtimes.tensorrt import TensorRtRuntime
from braggwatch.models.runtimes.tensorrt_buffers import split_batch
from support.small_graph import images, small_graph
from support.tensorrt_host import HostMemory, HostTensorRt

BATCHES = (1, 4, 8)
PLAN = b"ftrt: a plan"


@pytest.fixture(scope="module")
def model() -> bytes:
    return to_half_precision(small_graph()).model


@pytest.fixture(scope="module")
def reference(model: bytes):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(["logits", "probabilities", "features"], {"image": batch})


def opened(model: bytes, memory: HostMemory | None = None, **options) -> TensorRtRuntime:
    api = HostTensorRt(model, BATCHES, **options)
    return TensorRtRuntime(api, PLAN, BATCHES, HostMemory() if memory is None else memory)


def agrees(output, expected) -> None:
    for got, want in zip((output.logits, output.probabilities, output.features), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@given(
    count=st.integers(1, 200),
    batches=st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True).map(tuple),
)
def test_every_sample_has_one_place_and_no_chunk_is_larger_than_its_buffers(count, batches) -> None:
    chunks = split_batch(count, batches)
    assert [index for one in chunks for index in range(one.start, one.start + one.count)] == list(range(count))
    for one in chunks:
        assert one.batch in batches
        assert one.count <= one.batch
        assert not any(one.count <= smaller < one.batch for smaller in batches)
    assert len(chunks) == -(-count // max(batches))


def test_no_samples_have_no_place() -> None:
    with pytest.raises(ValueError, match="no way"):
        split_batch(0, BATCHES)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8, 9, 21])
@pytest.mark.parametrize("capturable", [True, False])
def test_any_batch_gives_what_onnx_runtime_gives(model: bytes, reference, count: int, capturable: bool) -> None:
    runtime = opened(model, HostMemory(capturable=capturable))
    assert runtime.captured is capturable
    runtime.run(images(8, seed=5))
    agrees(runtime.run(images(count)), reference(images(count)))


def test_what_was_there_before_does_not_reach_the_next_batch(model: bytes, reference) -> None:
    runtime = opened(model)
    runtime.run(np.full_like(images(4), np.nan))
    agrees(runtime.run(images(2)), reference(images(2)))


def test_outputs_are_the_callers_own(model: bytes) -> None:
    runtime = opened(model)
    first = runtime.run(images(1))
    kept = first.logits.copy()
    runtime.run(images(1, seed=9))
    np.testing.assert_array_equal(first.logits, kept)


def test_buffers_are_made_once_and_a_graph_is_replayed(model: bytes) -> None:
    memory = HostMemory()
    runtime = opened(model, memory)
    made, memory.log = memory.allocated, []
    for _ in range(3):
        runtime.run(images(3))
    assert memory.allocated == made
    assert memory.log == ["upload", "launch", "synchronise"] * 3


def test_a_batch_on_the_device_is_taken_from_its_address(model: bytes, reference) -> None:
    memory, producer = HostMemory(), HostMemory()
    runtime = opened(model, memory)
    there = np.zeros_like(images(11))
    producer.submit("fill", lambda: np.copyto(there, images(11)))
    output = runtime.run_device(there.ctypes.data, 11, producer.stream)
    agrees(output, reference(images(11)))
    assert "upload" not in memory.log
    assert isinstance(runtime, DeviceRuntime)
    agrees(runtime.run_device(there.ctypes.data, 1), reference(images(11)[:1]))


def test_many_threads_get_their_own_answers(model: bytes, reference) -> None:
    runtime = opened(model)
    batches = [images(1 + seed % 9, seed) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for batch, output in zip(batches, pool.map(runtime.run, batches), strict=True):
            agrees(output, reference(batch))


@pytest.mark.parametrize(
    "batch",
    [
        images(1).astype(np.float64),
        images(0),
        images(1)[0],
        images(1)[:, :1],
        images(1)[..., :-1],
    ],
    ids=["dtype", "empty", "rank", "channels", "side"],
)
def test_a_batch_of_another_kind_is_refused(model: bytes, batch) -> None:
    with pytest.raises(InferenceError, match="expected"):
        opened(model).run(batch)


def test_a_device_that_fails_is_named_and_the_next_run_tried(model: bytes, reference) -> None:
    memory = HostMemory()
    runtime = opened(model, memory)
    memory.fail = RuntimeError("an illegal memory access was encountered")
    with pytest.raises(InferenceError, match="illegal memory access"):
        runtime.run(images(1))
    memory.fail = None
    agrees(runtime.run(images(2)), reference(images(2)))
    with pytest.raises(InferenceError, match="nothing to run"):
        runtime.run_device(0, 1)


def test_a_run_that_tensorrt_refuses_says_why(model: bytes) -> None:
    memory = HostMemory(capturable=False)
    api = HostTensorRt(model, BATCHES)
    runtime = TensorRtRuntime(api, PLAN, BATCHES, memory)
    api.refuse = True
    with pytest.raises(InferenceError, match="illegal memory access"):
        runtime.run(images(1))


@pytest.mark.parametrize(
    ("plan", "batches", "words"),
    [(b"something else", BATCHES, "magic tag"), (PLAN, (1, 4), "profiles")],
)
def test_a_plan_that_can_not_be_loaded_says_why(model: bytes, plan: bytes, batches, words: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match=words):
        TensorRtRuntime(HostTensorRt(model, BATCHES), plan, batches, HostMemory())


def test_a_plan_whose_first_run_fails_is_unavailable(model: bytes) -> None:
    api = HostTensorRt(model, BATCHES)
    api.refuse = True
    with pytest.raises(RuntimeUnavailableError, match="loads but does not run"):
        TensorRtRuntime(api, PLAN, BATCHES, HostMemory())


def test_it_says_what_it_is(model: bytes) -> None:
    runtime = opened(model, version="11.4.0")
    assert (runtime.name, runtime.version, runtime.batches) == ("tensorrt", "11.4.0", BATCHES)
    assert isinstance(runtime, ReducedPrecision)
    assert runtime.compiled_kernels is None
