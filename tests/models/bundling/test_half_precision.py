"""What goes to fp16, what stays, and what it costs."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.half_precision import HalfPrecisionError, to_half_precision
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.bundling.tasks import DEFECT_TASK
from support.small_graph import images, small_graph, volume_graph
from support.task_networks import TASK_NETWORKS, task_bundle

onnx = pytest.importorskip("onnx", reason="onnx isn't installed: no graph to convert")
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def run(model: bytes, batch) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = session.run(["logits", "probabilities", "features"], {session.get_inputs()[0].name: batch})
    return [np.asarray(one) for one in outputs]


def element_types(model: bytes) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True)
    graph = inferred.graph
    types = {one.name: one.type.tensor_type.elem_type for one in (*graph.value_info, *graph.input, *graph.output)}
    return types | {one.name: one.data_type for one in graph.initializer}


def test_convolutions_compute_in_fp16_between_casts() -> None:
    half = to_half_precision(small_graph(batch_norm=False))
    types = element_types(half.model)
    nodes = onnx.load_from_string(half.model).graph.node
    assert half.precision == "fp16"
    for node in nodes:
        if node.op_type in {"Conv", "Relu", "Add"}:
            assert {types[name] for name in node.input} == {HALF}, node.op_type
        if node.op_type in {"Log", "ReduceMean", "Gemm", "Softmax"}:
            assert types[node.input[0]] == FLOAT, node.op_type
    graph = onnx.load_from_string(half.model).graph
    assert {one.type.tensor_type.elem_type for one in (*graph.input, *graph.output)} == {FLOAT}


def test_results_are_the_graphs_own_over_seven_decades_of_input() -> None:
    model = small_graph()
    for got, want in zip(run(to_half_precision(model).model, images(16)), run(model, images(16)), strict=True):
        np.testing.assert_allclose(got, want, atol=5e-3 * max(1.0, float(np.abs(want).max())))


def test_batch_normalisations_are_folded_into_their_convolutions() -> None:
    pytest.importorskip("onnxscript", reason="onnxscript isn't installed: it folds")
    operations = [node.op_type for node in onnx.load_from_string(to_half_precision(small_graph()).model).graph.node]
    assert "BatchNormalization" not in operations
    assert operations.count("Conv") == 2


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert to_half_precision(small_graph()).model == to_half_precision(small_graph()).model


def test_weights_beyond_fp16_are_refused_by_name() -> None:
    with pytest.raises(HalfPrecisionError, match="kernel"):
        to_half_precision(small_graph(scale=1e6, batch_norm=False))


@pytest.mark.parametrize("model", [b"not a graph", b"", small_graph()[:200]])
def test_what_is_no_graph_is_refused(model: bytes) -> None:
    with pytest.raises(HalfPrecisionError):
        to_half_precision(model)


def test_a_network_with_nothing_to_gain_stays_as_it_is() -> None:
    whole = onnx.load_from_string(volume_graph(channels=1))
    for node in whole.graph.node:
        if node.op_type == "Conv":
            node.op_type, node.input[1] = "Mul", "one"
            del node.attribute[:]
    half = to_half_precision(whole.SerializeToString())
    assert (half.precision, half.half_nodes) == ("fp32", 0)
    assert HALF not in element_types(half.model).values()


@pytest.mark.parametrize("name", TASK_NETWORKS)
def test_the_network_of_every_task_gains_and_answers_the_same(name: str) -> None:
    bundle = task_bundle(name)
    half = to_half_precision(bundle.model)
    assert half.half_nodes > 0
    # To the end of what a detector counts, which is far outside the range of fp16.
    for counts in (bundle.golden.counts, bundle.golden.counts * np.float32(1e3)):
        for got, want in zip(run(half.model, counts), run(bundle.model, counts), strict=True):
            np.testing.assert_allclose(got, want, atol=3e-3 * float(np.abs(want).max()))


def test_what_reads_the_input_as_it_comes_stays_in_fp32() -> None:
    half = to_half_precision(task_bundle("sadp-space-group").model)
    types = element_types(half.model)
    products = [node for node in onnx.load_from_string(half.model).graph.node if node.op_type in {"Gemm", "MatMul"}]
    assert types[products[0].input[1]] == FLOAT
    assert HALF in {types[node.input[1]] for node in products[1:]}


@pytest.mark.parametrize("bundle_id", Registry().list(DEFECT_TASK))
def test_shipped_bundles_lose_less_than_a_hundredth_and_no_class(bundle_id: str) -> None:
    bundle = Bundle.load(Registry().root / bundle_id)
    half = to_half_precision(bundle.model)
    assert half.half_nodes > 0
    logits, probabilities, _ = run(half.model, bundle.golden.counts)
    assert np.abs(logits - bundle.golden.logits).max() < 1e-2
    assert np.abs(probabilities - bundle.golden.probabilities).max() < 1e-2
    np.testing.assert_array_equal(logits.argmax(axis=1), bundle.golden.logits.argmax(axis=1))
