"""Fixed buffers of one batch size around an execution context, and how any number of samples is put into them."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.runtimes.base import InferenceError
from braggwatch.models.runtimes.tensorrt_api import TensorRt
from braggwatch.models.runtimes.tensorrt_memory import CapturedWork, DeviceError, DeviceMemory
from braggwatch.models.runtimes.tensorrt_types import IExecutionContext

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some samples of a batch and the buffers that they go into.

    Attributes
    ----------
    start, count
        Which samples.
    batch
        Batch size of the buffers, at least ``count``.
    """

    start: int
    count: int
    batch: int


def split_batch(count: int, batches: tuple[int, ...]) -> tuple[Chunk, ...]:
    """Cut ``count`` samples into chunks of the largest batch size; the rest goes into the smallest that holds it.

    Parameters
    ----------
    count
        At least 1.
    batches
        Batch sizes that there are buffers for, in any order.
    """
    if count < 1 or not batches:
        raise ValueError(f"no way to put {count} samples into batches of {batches}")
    largest = max(batches)
    chunks = [Chunk(start, largest, largest) for start in range(0, count - count % largest, largest)]
    rest = count % largest
    if rest:
        chunks.append(Chunk(count - rest, rest, min(size for size in batches if size >= rest)))
    return tuple(chunks)


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """Names and shapes of an engine's tensors, without the batch axis.

    Attributes
    ----------
    input_name, input_shape
        The one input.
    outputs
        Shape by name.
    """

    input_name: str
    input_shape: tuple[int, ...]
    outputs: dict[str, tuple[int, ...]]


class BatchBuffers:
    """Device and host buffers of one batch size, whose addresses the context is told once.

    Not safe to call from several threads: the runtime that owns it takes turns.

    Parameters
    ----------
    batch
        Batch size; fewer samples leave what was there before in the rest, which no output of theirs depends on.
    context
        At the profile of this batch size, on ``memory``'s stream.
    layout
        Names and shapes.
    memory
        Where the buffers lie.
    api
        The TensorRT that the context is from.

    Raises
    ------
    InferenceError
        If the context refuses a shape or address, or its first run fails.
    DeviceError
        If the device has no room.
    """

    def __init__(
        self, batch: int, context: IExecutionContext, layout: TensorLayout, memory: DeviceMemory, api: TensorRt
    ) -> None:
        self._context, self._memory, self._api = context, memory, api
        self._sample = math.prod(layout.input_shape)
        self._host_in = memory.allocate_pinned((batch, *layout.input_shape))
        self._device_in = memory.allocate((batch, *layout.input_shape))
        self._host_out = {name: memory.allocate_pinned((batch, *tail)) for name, tail in layout.outputs.items()}
        self._device_out = {name: memory.allocate((batch, *tail)) for name, tail in layout.outputs.items()}
        if not context.set_input_shape(layout.input_name, (batch, *layout.input_shape)):
            raise InferenceError(f"TensorRT refuses batches of {batch}: {api.messages.take()}")
        for name, buffer in ((layout.input_name, self._device_in), *self._device_out.items()):
            if not context.set_tensor_address(name, buffer.address):
                raise InferenceError(f"TensorRT refuses the buffer of {name!r}: {api.messages.take()}")
        self._graph = self._capture(batch)

    @property
    def captured(self) -> bool:
        """Whether a CUDA graph is replayed, instead of putting each kernel on the stream anew."""
        return self._graph is not None

    def run_host(self, samples: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run (C, ...) float32 samples, C at most the batch size; returns copies of the outputs, by name."""
        count = len(samples)
        self._host_in.array[:count] = samples
        self._memory.upload(self._host_in, self._device_in, count * self._sample)
        return self._finish(count)

    def run_device(self, address: int, count: int) -> dict[str, NDArray[np.float32]]:
        """Run ``count`` samples that lie on the device in C order; returns copies of the outputs, by name."""
        self._memory.take(address, self._device_in, count * self._sample)
        return self._finish(count)

    def _finish(self, count: int) -> dict[str, NDArray[np.float32]]:
        if self._graph is None:
            self._work()
        else:
            self._graph.launch()
        self._memory.synchronise()
        return {name: buffer.array[:count].copy() for name, buffer in self._host_out.items()}

    def _work(self) -> None:
        """Put inference and the way back of its outputs on the stream; this is what a CUDA graph holds."""
        if not self._context.execute_async_v3(self._memory.stream):
            raise InferenceError(f"TensorRT could not run: {self._api.messages.take()}")
        for name, buffer in self._device_out.items():
            self._memory.download(buffer, self._host_out[name])

    def _capture(self, batch: int) -> CapturedWork | None:
        # The first run allocates and compiles, which a capture must not.
        self._work()
        self._memory.synchronise()
        if not self._api.can_capture(self._context, self._memory.stream):
            logger.info("batches of %d run without a CUDA graph: the engine can't be captured", batch)
            return None
        try:
            return self._memory.capture(self._work)
        except (DeviceError, InferenceError) as error:
            logger.warning("batches of %d run without a CUDA graph: %s", batch, error)
            return None
