"""A graph of few operations with another input, rank and normalisation than the shipped bundles have."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from onnx import TensorProto

from braggwatch.models.bundling.bundle import Bundle, GoldenArrays
from braggwatch.models.bundling.manifest import InputSpec, Manifest, Provenance, Thresholds
from braggwatch.models.runtimes.onnx import OnnxRuntime

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

    def weight(name: str, *shape: int) -> TensorProto:
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


def volume_graph(edge: int = 8, channels: int = 4) -> bytes:
    """Counts (N, edge, edge, edge) to the outputs of a bundle: log1p over its maximum, convolution, dense layer."""
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed: no graph to make")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(4)
    arrays = {
        "one": np.float32(1.0),
        "channel": np.array([1], np.int64),
        "space": np.array([1, 2, 3], np.int64),
        "pooled": np.array([2, 3, 4], np.int64),
        "kernel": rng.normal(size=(channels, 1, 3, 3, 3)).astype(np.float32),
        "dense": rng.normal(size=(3, channels)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Add", ["counts", "one"], ["more"]),
        helper.make_node("Log", ["more"], ["log"]),
        helper.make_node("ReduceMax", ["log", "space"], ["largest"], keepdims=1),
        helper.make_node("Div", ["log", "largest"], ["scaled"]),
        helper.make_node("Unsqueeze", ["scaled", "channel"], ["volume"]),
        helper.make_node("Conv", ["volume", "kernel"], ["convolved"], pads=[1] * 6),
        helper.make_node("Relu", ["convolved"], ["active"]),
        helper.make_node("ReduceMean", ["active", "pooled"], ["features"], keepdims=0),
        helper.make_node("Gemm", ["features", "dense"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    counts = helper.make_tensor_value_info("counts", onnx.TensorProto.FLOAT, ["N", edge, edge, edge])
    outputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])
        for name, size in (("logits", 3), ("probabilities", 3), ("features", channels))
    ]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]
    graph = helper.make_graph(nodes, "volume", [counts], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def volume_bundle(edge: int = 8, channels: int = 4) -> Bundle:
    """A bundle in memory around :func:`volume_graph`; it has no calibration, for nothing here classifies."""
    model = volume_graph(edge, channels)
    rng = np.random.default_rng(5)
    counts = rng.poisson(30.0, (3, edge, edge, edge)).astype(np.float32)
    golden = GoldenArrays.record(OnnxRuntime(model, threads=1), counts)
    manifest = Manifest(
        name="volumes",
        version="1.0.0",
        classes=("one", "two", "three"),
        input=InputSpec(shape=(edge, edge, edge), fringe_period_voxels=3.5),
        features=channels,
        temperature=1.0,
        thresholds=Thresholds(confidence=0.5, ood=10.0, significance=0.1),
        provenance=Provenance(code_version="0"),
    )
    sha256 = hashlib.sha256(model).hexdigest()
    return Bundle(Path("volumes/1.0.0"), manifest, model, sha256, None, golden)  # pyright: ignore[reportArgumentType]
