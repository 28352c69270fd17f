"""Memory, streams and CUDA graphs through NVIDIA Warp, which runs our own kernels too: both share a device."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.runtimes.base import RuntimeUnavailableError
from braggwatch.models.runtimes.tensorrt_memory import CapturedWork, DeviceBuffer, DeviceError, PinnedBuffer

if TYPE_CHECKING:
    import warp


@dataclass(frozen=True, slots=True)
class WarpBuffer:
    """An array of Warp on the device."""

    values: warp.array[warp.float32, int]

    @property
    def address(self) -> int:
        """Where it lies."""
        return int(self.values.ptr or 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(int(size) for size in self.values.shape)


@dataclass(frozen=True, slots=True)
class WarpPinned:
    """A page-locked array of Warp on the host, and numpy's view of it."""

    values: warp.array[warp.float32, int]
    array: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WarpGraph:
    """A CUDA graph."""

    graph: warp.Graph
    stream: warp.Stream

    def launch(self) -> None:
        """Put it on its stream."""
        import warp

        with _device_errors():
            warp.capture_launch(self.graph, stream=self.stream)


class WarpMemory:
    """One stream of a CUDA device.

    Parameters
    ----------
    device
        As Warp names it, e.g. 'cuda:0'.

    Raises
    ------
    RuntimeUnavailableError
        If Warp isn't installed or sees no such device.
    """

    def __init__(self, device: str = "cuda:0") -> None:
        try:
            import warp
        except ImportError as error:
            raise RuntimeUnavailableError(
                f"warp-lang isn't installed ({error}): pip install 'braggwatch[gpu]'"
            ) from error
        try:
            self._device = warp.get_device(device)
            self._stream = warp.Stream(self._device)
        except (RuntimeError, ValueError) as error:
            raise RuntimeUnavailableError(f"Warp can't use {device}: {error}") from error

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return int(self._stream.cuda_stream)

    def allocate(self, shape: tuple[int, ...]) -> WarpBuffer:
        """Allocate zeros on the device."""
        import warp

        with _device_errors():
            buffer = WarpBuffer(warp.zeros(shape, dtype=warp.float32, device=self._device))
            warp.synchronize_device(self._device)
            return buffer

    def allocate_pinned(self, shape: tuple[int, ...]) -> WarpPinned:
        """Allocate page-locked zeros on the host."""
        import warp

        with _device_errors():
            values = warp.zeros(shape, dtype=warp.float32, device="cpu", pinned=True)
        return WarpPinned(values, cast("NDArray[np.float32]", values.numpy()))

    def upload(self, source: PinnedBuffer, target: DeviceBuffer, count: int) -> None:
        """Copy the first values to the device."""
        self._copy(_flat(cast(WarpPinned, source).values), _flat(cast(WarpBuffer, target).values), count)

    def download(self, source: DeviceBuffer, target: PinnedBuffer) -> None:
        """Copy all values to the host."""
        values = cast(WarpBuffer, source).values
        self._copy(_flat(values), _flat(cast(WarpPinned, target).values), int(values.size))

    def take(self, address: int, target: DeviceBuffer, count: int) -> None:
        """Copy values within the device."""
        import warp

        with _device_errors():
            given = warp.array(ptr=address, dtype=warp.float32, shape=(count,), device=self._device)
        self._copy(given, _flat(cast(WarpBuffer, target).values), count)

    def wait_for(self, stream: int) -> None:
        """Order this stream behind another."""
        import warp

        with _device_errors():
            self._stream.wait_stream(warp.Stream(self._device, cuda_stream=stream))

    def capture(self, work: Callable[[], None]) -> CapturedWork:
        """Record a CUDA graph."""
        import warp

        with _device_errors():
            warp.capture_begin(stream=self._stream, force_module_load=False)
            try:
                work()
            finally:
                graph = warp.capture_end(stream=self._stream)
        return WarpGraph(graph, self._stream)

    def synchronise(self) -> None:
        """Wait for the stream."""
        import warp

        with _device_errors():
            warp.synchronize_stream(self._stream)

    def _copy(self, source: warp.array[warp.float32, int], target: warp.array[warp.float32, int], count: int) -> None:
        import warp

        with _device_errors():
            warp.copy(target, source, count=count, stream=self._stream)


def _flat(values: warp.array[warp.float32, int]) -> warp.array[warp.float32, int]:
    return values.flatten()


@contextmanager
def _device_errors() -> Generator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if isinstance(error, DeviceError):
            raise
        raise DeviceError(str(error)) from error
