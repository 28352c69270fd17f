"""Arrays on a Warp device under one static type: Warp's stubs cover few of its own element types."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import warp as wp
from numpy.typing import NDArray

WarpArray: TypeAlias = "wp.array[Any, Any]"
WarpStruct: TypeAlias = Any
"""An instance of a `warp.struct`, which is created at run time and has no static type."""


def ints(values: NDArray[Any], device: wp.Device) -> WarpArray:
    """Copy integers or truth values (N,) as int32."""
    return wp.array(np.asarray(values, dtype=np.int32), dtype=wp.int32, device=device)


def vectors(values: NDArray[np.float64], device: wp.Device) -> WarpArray:
    """Copy (N, 3) or (N, 4) as N vectors of float64."""
    kind: Any = {3: wp.vec3d, 4: wp.vec4d}[values.shape[1]]
    return wp.array(np.ascontiguousarray(values, dtype=np.float64), dtype=kind, device=device)


def zeros(count: int, kind: Any, device: wp.Device) -> WarpArray:
    """Return ``count`` zeros."""
    return wp.zeros(count, dtype=kind, device=device)
