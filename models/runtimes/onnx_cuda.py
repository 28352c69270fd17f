"""ONNX Runtime on an NVIDIA GPU: what there is where TensorRT isn't installed, or can't run the GPU at hand.

Inputs and outputs live in buffers on the device that are made once for each batch size in use, so that a run copies
the counts up and three small arrays down and allocates nothing, and so that its kernels can be replayed as one CUDA
graph, which needs the addresses to stay.
"""

from __future__ import annotations

import logging
import threading
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from braggwatch.models.runtimes.base import (
    INPUT_NAME,
    OUTPUT_NAMES,
    InferenceError,
    RuntimeCandidate,
    RuntimeOutput,
    RuntimeUnavailableError,
    check_batch,
)
from braggwatch.models.runtimes.cuda_probe import cuda_problem
from braggwatch.models.runtimes.onnx import ORT_ERRORS, input_shape

logger = logging.getLogger(__name__)

PROVIDER = "CUDAExecutionProvider"
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
"""Batches are filled up to the next of these with empty samples, larger ones are run in parts."""

# OrtValue and IOBinding also raise what pybind11 makes of a C++ exception.
_DEVICE_ERRORS: tuple[type[Exception], ...] = (*ORT_ERRORS, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Slot:
    """The buffers of one batch size, bound; ``options`` names the CUDA graph that belongs to these addresses."""

    size: int
    counts: onnxruntime.OrtValue
    outputs: tuple[onnxruntime.OrtValue, ...]
    binding: onnxruntime.IOBinding
    options: onnxruntime.RunOptions


class BoundSession:
    """Runs a session with fixed buffers, one set for each batch size in `BATCH_SIZES`; calls take turns.

    Parameters
    ----------
    session
        A bundle's graph.
    device
        Where the buffers live: 'cuda', or 'cpu' for a session on the CPU.
    device_id
        Which of them.
    replay
        Whether the session captures CUDA graphs: each batch size then gets its own.

    Raises
    ------
    RuntimeUnavailableError
        If the graph isn't a bundle's.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, device: str, device_id: int = 0, *, replay: bool = False
    ) -> None:
        self._session = session
        self._device = device
        self._device_id = device_id
        self._replay = replay
        self._shape = input_shape(session)
        self._widths = _output_widths(session)
        self._slots: dict[int, _Slot] = {}
        self._lock = threading.Lock()

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        """Run (B, ...) float32 raw counts, B ≥ 1; raises :class:`InferenceError`."""
        check_batch(batch, self._shape)
        largest = BATCH_SIZES[-1]
        parts: list[tuple[NDArray[np.float32], ...]] = []
        with self._lock:
            try:
                for start in range(0, len(batch), largest):
                    parts.append(self._run_part(batch[start : start + largest]))
            except _DEVICE_ERRORS as error:
                raise InferenceError(f"ONNX Runtime failed: {error}") from error
        logits, probabilities, features = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return RuntimeOutput(logits, probabilities, features)

    def _run_part(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        count = len(batch)
        slot = self._slot(next(size for size in BATCH_SIZES if size >= count))
        if slot.size == count:
            filled = np.ascontiguousarray(batch)
        else:
            filled = np.zeros((slot.size, *self._shape), dtype=np.float32)
            filled[:count] = batch
        slot.counts.update_inplace(filled)
        slot.binding.synchronize_inputs()
        self._session.run_with_iobinding(slot.binding, slot.options)
        slot.binding.synchronize_outputs()
        # On the CPU numpy() is a view of the buffer that the next run writes to.
        return tuple(np.array(output.numpy()[:count]) for output in slot.outputs)

    def _slot(self, size: int) -> _Slot:
        if size not in self._slots:
            self._slots[size] = self._make_slot(size)
        return self._slots[size]

    def _make_slot(self, size: int) -> _Slot:
        counts = self._buffer((size, *self._shape))
        outputs = tuple(self._buffer((size, self._widths[name])) for name in OUTPUT_NAMES)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(INPUT_NAME, counts)
        for name, output in zip(OUTPUT_NAMES, outputs, strict=True):
            binding.bind_ortvalue_output(name, output)
        options = onnxruntime.RunOptions()
        # A graph replays the shapes and addresses that it was captured with, unchecked: one number for each slot.
        # 0 is ONNX Runtime's own, -1 captures nothing.
        options.add_run_config_entry("gpu_graph_id", str(size) if self._replay else "-1")
        return _Slot(size, counts, outputs, binding, options)

    def _buffer(self, shape: tuple[int, ...]) -> onnxruntime.OrtValue:
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, self._device, self._device_id)


class OnnxCudaRuntime:
    """ONNX Runtime's CUDA provider with fixed buffers, in full float32 (no TF32), nothing left to the CPU.

    Parameters
    ----------
    model
        The bytes of ``model.onnx``.
    device_id
        CUDA's number of the GPU.
    cuda_graph
        Replay the kernels of a batch size as one CUDA graph; worth it for small networks, whose time is launches.

    Raises
    ------
    RuntimeUnavailableError
        If this ONNX Runtime has no CUDA provider or it can't be started, or the graph can't be run wholly on the GPU.
    """

    def __init__(self, model: bytes, device_id: int = 0, *, cuda_graph: bool = True) -> None:
        reason = probe_onnx_cuda()
        if reason is not None:
            raise RuntimeUnavailableError(reason)
        _load_libraries()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # Else ONNX Runtime moves to the CPU what it can't run on the GPU, which is everything where CUDA is missing.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            session = onnxruntime.InferenceSession(
                model, options, providers=[(PROVIDER, provider_options(device_id, cuda_graph=cuda_graph))]
            )
        except ORT_ERRORS as error:
            raise RuntimeUnavailableError(
                "ONNX Runtime can't run the model on the GPU; where its CUDA or cuDNN libraries are missing, "
                f"pip install 'onnxruntime-gpu[cuda,cudnn]': {error}"
            ) from error
        self._bound = BoundSession(session, "cuda", device_id, replay=cuda_graph)

    @property
    def name(self) -> str:
        """Always 'onnxruntime-cuda'."""
        return "onnxruntime-cuda"

    @property
    def version(self) -> str:
        """Version of ONNX Runtime."""
        return str(onnxruntime.__version__)

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        """Run (B, ...) float32 raw counts, B ≥ 1, host to host; raises :class:`InferenceError`."""
        return self._bound.run(batch)


def probe_onnx_cuda() -> str | None:
    """Say why ONNX Runtime can't use a GPU here, or None; safe and cheap on any machine."""
    if PROVIDER not in onnxruntime.get_available_providers():
        return (
            "this onnxruntime is built for the CPU: replace it by onnxruntime-gpu "
            "(pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]')"
        )
    return cuda_problem()


def provider_options(device_id: int, *, cuda_graph: bool) -> dict[str, str]:
    """Return the CUDA provider's options."""
    return {
        "device_id": str(device_id),
        # TF32 keeps 10 bits of mantissa: more than a bundle's tolerance allows.
        "use_tf32": "0",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        # The arena would otherwise double at each request, beside TensorRT or training on the same GPU.
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1" if cuda_graph else "0",
    }


def _load_libraries() -> None:
    """Load cuBLAS and cuDNN from the nvidia-* packages, where they are installed; else the system's serve."""
    # It prints what it misses, where a command's output may be JSON.
    with redirect_stdout(StringIO()) as said:
        onnxruntime.preload_dlls()
    for line in said.getvalue().splitlines():
        logger.info("ONNX Runtime: %s", line)


def _output_widths(session: onnxruntime.InferenceSession) -> dict[str, int]:
    widths: dict[str, int] = {}
    for one in session.get_outputs():
        if one.name in OUTPUT_NAMES:
            if len(one.shape) != 2 or not isinstance(one.shape[1], int):
                raise RuntimeUnavailableError(f"the graph's {one.name} must be (N, a fixed number), it is {one.shape}")
            widths[one.name] = one.shape[1]
    return widths


ONNX_CUDA: Final = RuntimeCandidate(
    "onnxruntime-cuda", probe_onnx_cuda, lambda bundle, _: OnnxCudaRuntime(bundle.model)
)
