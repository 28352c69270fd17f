# ruff: noqa: A002, D102 - TensorRT's own names; what each member does, its own reference says
"""The part of TensorRT's Python interface that we use, as types, for ``tensorrt`` 10 and 11 and ``tensorrt_rtx``.

Each class is named like TensorRT's own and declares only what is used, so the type checker refuses anything else, and a
test compares every member with the installed module and with the interfaces of other versions. Classes and members that
one flavour alone has stand in classes whose names begin with ``Rtx`` or ``Full``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class IHostMemory(Protocol):
    """Bytes that TensorRT owns; offers the buffer protocol."""

    @property
    def nbytes(self) -> int: ...

    def __buffer__(self, flags: int, /) -> memoryview: ...


class Severity(Protocol):
    """Level of a message."""

    @property
    def name(self) -> str: ...


class ILogger(Protocol):
    """Where TensorRT's messages go; ours derives from it."""

    def log(self, severity: Severity, msg: str) -> None: ...


class IOptimizationProfile(Protocol):
    """Smallest, most common and largest shape of the inputs."""

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None: ...


class ITensor(Protocol):
    """A tensor of a network."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Iterator[int]: ...


class INetworkDefinition(Protocol):
    """A network while it is built."""

    @property
    def num_inputs(self) -> int: ...
    @property
    def num_outputs(self) -> int: ...
    def get_input(self, index: int) -> ITensor: ...
    def get_output(self, index: int) -> ITensor: ...


class ITimingCache(Protocol):
    """What the builder measured of kernels."""

    def serialize(self) -> IHostMemory: ...


class IBuilderConfig(Protocol):
    """How a plan is built."""

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int: ...


class FullBuilderConfig(IBuilderConfig, Protocol):
    """The configuration of full TensorRT: kernels are timed on the device."""

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> ITimingCache | None: ...


class RtxBuilderConfig(IBuilderConfig, Protocol):
    """The configuration of TensorRT-RTX: the device may be named instead of present."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: object, index: int) -> bool: ...


class Builder(Protocol):
    """Makes plans."""

    def create_network(self, flags: int) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...
    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None: ...


class ParserError(Protocol):
    """One thing that the parser could not take."""

    def desc(self) -> str: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class OnnxParser(Protocol):
    """Reads ONNX into a network."""

    @property
    def num_errors(self) -> int: ...
    def get_error(self, index: int) -> ParserError: ...
    def parse(self, model: bytes) -> bool: ...
    def supports_model_v2(self, model: bytes) -> bool: ...


class IExecutionContext(Protocol):
    """One engine at one profile with its own scratch memory."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool: ...
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class RtxExecutionContext(IExecutionContext, Protocol):
    """The context of TensorRT-RTX, which may still have kernels to compile."""

    def is_stream_capturable(self, stream: int) -> bool: ...


class IRuntimeCache(Protocol):
    """Kernels that TensorRT-RTX compiled for this device."""

    def serialize(self) -> IHostMemory: ...
    def deserialize(self, blob: bytes) -> bool: ...


class RtxRuntimeConfig(Protocol):
    """How an execution context is made, with a cache of compiled kernels."""

    dynamic_shapes_kernel_specialization_strategy: object

    def create_runtime_cache(self) -> IRuntimeCache: ...
    def set_runtime_cache(self, cache: IRuntimeCache) -> bool: ...


class ICudaEngine(Protocol):
    """A plan that was loaded onto the device."""

    @property
    def num_io_tensors(self) -> int: ...
    @property
    def num_optimization_profiles(self) -> int: ...
    @property
    def device_memory_size_v2(self) -> int: ...
    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> object: ...
    def get_tensor_dtype(self, name: str) -> object: ...
    def get_tensor_shape(self, name: str) -> Iterator[int]: ...
    def create_execution_context(self) -> IExecutionContext | None: ...


class RtxCudaEngine(ICudaEngine, Protocol):
    """An engine of TensorRT-RTX, whose kernels are compiled when a context is made."""

    def create_runtime_config(self) -> RtxRuntimeConfig: ...
    def create_execution_context(self, runtime_config: RtxRuntimeConfig | None = None) -> IExecutionContext | None: ...


class Runtime(Protocol):
    """Loads plans."""

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None: ...


class RtxRuntime(Runtime, Protocol):
    """The same, and whether it would load one."""

    def get_engine_validity(self, buffer: bytes) -> tuple[object, int]: ...
