"""ONNX Runtime on the CPU: the default, and the fallback of every other runtime."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors  # pyright: ignore[reportAttributeAccessIssue]

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

# ONNX Runtime's exceptions share no base class but Exception.
ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


def input_shape(session: onnxruntime.InferenceSession) -> tuple[int, ...]:
    """Return the shape of one sample; raises :class:`RuntimeUnavailableError` unless the graph is a bundle's."""
    inputs = [(one.name, one.type, tuple(one.shape)) for one in session.get_inputs()]
    outputs = {one.name for one in session.get_outputs()}
    if len(inputs) == 1 and outputs.issuperset(OUTPUT_NAMES):
        name, kind, (_, *sizes) = inputs[0]
        if (name, kind) == (INPUT_NAME, "tensor(float)") and sizes and all(isinstance(one, int) for one in sizes):
            return tuple(sizes)
    raise RuntimeUnavailableError(unlike_a_bundle(inputs, outputs))


class OnnxRuntime:
    """One ONNX Runtime session on the CPU with fixed inputs and outputs.

    Parameters
    ----------
    model
        The bytes of ``model.onnx``.
    threads
        Threads within one operator, at least 1. They sleep between runs instead of spinning: a service shares its
        machine with the acquisition.

    Raises
    ------
    RuntimeUnavailableError
        If the graph can't be loaded or hasn't the inputs and outputs of a bundle.
    """

    def __init__(self, model: bytes, threads: int = 2) -> None:
        if threads < 1:
            raise InputError(f"at least one thread is needed, got {threads}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except ORT_ERRORS as error:
            raise RuntimeUnavailableError(f"ONNX Runtime can't load the model: {error}") from error
        self._shape = input_shape(self._session)

    @property
    def name(self) -> str:
        """Always 'onnxruntime-cpu'."""
        return "onnxruntime-cpu"

    @property
    def version(self) -> str:
        """Version of ONNX Runtime."""
        return str(onnxruntime.__version__)

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        """Run a batch.

        Parameters
        ----------
        batch
            (B, ...) float32 raw counts, B ≥ 1, of the graph's input shape.

        Raises
        ------
        InferenceError
            If the batch has another shape or dtype, or ONNX Runtime fails.
        """
        check_batch(batch, self._shape)
        try:
            logits, probabilities, features = self._session.run(list(OUTPUT_NAMES), {INPUT_NAME: batch})
        except ORT_ERRORS as error:
            raise InferenceError(f"ONNX Runtime failed: {error}") from error
        return RuntimeOutput(np.asarray(logits), np.asarray(probabilities), np.asarray(features))


ONNX_CPU: Final = RuntimeCandidate(
    "onnxruntime-cpu", lambda: None, lambda bundle, threads: OnnxRuntime(bundle.model, threads)
)
