"""TensorRT behind the interface of every runtime: a loaded plan, fixed buffers for each batch size, one stream."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.runtimes.base import (
    OUTPUT_NAMES,
    InferenceError,
    RuntimeOutput,
    RuntimeUnavailableError,
    check_batch,
)
from braggwatch.models.runtimes.tensorrt_api import TensorRt
from braggwatch.models.runtimes.tensorrt_buffers import BatchBuffers, TensorLayout, split_batch
from braggwatch.models.runtimes.tensorrt_memory import DeviceError, DeviceMemory
from braggwatch.models.runtimes.tensorrt_types import ICudaEngine

# fp16 has a relative resolution of 1e-3; the bundles in use differ by 3e-3 in a logit.
HALF_TOLERANCE = 1e-2


class TensorRtRuntime:
    """Runs one engine. Safe to call from several threads, which take turns.

    Parameters
    ----------
    api
        The TensorRT that built the plan.
    plan
        Bytes of the engine.
    batches
        Batch sizes of its profiles, in their order.
    memory
        A stream and its memory; a driver must be there (:func:`.cuda_probe.find_device`).
    compiled
        Kernels that TensorRT-RTX compiled at an earlier start (:attr:`compiled_kernels`), or None.

    Raises
    ------
    RuntimeUnavailableError
        If the plan can't be loaded here, hasn't the inputs and outputs of a bundle, or its first run fails.
    """

    def __init__(
        self,
        api: TensorRt,
        plan: bytes,
        batches: tuple[int, ...],
        memory: DeviceMemory,
        compiled: bytes | None = None,
    ) -> None:
        self._api, self._memory, self._batches = api, memory, batches
        self._lock = threading.Lock()
        self._runtime = api.runtime()
        problem = api.plan_problem(self._runtime, plan)
        if problem is not None:
            raise RuntimeUnavailableError(
                f"{api.flavour} {api.version} does not take its plan on this device: {problem}"
            )
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise RuntimeUnavailableError(f"{api.flavour} {api.version} can't load its plan: {api.messages.take()}")
        if engine.num_optimization_profiles != len(batches):
            raise RuntimeUnavailableError(
                f"the plan has {engine.num_optimization_profiles} profiles, not those of batches {batches}"
            )
        self._engine = engine
        self._layout = read_layout(api, engine)
        self._cache = api.runtime_cache(engine, compiled)
        try:
            self._buffers = {batch: self._open(index, batch) for index, batch in enumerate(batches)}
        except (DeviceError, InferenceError) as error:
            raise RuntimeUnavailableError(f"{api.flavour} {api.version} loads but does not run: {error}") from error

    def _open(self, profile: int, batch: int) -> BatchBuffers:
        context = self._api.execution_context(self._engine, self._cache)
        if context is None or not context.set_optimization_profile_async(profile, self._memory.stream):
            raise InferenceError(f"no execution context for batches of {batch}: {self._api.messages.take()}")
        return BatchBuffers(batch, context, self._layout, self._memory, self._api)

    @property
    def name(self) -> str:
        """'tensorrt' or 'tensorrt-rtx'."""
        return self._api.flavour

    @property
    def version(self) -> str:
        """Version of TensorRT."""
        return self._api.version

    @property
    def golden_tolerance(self) -> float:
        """What fp16 may cost a golden logit or probability."""
        return HALF_TOLERANCE

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes with buffers of their own."""
        return self._batches

    @property
    def captured(self) -> bool:
        """Whether every batch size replays a CUDA graph."""
        return all(one.captured for one in self._buffers.values())

    @property
    def device_memory_bytes(self) -> int:
        """Scratch memory of one execution context on the device."""
        return int(self._engine.device_memory_size_v2)

    @property
    def compiled_kernels(self) -> bytes | None:
        """What TensorRT-RTX compiled for this device, to start faster the next time; None for full TensorRT."""
        return None if self._cache is None else bytes(memoryview(self._cache.serialize()))

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        """Run a batch that lies on the host.

        Parameters
        ----------
        batch
            (B, ...) float32 of the graph's input shape, B ≥ 1; any B, see :func:`.split_batch`.

        Raises
        ------
        InferenceError
            If the batch has another shape or dtype, or TensorRT or the device fails.
        """
        check_batch(batch, self._layout.input_shape)
        with self._lock, _inference_errors(self.name):
            return _joined(
                [
                    self._buffers[one.batch].run_host(batch[one.start : one.start + one.count])
                    for one in split_batch(len(batch), self._batches)
                ]
            )

    def run_device(self, pointer: int, batch: int, stream: int | None = None) -> RuntimeOutput:
        """Run a batch that lies on the device already.

        Parameters
        ----------
        pointer
            Address of (B, ...) float32 raw counts in C order on the device.
        batch
            B, at least 1.
        stream
            Stream that fills them: what is on it now is waited for, on the device. None: they are complete.

        Raises
        ------
        InferenceError
            If there is no address or sample, or TensorRT or the device fails.
        """
        if not pointer or batch < 1:
            raise InferenceError(f"nothing to run: {batch} samples at address {pointer:#x}")
        sample_bytes = 4 * int(np.prod(self._layout.input_shape))
        with self._lock, _inference_errors(self.name):
            if stream is not None:
                self._memory.wait_for(stream)
            return _joined(
                [
                    self._buffers[one.batch].run_device(pointer + one.start * sample_bytes, one.count)
                    for one in split_batch(batch, self._batches)
                ]
            )


def read_layout(api: TensorRt, engine: ICudaEngine) -> TensorLayout:
    """Read an engine's tensors; raises :class:`RuntimeUnavailableError` where they aren't those of a bundle."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs: list[str] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = tuple(int(size) for size in engine.get_tensor_shape(name))
        if not shape or any(size < 1 for size in shape[1:]) or not api.is_float(engine, name):
            raise RuntimeUnavailableError(f"tensor {name!r} of shape {shape} isn't float32, dynamic in the batch alone")
        shapes[name] = shape[1:]
        if api.is_input(engine, name):
            inputs.append(name)
    if len(inputs) != 1 or not set(OUTPUT_NAMES) <= set(shapes):
        raise RuntimeUnavailableError(f"the engine must map one input to {OUTPUT_NAMES}, it has {sorted(shapes)}")
    outputs = {name: shape for name, shape in shapes.items() if name != inputs[0]}
    return TensorLayout(inputs[0], shapes[inputs[0]], outputs)


def _joined(parts: list[dict[str, NDArray[np.float32]]]) -> RuntimeOutput:
    logits, probabilities, features = (np.concatenate([part[name] for part in parts]) for name in OUTPUT_NAMES)
    return RuntimeOutput(logits, probabilities, features)


@contextmanager
def _inference_errors(name: str) -> Generator[None]:
    try:
        yield
    except DeviceError as error:
        raise InferenceError(f"{name}: the device failed: {error}") from error
