"""A graph whose large weights are kept in half precision and computed with in single: half the size, the same speed.

Runtimes cast the weights once, when they open the graph. To compute in half precision is
`braggwatch.models.bundling.half_precision`'s.
"""

from __future__ import annotations

import numpy as np

_LEAST_ELEMENTS = 4096


def in_half_storage(model: bytes) -> bytes:
    """Keep those large weights in half precision that it holds exactly; outputs stay the same to the last bit.

    Parameters
    ----------
    model
        An ONNX graph. Round weights before it is exported, or nothing is exact.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.size < _LEAST_ELEMENTS or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
        graph.node.insert(
            0, helper.make_node("Cast", [tensor.name], [name], name=f"{name}_single", to=TensorProto.FLOAT)
        )
    onnx.checker.check_model(proto)
    return proto.SerializeToString()
