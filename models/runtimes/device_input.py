"""A network's input that is already where the network runs: handed over by its address, without a copy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from braggwatch.models.runtimes.base import Runtime, RuntimeOutput


@dataclass(frozen=True, slots=True)
class DeviceBatch:
    """A volume and its mirror images in the memory of a device; who made it says how long it stays.

    Attributes
    ----------
    pointer
        Address of (copies, edge, edge, edge) float32 raw counts, C order, in the order of
        `braggwatch.models.cxdp.symmetry.symmetry_batch`; complete, no stream need be waited for.
    copies
        Volumes there; a batch of fewer begins at the same address.
    edge
        Voxels along each axis.
    device
        As CUDA numbers them: ``"cuda:0"``; ``"cpu"`` for host memory.
    owner
        Keeps the memory allocated as long as the batch is held.
    """

    pointer: int
    copies: int
    edge: int
    device: str
    owner: object = field(default=None, repr=False, compare=False)


@runtime_checkable
class DeviceRuntime(Runtime, Protocol):
    """A runtime that can read its input from device memory."""

    def run_device(self, pointer: int, batch: int) -> RuntimeOutput:
        """Run ``batch`` volumes of float32 raw counts at a device address; raises `InferenceError`."""
        ...
