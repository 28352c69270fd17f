"""Memory and order on a device, as far as an engine needs them; see :mod:`.tensorrt_memory_warp` for the real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import BraggwatchError


class DeviceError(BraggwatchError, RuntimeError):
    """The device refused or failed; the message is its own."""


class DeviceBuffer(Protocol):
    """float32 values on the device, zero at first."""

    @property
    def address(self) -> int:
        """Where they lie on the device."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Their shape, C order."""
        ...


class PinnedBuffer(Protocol):
    """float32 values on the host that the device reads and writes by itself."""

    @property
    def array(self) -> NDArray[np.float32]:
        """The values themselves."""
        ...


class CapturedWork(Protocol):
    """Work that was recorded once and is launched as one."""

    def launch(self) -> None:
        """Put it on the stream that it was captured on."""
        ...


class DeviceMemory(Protocol):
    """One stream of a device, and memory for it. Everything but :meth:`synchronise` returns at once.

    All methods raise :class:`DeviceError` where the device fails.
    """

    @property
    def stream(self) -> int:
        """Handle of the stream, as TensorRT takes it."""
        ...

    def allocate(self, shape: tuple[int, ...]) -> DeviceBuffer:
        """Allocate on the device."""
        ...

    def allocate_pinned(self, shape: tuple[int, ...]) -> PinnedBuffer:
        """Allocate on the host."""
        ...

    def upload(self, source: PinnedBuffer, target: DeviceBuffer, count: int) -> None:
        """Copy the first ``count`` values to the device."""
        ...

    def download(self, source: DeviceBuffer, target: PinnedBuffer) -> None:
        """Copy all values to the host."""
        ...

    def take(self, address: int, target: DeviceBuffer, count: int) -> None:
        """Copy ``count`` values that lie on the device already to the beginning of a buffer."""
        ...

    def wait_for(self, stream: int) -> None:
        """Begin what follows only once all that is on another stream now is done."""
        ...

    def capture(self, work: Callable[[], None]) -> CapturedWork:
        """Record what ``work`` puts on the stream, without doing it."""
        ...

    def synchronise(self) -> None:
        """Wait until all on the stream is done."""
        ...
