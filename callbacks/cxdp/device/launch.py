"""Arrays and launches on a Warp device, behind types: Warp's stubs give a kernel the type of its Python function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import warp as wp
from numpy.typing import NDArray

from braggwatch.sim.warp.warp_arrays import WarpArray

BLOCK = 256
"""Threads of a block on CUDA, the same for every launch: Warp compiles a module anew for each size."""

WarpKernel: TypeAlias = Any
WarpType: TypeAlias = Any
"""An element type of Warp, such as ``wp.float32``."""


def upload(values: NDArray[Any], kind: WarpType, device: wp.Device) -> WarpArray:
    """Copy an array of the shape and dtype that ``kind`` has on the host."""
    return wp.array(np.ascontiguousarray(values), dtype=kind, device=device)


def zeroed(shape: Sequence[int], kind: WarpType, device: wp.Device) -> WarpArray:
    """Make an array of zeros."""
    return wp.zeros(tuple(shape), dtype=kind, device=device)


def download(array: WarpArray) -> NDArray[np.float64]:
    """Copy a small float64 array to the host, waiting for what writes it."""
    return np.array(array.numpy(), dtype=np.float64)


def address(array: WarpArray) -> int:
    """Return where an array begins in its device's memory."""
    pointer: Any = array.ptr
    return int(pointer)


def page_locked(shape: Sequence[int], kind: WarpType, device: wp.Device) -> WarpArray:
    """Make host memory that ``device`` copies from and to by itself; plain memory where the device is a CPU."""
    return wp.empty(tuple(shape), dtype=kind, device="cpu", pinned=device.is_cuda)


def launch(kernel: WarpKernel, dim: Sequence[int], arguments: Sequence[object], device: wp.Device) -> None:
    """Run one thread for each element."""
    wp.launch(kernel, dim=tuple(dim), inputs=list(arguments), device=device)


def launch_blocks(kernel: WarpKernel, dim: Sequence[int], arguments: Sequence[object], device: wp.Device) -> None:
    """Run one block of `BLOCK` threads for each element; on a CPU a block is one thread."""
    wp.launch_tiled(kernel, dim=list(dim), inputs=list(arguments), block_dim=BLOCK, device=device)
