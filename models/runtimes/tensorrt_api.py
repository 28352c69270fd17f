"""TensorRT as it is installed here: one door to ``tensorrt`` 10 and 11 and to ``tensorrt_rtx``.

Nothing but this file touches the module itself. What the flavours do differently is asked of :class:`TensorRt`.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections import deque
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal, cast

from braggwatch.models.runtimes.base import RuntimeUnavailableError
from braggwatch.models.runtimes.tensorrt_types import (
    Builder,
    ICudaEngine,
    IExecutionContext,
    INetworkDefinition,
    IRuntimeCache,
    OnnxParser,
    RtxCudaEngine,
    RtxExecutionContext,
    RtxRuntime,
    Runtime,
    Severity,
)

logger = logging.getLogger(__name__)

Flavour = Literal["tensorrt", "tensorrt-rtx"]
FLAVOURS: tuple[Flavour, ...] = ("tensorrt", "tensorrt-rtx")

# NVIDIA's wheels name the module without the package that usually re-exports it, so both are tried.
_MODULES: dict[Flavour, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_OLDEST: dict[Flavour, int] = {"tensorrt": 10, "tensorrt-rtx": 1}
_KEPT_MESSAGES = 8


@dataclass(slots=True)
class Messages:
    """The last errors that TensorRT logged: it returns None or False and says why only there."""

    errors: deque[str] = field(default_factory=lambda: deque[str](maxlen=_KEPT_MESSAGES))

    def take(self) -> str:
        """Return and forget them, the last one last; 'it said nothing' where there are none."""
        text = "; ".join(self.errors) or "it said nothing"
        self.errors.clear()
        return text

    def hear(self, severity: Severity, message: str) -> None:
        """Keep an error for the exception that follows; pass anything else on to logging."""
        if severity.name in {"ERROR", "INTERNAL_ERROR"}:
            self.errors.append(message.strip())
        logger.log(logging.INFO if severity.name == "WARNING" else logging.DEBUG, "TensorRT: %s", message.strip())


class TensorRt:
    """An installed TensorRT.

    Parameters
    ----------
    flavour
        Which one.
    module
        Its Python module.

    Raises
    ------
    RuntimeUnavailableError
        If it is older than what this code drives.
    """

    def __init__(self, flavour: Flavour, module: ModuleType) -> None:
        self.flavour: Flavour = flavour
        self.version = str(getattr(module, "__version__", "0"))
        if not self.version.split(".")[0].isdigit() or int(self.version.split(".")[0]) < _OLDEST[flavour]:
            raise RuntimeUnavailableError(
                f"{flavour} {self.version} is too old, version {_OLDEST[flavour]} or newer is needed"
            )
        self._module = module
        self.messages = Messages()
        self._logger = _make_logger(module, self.messages)

    @property
    def is_rtx(self) -> bool:
        """Whether this is TensorRT-RTX, which builds without a device and compiles its kernels when loaded."""
        return self.flavour == "tensorrt-rtx"

    def builder(self) -> Builder:
        """Make a builder; safe without a driver for TensorRT-RTX alone."""
        return cast(Builder, self._module.Builder(self._logger))

    def network(self, builder: Builder) -> INetworkDefinition:
        """Make an empty network whose precision is the graph's."""
        return builder.create_network(1 << int(self._module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))

    def parser(self, network: INetworkDefinition) -> OnnxParser:
        """Make an ONNX parser for a network."""
        return cast(OnnxParser, self._module.OnnxParser(network, self._logger))

    def compute_capability(self, name: str | None) -> object:
        """Return TensorRT-RTX's member for 'SM86' and the like; None stands for the device that is here."""
        members: dict[str, object] = dict(self._module.ComputeCapability.__members__)
        wanted = "CURRENT" if name is None else name
        if wanted not in members or wanted == "NONE":
            known = [one for one in members if one.startswith("SM")]
            raise RuntimeUnavailableError(f"{self.flavour} {self.version} doesn't build for {wanted}, but for {known}")
        return members[wanted]

    def runtime(self) -> Runtime:
        """Make what loads plans; never without a driver (:func:`.cuda_probe.find_device`)."""
        return cast(Runtime, self._module.Runtime(self._logger))

    def is_input(self, engine: ICudaEngine, name: str) -> bool:
        """Whether a tensor of an engine is one of its inputs."""
        return engine.get_tensor_mode(name) == self._module.TensorIOMode.INPUT

    def is_float(self, engine: ICudaEngine, name: str) -> bool:
        """Whether a tensor of an engine holds float32."""
        return engine.get_tensor_dtype(name) == self._module.DataType.FLOAT

    def plan_problem(self, runtime: Runtime, plan: bytes) -> str | None:
        """Return why TensorRT-RTX would not load a plan here, None where it would; full TensorRT can't be asked."""
        if not self.is_rtx:
            return None
        validity, bits = cast(RtxRuntime, runtime).get_engine_validity(plan)
        if validity != self._module.EngineValidity.INVALID:
            return None
        members = self._module.EngineInvalidityDiagnostics.__members__
        found = [name for name, bit in members.items() if int(bits) & int(bit)]
        return " and ".join(found) or self.messages.take()

    def execution_context(self, engine: ICudaEngine, cache: IRuntimeCache | None) -> IExecutionContext | None:
        """Make a context, None where that fails; TensorRT-RTX compiles at once what its cache doesn't hold."""
        if not self.is_rtx:
            return engine.create_execution_context()
        compiling = cast(RtxCudaEngine, engine)
        config = compiling.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = (
            self._module.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        if cache is not None:
            config.set_runtime_cache(cache)
        return compiling.create_execution_context(config)

    def runtime_cache(self, engine: ICudaEngine, content: bytes | None) -> IRuntimeCache | None:
        """Make a cache of compiled kernels, filled with earlier ones where they still fit; None for full TensorRT."""
        if not self.is_rtx:
            return None
        cache = cast(RtxCudaEngine, engine).create_runtime_config().create_runtime_cache()
        if content and not cache.deserialize(content):
            logger.info("the compiled kernels of an earlier start don't fit: %s", self.messages.take())
        return cache

    def can_capture(self, context: IExecutionContext, stream: int) -> bool:
        """Whether a context's work can be captured as a CUDA graph."""
        return not self.is_rtx or cast(RtxExecutionContext, context).is_stream_capturable(stream)


def is_installed(flavour: Flavour) -> bool:
    """Whether a module of that name can be found; it is not imported."""
    return any(importlib.util.find_spec(name) is not None for name in _MODULES[flavour])


def load_tensorrt(flavour: Flavour) -> TensorRt:
    """Import TensorRT.

    Raises
    ------
    RuntimeUnavailableError
        If its module isn't installed, can't be loaded, or is too old.
    """
    failures: list[str] = []
    for name in _MODULES[flavour]:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            failures.append(f"{name}: {error}")
            continue
        if hasattr(module, "Builder"):
            return TensorRt(flavour, module)
        failures.append(f"{name}: it has no Builder")
    raise RuntimeUnavailableError(f"{flavour} isn't installed ({'; '.join(failures)})")


def _make_logger(module: ModuleType, messages: Messages) -> object:
    base: Any = module.ILogger

    class Listener(base):
        """TensorRT keeps a reference to the first of these for ever."""

        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Severity, msg: str) -> None:
            messages.hear(severity, msg)

    return Listener()
