"""What a network must at least move and compute, and how long that takes at best: nothing can be faster than this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    import onnx

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_PRODUCTS = frozenset({"Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class GraphCost:
    """Smallest work of one run of a graph.

    Attributes
    ----------
    flops
        Multiplications and additions of convolutions and matrix products.
    bytes
        Inputs and weights read once, outputs written once; anything between could stay on the chip.
    """

    flops: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DevicePeak:
    """What a device's maker promises.

    Attributes
    ----------
    flops_per_s
        fp16 tensor cores with fp32 accumulation, dense.
    bytes_per_s
        Device memory.
    """

    flops_per_s: float
    bytes_per_s: float

    def floor_s(self, cost: GraphCost) -> float:
        """Seconds below which no implementation can run: the longer of computing and moving."""
        return max(cost.flops / self.flops_per_s, cost.bytes / self.bytes_per_s)


# From NVIDIA's data sheets of these products: dense fp16 tensor throughput and memory bandwidth.
_PEAKS = {
    "H200": DevicePeak(989e12, 4.8e12),
    "H100 80GB HBM3": DevicePeak(989e12, 3.35e12),
    "A100-SXM4-80GB": DevicePeak(312e12, 2.039e12),
    "A100-SXM4-40GB": DevicePeak(312e12, 1.555e12),
    "L40S": DevicePeak(362e12, 0.864e12),
}


def known_peak(device_name: str) -> DevicePeak | None:
    """Return the promised peaks of a device by its name in the driver, None where it isn't listed here."""
    return next((peak for part, peak in _PEAKS.items() if part in device_name), None)


def graph_cost(model: bytes, batch: int = 1) -> GraphCost:
    """Count the least work of a graph for a batch.

    Parameters
    ----------
    model
        Bytes of the ONNX graph; weights count at their stored size, so an fp16 graph moves less.
    batch
        Put in place of a dynamic first axis.

    Raises
    ------
    ValueError
        If the shape of a layer isn't known even then.
    ImportError
        Without the package ``onnx``.
    """
    import onnx
    from onnx import helper

    proto = onnx.load_from_string(model)
    for tensor in (*proto.graph.input, *proto.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = batch
    graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {
        one.name: tuple(size.dim_value for size in one.type.tensor_type.shape.dim)
        for one in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {one.name: tuple(one.dims) for one in graph.initializer}
    flops = sum(_node_flops(node, shapes) for node in graph.node)
    moved = sum(
        _size(shapes[one.name]) * helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type).itemsize
        for one in (*graph.input, *graph.output)
    )
    weights = sum(
        _size(tuple(one.dims)) * helper.tensor_dtype_to_np_dtype(one.data_type).itemsize for one in graph.initializer
    )
    return GraphCost(flops, moved + weights)


def _node_flops(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type not in _CONVOLUTIONS | _PRODUCTS:
        return 0
    source, weight, target = shapes.get(node.input[0]), shapes.get(node.input[1]), shapes.get(node.output[0])
    if not source or not weight or not target or 0 in (*source, *weight, *target):
        raise InputError(f"the shapes of {node.op_type} {node.name!r} aren't known")
    if node.op_type == "Conv":
        return 2 * _size(target) * _size(weight[1:])
    if node.op_type == "ConvTranspose":
        return 2 * _size(source) * _size(weight[1:])
    transposed = any(one.name == "transA" and one.i for one in node.attribute)
    return 2 * _size(target) * (source[-2] if transposed else source[-1])


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
