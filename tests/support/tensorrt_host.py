"""TensorRT's contract on a machine without a device: engines are really built, and run by ONNX Runtime on the host.

What a device would do later is done late here too: copies and runs wait in a queue until somebody synchronises, and a
capture records instead of doing.
"""

from __future__ import annotations

import ctypes
import itertools
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from braggwatch.models.runtimes.base import RuntimeUnavailableError
from braggwatch.models.runtimes.tensorrt_api import TensorRt, load_tensorrt
from braggwatch.models.runtimes.tensorrt_memory import DeviceBuffer, DeviceError, PinnedBuffer
from braggwatch.models.runtimes.tensorrt_types import INetworkDefinition, OnnxParser

_STREAMS: dict[int, HostMemory] = {}
_HANDLES = itertools.count(1)


def view(address: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Look at float32 values by their address."""
    size = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * size).from_address(address)).reshape(shape)


@dataclass
class HostBuffer:
    array: NDArray[np.float32]

    @property
    def address(self) -> int:
        return self.array.ctypes.data

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape


def _here(buffer: DeviceBuffer) -> NDArray[np.float32]:
    """The values of what stands for a buffer on the device."""
    assert isinstance(buffer, HostBuffer)
    return buffer.array


@dataclass
class HostWork:
    memory: HostMemory
    steps: list[Callable[[], None]]

    def launch(self) -> None:
        self.memory.log.append("launch")
        self.memory.queue.extend(self.steps)


@dataclass
class HostMemory:
    """A stream that does nothing before it must."""

    capturable: bool = True
    queue: list[Callable[[], None]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    allocated: int = 0
    recording: list[Callable[[], None]] | None = None
    fail: Exception | None = None
    stream: int = field(default_factory=lambda: next(_HANDLES))

    def __post_init__(self) -> None:
        _STREAMS[self.stream] = self

    def submit(self, name: str, step: Callable[[], None]) -> None:
        if self.recording is not None:
            self.recording.append(step)
            return
        self.log.append(name)
        self.queue.append(step)

    def allocate(self, shape: tuple[int, ...]) -> HostBuffer:
        self.allocated += 1
        return HostBuffer(np.zeros(shape, np.float32))

    allocate_pinned = allocate

    def upload(self, source: PinnedBuffer, target: DeviceBuffer, count: int) -> None:
        there = _here(target)

        def step() -> None:
            there.reshape(-1)[:count] = source.array.reshape(-1)[:count]

        self.submit("upload", step)

    def download(self, source: DeviceBuffer, target: PinnedBuffer) -> None:
        there = _here(source)
        self.submit("download", lambda: np.copyto(target.array, there))

    def take(self, address: int, target: DeviceBuffer, count: int) -> None:
        there = _here(target)

        def step() -> None:
            there.reshape(-1)[:count] = view(address, (count,))

        self.submit("take", step)

    def wait_for(self, stream: int) -> None:
        self.submit("wait", _STREAMS[stream].synchronise)

    def capture(self, work: Callable[[], None]) -> HostWork:
        if not self.capturable:
            raise DeviceError("operation not permitted when stream is capturing")
        self.recording = []
        try:
            work()
        finally:
            steps, self.recording = self.recording, None
        return HostWork(self, steps)

    def synchronise(self) -> None:
        self.log.append("synchronise")
        if self.fail is not None:
            raise DeviceError(str(self.fail))
        waiting, self.queue = self.queue, []
        for step in waiting:
            step()


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.addresses, self.batch, self.profile = engine, {}, 0, -1

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self.profile = profile_index
        return stream_handle in _STREAMS

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.batch = shape[0]
        return shape[0] == self.engine.batches[self.profile] and shape[1:] == self.engine.tails[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert name not in self.addresses, "addresses are told once"
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self.engine.api.refuse:
            self.engine.api.messages.errors.append("illegal memory access")
            return False
        _STREAMS[stream_handle].submit("run", self._run)
        return True

    def _run(self) -> None:
        engine = self.engine
        batch = view(self.addresses[engine.input], (self.batch, *engine.tails[engine.input])).copy()
        outputs = engine.session.run(engine.outputs, {engine.input: batch})
        for name, value in zip(engine.outputs, outputs, strict=True):
            shift = engine.shift if name == "logits" else 0.0
            assert isinstance(value, np.ndarray)
            view(self.addresses[name], value.shape)[:] = value + np.float32(shift)


class _Engine:
    def __init__(self, api: HostTensorRt, shift: float) -> None:
        self.api, self.batches, self.shift = api, api.batches, shift
        self.session = onnxruntime.InferenceSession(api.model, providers=["CPUExecutionProvider"])
        described = (*self.session.get_inputs(), *self.session.get_outputs())
        self.tails = {one.name: tuple(one.shape[1:]) for one in described}
        self.input = self.session.get_inputs()[0].name
        self.outputs = [one.name for one in self.session.get_outputs()]
        self.num_io_tensors, self.num_optimization_profiles = len(self.tails), len(self.batches)
        self.device_memory_size_v2 = 0

    def get_tensor_name(self, index: int) -> str:
        return [self.input, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == self.input else "output"

    def get_tensor_dtype(self, name: str) -> str:
        return "float"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.tails[name])

    def create_execution_context(self) -> _Context:
        return _Context(self)


class HostTensorRt(TensorRt):
    """Builds with TensorRT-RTX where a test builds; what it loads, ONNX Runtime runs.

    Parameters
    ----------
    model
        The graph behind every plan.
    batches
        Profiles of every plan.
    shifts
        What is added to the logits by the first, second, ... engine that is loaded; nothing by later ones.
    version
        That it claims to be.
    """

    def __init__(
        self, model: bytes, batches: tuple[int, ...], shifts: tuple[float, ...] = (), version: str = "11.4.0"
    ) -> None:
        module = types.ModuleType("tensorrt_host")
        module.__dict__.update(
            __version__=version,
            ILogger=object,
            TensorIOMode=types.SimpleNamespace(INPUT="input", OUTPUT="output"),
            DataType=types.SimpleNamespace(FLOAT="float"),
        )
        super().__init__("tensorrt", module)
        self.model, self.batches, self.shifts = model, batches, list(shifts)
        self.refuse = False
        self.loaded: list[bytes] = []
        self.built = 0

    def runtime(self) -> Any:
        return types.SimpleNamespace(deserialize_cuda_engine=self._load)

    def _load(self, plan: bytes) -> _Engine | None:
        if not plan.startswith(b"vtrt") and not plan.startswith(b"ftrt"):
            self.messages.errors.append("magic tag does not match")
            return None
        self.loaded.append(plan)
        return _Engine(self, self.shifts.pop(0) if self.shifts else 0.0)

    def builder(self) -> Any:
        """Build for real: the plan is TensorRT-RTX's for a named device."""
        self.built += 1
        real = rtx()
        builder: Any = real.builder()
        self._real = real

        def create_builder_config():
            config = builder.create_builder_config()
            config.num_compute_capabilities = 1
            assert config.set_compute_capability(real.compute_capability("SM86"), 0)
            return _WithoutTimings(config)

        return types.SimpleNamespace(
            real=builder,
            create_network=builder.create_network,
            create_builder_config=create_builder_config,
            create_optimization_profile=builder.create_optimization_profile,
            build_serialized_network=lambda network, config: builder.build_serialized_network(network, config.config),
        )

    def network(self, builder: Any) -> INetworkDefinition:
        return self._real.network(builder.real)

    def parser(self, network: INetworkDefinition) -> OnnxParser:
        return self._real.parser(network)


class _WithoutTimings:
    """A configuration whose timing cache counts how often it was used."""

    def __init__(self, config: Any) -> None:
        self.config, self.content = config, b""

    def add_optimization_profile(self, profile: object) -> int:
        return self.config.add_optimization_profile(profile)

    def create_timing_cache(self, serialized_timing_cache: bytes):
        return types.SimpleNamespace(serialize=lambda: serialized_timing_cache + b"timed")

    def set_timing_cache(self, cache: object, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache


def rtx() -> TensorRt:
    """Return the installed TensorRT-RTX; skips the test where there is none."""
    try:
        return load_tensorrt("tensorrt-rtx")
    except RuntimeUnavailableError as error:
        pytest.skip(f"no TensorRT-RTX to build with: {error}")
