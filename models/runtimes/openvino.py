"""OpenVINO on the CPU: an optional runtime that some processors run networks faster with.

In bf16, on a processor that has it, convolutions and most of what is between them round to eight bits of mantissa.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.runtimes.base import (
    INPUT_NAME,
    OUTPUT_NAMES,
    InferenceError,
    RuntimeCandidate,
    RuntimeOutput,
    RuntimeUnavailableError,
    check_batch,
    unlike_a_bundle,
)
from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    from openvino import CompiledModel, Core

Precision = Literal["f32", "bf16"]

_DEVICE = "CPU"
_REPORTER = "openvino_telemetry"
_BF16_TOLERANCE = 9e-2
"""Of golden logits of about 4 (0.02 to 0.07 were measured), and relative of features: roundings of 2⁻⁹ along sixteen
convolutions."""


class OpenVinoRuntime:
    """One compiled network on the CPU, tuned for latency; calls from several threads take turns.

    Parameters
    ----------
    model
        The bytes of ``model.onnx``.
    threads
        Threads within one inference, at least 1.
    precision
        'f32', or 'bf16', which needs a processor that computes in bf16: others would silently use f32.

    Raises
    ------
    RuntimeUnavailableError
        If OpenVINO isn't installed, the processor has no bf16, or the graph can't be loaded or isn't a bundle's.
    """

    def __init__(self, model: bytes, threads: int = 2, precision: Precision = "f32") -> None:
        if threads < 1:
            raise InputError(f"at least one thread is needed, got {threads}")
        self._precision: Precision = precision
        core = _core()
        if precision == "bf16":
            reason = _no_bf16(core)
            if reason is not None:
                raise RuntimeUnavailableError(reason)
        try:
            # No pinning: the service shares its cores with the acquisition, and the scheduler knows who is idle.
            compiled = core.compile_model(
                core.read_model(model),
                _DEVICE,
                {
                    "PERFORMANCE_HINT": "LATENCY",
                    "NUM_STREAMS": 1,
                    "INFERENCE_NUM_THREADS": threads,
                    "INFERENCE_PRECISION_HINT": precision,
                    "ENABLE_CPU_PINNING": False,
                },
            )
        except RuntimeError as error:
            raise RuntimeUnavailableError(f"OpenVINO can't load the model: {error}") from error
        self._shape = _input_shape(compiled)
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """'openvino-cpu', or 'openvino-cpu-bf16'."""
        return "openvino-cpu" if self._precision == "f32" else "openvino-cpu-bf16"

    @property
    def version(self) -> str:
        """Version of OpenVINO."""
        return version("openvino")

    @property
    def golden_tolerance(self) -> float:
        """Deviation of a golden output that the precision explains: none in f32."""
        return 0.0 if self._precision == "f32" else _BF16_TOLERANCE

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        """Run a batch.

        Parameters
        ----------
        batch
            (B, ...) float32 raw counts, B ≥ 1, of the graph's input shape.

        Raises
        ------
        InferenceError
            If the batch has another shape or dtype, or OpenVINO fails.
        """
        check_batch(batch, self._shape)
        # A shared input must be contiguous; the outputs are copies, which the next call leaves alone.
        contiguous = np.ascontiguousarray(batch)
        with self._lock:
            try:
                found = self._request.infer({INPUT_NAME: contiguous}, share_inputs=True)
            except RuntimeError as error:
                raise InferenceError(f"OpenVINO failed: {error}") from error
        logits, probabilities, features = (np.asarray(found[name]) for name in OUTPUT_NAMES)
        return RuntimeOutput(logits, probabilities, features)


def probe_openvino() -> str | None:
    """Say why OpenVINO can't be used here, or None; imports nothing."""
    if find_spec("openvino") is None:
        return "openvino is not installed: pip install 'braggwatch[openvino]'"
    return None


def probe_openvino_bf16() -> str | None:
    """Say why OpenVINO can't compute in bf16 here, or None; imports OpenVINO where it is installed."""
    reason = probe_openvino()
    if reason is not None:
        return reason
    try:
        return _no_bf16(_core())
    except RuntimeUnavailableError as error:
        return str(error)


def _no_bf16(core: Core) -> str | None:
    capabilities = core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    return None if "BF16" in capabilities else "this processor doesn't compute in bf16"


def _core() -> Core:
    reason = probe_openvino()
    if reason is not None:
        raise RuntimeUnavailableError(reason)
    try:
        with _without_usage_reports():
            import openvino

        return openvino.Core()
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeUnavailableError(f"OpenVINO can't be started: {error}") from error


@contextmanager
def _without_usage_reports() -> Generator[None]:
    """Hide the package through which an import of OpenVINO reports itself to its maker.

    OpenVINO sends an event over the network, with an identifier that it keeps in the user's home, each time it is
    imported, unless a file there says otherwise. It does without where that package is absent.
    """
    if _REPORTER in sys.modules:
        yield
        return
    sys.modules[_REPORTER] = None  # pyright: ignore[reportArgumentType] - None is how an import is refused
    try:
        yield
    finally:
        del sys.modules[_REPORTER]


def _input_shape(compiled: CompiledModel) -> tuple[int, ...]:
    inputs = [
        (one.get_names(), one.get_element_type().get_type_name(), one.get_partial_shape()) for one in compiled.inputs
    ]
    outputs: set[str] = set().union(*(one.get_names() for one in compiled.outputs))
    if len(inputs) == 1 and outputs.issuperset(OUTPUT_NAMES):
        names, kind, shape = inputs[0]
        sizes = [shape[axis] for axis in range(len(shape))]
        if INPUT_NAME in names and kind == "f32" and len(sizes) > 1 and all(one.is_static for one in sizes[1:]):
            return tuple(int(one.get_length()) for one in sizes[1:])
    raise RuntimeUnavailableError(unlike_a_bundle([(sorted(n), k, str(s)) for n, k, s in inputs], outputs))


OPENVINO_CPU: Final = RuntimeCandidate(
    "openvino-cpu", probe_openvino, lambda bundle, threads: OpenVinoRuntime(bundle.model, threads)
)
OPENVINO_CPU_BF16: Final = RuntimeCandidate(
    "openvino-cpu-bf16", probe_openvino_bf16, lambda bundle, threads: OpenVinoRuntime(bundle.model, threads, "bf16")
)
