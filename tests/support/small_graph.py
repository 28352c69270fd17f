"""A graph of few operations with another input, rank and normalisation than the shipped bundles have."""

from __future__ import annotations

import numpy as np
import pytest

SIDE = 9


def small_graph(scale: float = 1.0, channels: int = 4, batch_norm: bool = True) -> bytes:
    """Two-channel images (N, 2, 9, 9) to logits, probabilities and features: convolution, normalisation, dense layer.

    Parameters
    ----------
    scale
        Of the convolution's weights.
    """
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed: no graph to make")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(3)

    def weight(name: str, *shape: int) -> object:
        return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) * scale, name)

    nodes = [
        helper.make_node("Log", ["image"], ["log"]),
        helper.make_node("Conv", ["log", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["convolved", "gain", "shift", "mean", "variance"], ["normalised"])
        if batch_norm
        else helper.make_node("Identity", ["convolved"], ["normalised"]),
        helper.make_node("Relu", ["normalised"], ["active"]),
        helper.make_node("Conv", ["active", "kernel_2"], ["again"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["again", "active"], ["sum"]),
        helper.make_node("ReduceMean", ["sum", "axes"], ["features"], keepdims=0),
        helper.make_node("Gemm", ["features", "dense"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = [
        weight("kernel", channels, 2, 3, 3),
        weight("kernel_2", channels, channels, 3, 3),
        weight("dense", 3, channels),
        weight("gain", channels),
        weight("shift", channels),
        weight("mean", channels),
        numpy_helper.from_array(rng.uniform(0.5, 2.0, channels).astype(np.float32), "variance"),
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
    ]
    used = {name for node in nodes for name in node.input}
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 2, SIDE, SIDE])
    outputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])
        for name, size in (("logits", 3), ("probabilities", 3), ("features", channels))
    ]
    graph = helper.make_graph(nodes, "small", [image], outputs, [one for one in constants if one.name in used])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def images(count: int, seed: int = 0) -> np.ndarray:
    """Positive inputs over seven decades."""
    rng = np.random.default_rng(seed)
    return (10.0 ** rng.uniform(0, 7, size=(count, 2, SIDE, SIDE))).astype(np.float32)
