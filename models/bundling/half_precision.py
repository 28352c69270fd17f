"""A bundle's fp32 graph to one whose heavy layers compute in fp16: inputs, outputs, front and head stay fp32.

Precision lives in the graph, as a strongly typed TensorRT network wants it. What goes to fp16 are convolutions and
large matrix products with their weights, and the layers between them that neither sum over many values nor leave the
range of fp16. In front of them stays fp32 (raw counts reach 1e7, fp16 ends at 65504), and so does a layer that reads
the input as it comes. Behind them too: pooling to features, the last dense layer, temperature and softmax, where a
rounding would go straight into the probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from braggwatch.sim.errors import BraggwatchError

if TYPE_CHECKING:
    import onnx

# Goes into the key of every engine: another rule for what is fp16 makes other engines.
RECIPE = "fp16-2"
HALF_MAX = 65504.0

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_PRODUCTS = frozenset({"Gemm", "MatMul"})
# Smaller matrices cost nothing in fp32, and the last dense layer decides the class.
_LARGE_MATRIX = 65536
_FOLLOWERS = frozenset(
    {"Add", "AveragePool", "Concat", "Flatten", "Identity", "LeakyRelu", "MaxPool", "Relu", "Reshape", "Squeeze"}
    | {"Transpose", "Unsqueeze"}
)
_SHAPES_ONLY = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_HALF_SUFFIX = "_as_half"


class HalfPrecisionError(BraggwatchError, ValueError):
    """The graph can't be brought to fp16; the message says which part of it."""


@dataclass(frozen=True, slots=True)
class HalfPrecisionGraph:
    """The converted graph and what became of it.

    Attributes
    ----------
    model
        Bytes of the ONNX graph, the same inputs and outputs in fp32.
    half_nodes
        Layers that compute in fp16; 0 where the graph has none that would gain.
    nodes
        All layers, casts left out.
    """

    model: bytes
    half_nodes: int
    nodes: int

    @property
    def precision(self) -> str:
        """'fp16' where any layer computes in it, else 'fp32'."""
        return "fp16" if self.half_nodes else "fp32"


def to_half_precision(model: bytes) -> HalfPrecisionGraph:
    """Convert a bundle's graph; the same bytes in give the same bytes out.

    Parameters
    ----------
    model
        Bytes of an ONNX graph in fp32, any inputs and shapes. Batch normalisations behind convolutions are folded.

    Raises
    ------
    HalfPrecisionError
        If it can't be read, holds control flow or local functions, or a weight is outside the range of fp16.
    ImportError
        Without the package ``onnx`` (extras ``gpu`` and ``train``).
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load_from_string(model)
        onnx.checker.check_model(proto)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise HalfPrecisionError(f"not an ONNX graph: {error}") from error
    if proto.functions or any(_has_subgraph(node) for node in proto.graph.node):
        raise HalfPrecisionError("the graph holds control flow or local functions: export it without")
    proto = _folded(proto)
    _constants_to_initializers(proto.graph)
    region = _half_region(proto.graph)
    nodes = len(proto.graph.node)
    if region:
        _rewrite(proto.graph, region)
    # The stored types of inner tensors are those of the fp32 graph.
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto)
    return HalfPrecisionGraph(proto.SerializeToString(deterministic=True), len(region), nodes)


def _has_subgraph(node: onnx.NodeProto) -> bool:
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def _folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    if not any(node.op_type == "BatchNormalization" for node in proto.graph.node):
        return proto
    from onnxscript.rewriter import rewrite

    return rewrite(proto)


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes with a tensor into initializers, so that weights are found in one place."""
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        value = node.attribute[0] if node.op_type == "Constant" and node.attribute[0].name == "value" else None
        if value is None:
            kept.append(node)
        else:
            tensor = value.t
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(kept)


def _half_region(graph: onnx.GraphProto) -> frozenset[int]:
    """Return the indices of the nodes that compute in fp16; ONNX keeps nodes in topological order."""
    import onnx

    weights = {one.name: one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    constants = {one.name for one in graph.initializer}
    region: set[int] = set()
    halves: set[str] = set()
    raw = {one.name for one in graph.input}
    for index, node in enumerate(graph.node):
        if node.op_type in _SHAPES_ONLY and node.input[0] in raw:
            raw.update(node.output)
        if _is_heavy(node, weights):
            joins = node.input[0] not in raw
        elif node.op_type in _FOLLOWERS:
            inputs = [name for name in node.input if name and name not in constants]
            joins = bool(inputs) and all(name in halves for name in inputs)
        else:
            joins = False
        if joins:
            region.add(index)
            halves.update(node.output)
    return frozenset(region)


def _is_heavy(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    if len(node.input) < 2 or node.input[1] not in weights:
        return False
    size = int(np.prod(weights[node.input[1]].dims))
    return node.op_type in _CONVOLUTIONS or (node.op_type in _PRODUCTS and size >= _LARGE_MATRIX)


def _rewrite(graph: onnx.GraphProto, region: frozenset[int]) -> None:
    """Give the region fp16 weights and a cast wherever a tensor enters or leaves it."""
    import onnx

    floats = {one.name: one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    half_made = {name for index in region for name in graph.node[index].output}
    wanted_as_float = {one.name for one in graph.output} | {
        name for index, node in enumerate(graph.node) if index not in region for name in node.input
    }
    converted: dict[str, onnx.TensorProto] = {}
    cast_down: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        if index not in region:
            nodes.append(node)
            continue
        for position, name in enumerate(node.input):
            if name in floats:
                converted.setdefault(name, _half_tensor(floats[name]))
            elif name in half_made:
                node.input[position] = _half_name(name, wanted_as_float)
                continue
            elif not name or not _is_float_input(node, position):
                continue
            elif name not in cast_down:
                cast_down.add(name)
                nodes.append(_cast(name, name + _HALF_SUFFIX, onnx.TensorProto.FLOAT16))
            node.input[position] = name + _HALF_SUFFIX
        nodes.append(node)
        for position, name in enumerate(list(node.output)):
            if name in wanted_as_float:
                node.output[position] = _half_name(name, wanted_as_float)
                nodes.append(_cast(node.output[position], name, onnx.TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
    kept = [one for one in (*graph.initializer, *converted.values()) if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _half_name(name: str, wanted_as_float: set[str]) -> str:
    return name + _HALF_SUFFIX if name in wanted_as_float else name


def _is_float_input(node: onnx.NodeProto, position: int) -> bool:
    """Shapes and axes are integers: the second input of these, and nothing else that a region takes."""
    return not (position == 1 and node.op_type in {"Reshape", "Squeeze", "Unsqueeze"})


def _cast(source: str, target: str, element_type: int) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=element_type)


def _half_tensor(tensor: onnx.TensorProto) -> onnx.TensorProto:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    if not np.all(np.abs(values) <= HALF_MAX):
        raise HalfPrecisionError(f"{tensor.name}: a weight is not finite or larger than {HALF_MAX:g}, the end of fp16")
    return numpy_helper.from_array(values.astype(np.float16), tensor.name + _HALF_SUFFIX)
