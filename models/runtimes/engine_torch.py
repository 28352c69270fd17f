"""A bundle's network in PyTorch, eager or as a CUDA graph: what other runtimes are compared with, never a default."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.bundling.tasks import task_named
from braggwatch.models.runtimes.base import InferenceError, RuntimeOutput, RuntimeUnavailableError, check_batch
from braggwatch.models.runtimes.cuda_probe import cuda_problem

if TYPE_CHECKING:
    import torch

    from braggwatch.models.bundling.bundle import Bundle

_WARM_UPS = 3


def probe_torch(cuda: bool) -> str | None:
    """Return why PyTorch can't run a bundle here, None where it can; imports torch only where there is a driver."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} isn't installed"
    if not cuda:
        return None
    problem = cuda_problem()
    if problem is not None:
        return problem
    import torch

    return None if torch.cuda.is_available() else "this build of PyTorch has no CUDA"


class TorchRuntime:
    """A bundle's weights in PyTorch, fp32 on the CPU, under fp16 autocast on CUDA.

    Parameters
    ----------
    bundle
        Its ``weights.safetensors`` are read.
    device
        'cpu' or 'cuda'.
    graph
        Record a CUDA graph for each batch size and replay it.
    threads
        Threads within one operator on the CPU; set for the whole process.

    Raises
    ------
    RuntimeUnavailableError
        If the weights are of a network that isn't known here.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu", *, graph: bool = False, threads: int = 2) -> None:
        import torch

        from braggwatch.models.bundling.export import deployable_module

        manifest = bundle.manifest
        task = task_named(manifest.task)
        if task is None or task.torch_network is None:
            raise RuntimeUnavailableError(f"no network in PyTorch for {manifest.id}: none is known of its task")
        try:
            network = task.torch_network(bundle)
        except (ValueError, OSError) as error:
            raise RuntimeUnavailableError(f"no network in PyTorch for {manifest.id}: {error}") from error
        self._module = deployable_module(network, manifest.temperature, manifest.input.normalisation).to(device)
        self._shape = tuple(bundle.golden.counts.shape[1:])
        self._device, self._graph = device, graph
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, tuple[torch.Tensor, ...]]] = {}
        self._lock = threading.Lock()
        if device == "cpu":
            torch.set_num_threads(threads)

    @property
    def name(self) -> str:
        """'torch-cpu', 'torch-cuda' or 'torch-cuda-graph'."""
        return f"torch-{self._device}" + ("-graph" if self._graph else "")

    @property
    def version(self) -> str:
        """Version of PyTorch."""
        import torch

        return str(torch.__version__)

    @property
    def golden_tolerance(self) -> float:
        """What fp16 may cost on CUDA; nothing beyond the bundle's own on the CPU."""
        return 0.0 if self._device == "cpu" else 1e-2

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        """Run (B, ...) float32 raw counts; raises :class:`InferenceError`."""
        check_batch(batch, self._shape)
        import torch

        try:
            with self._lock:
                outputs = self._forward(torch.from_numpy(np.ascontiguousarray(batch)))
                logits, probabilities, features = (one.float().cpu().numpy().copy() for one in outputs)
        except RuntimeError as error:
            raise InferenceError(f"PyTorch failed: {error}") from error
        return RuntimeOutput(logits, probabilities, features)

    def run_device(self, pointer: int, batch: int) -> RuntimeOutput:
        """Run ``batch`` samples of float32 at a device address; raises :class:`InferenceError`."""
        if self._device == "cpu":
            raise InferenceError("PyTorch runs on the CPU here, it can't read device memory")
        import torch

        try:
            with self._lock:
                outputs = self._forward(
                    torch.as_tensor(_DeviceArray(pointer, (batch, *self._shape)), device=self._device)
                )
                logits, probabilities, features = (one.float().cpu().numpy().copy() for one in outputs)
        except RuntimeError as error:
            raise InferenceError(f"PyTorch failed: {error}") from error
        return RuntimeOutput(logits, probabilities, features)

    def _forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        import torch

        if self._device == "cpu":
            with torch.no_grad():
                return self._module(batch)
        if not self._graph:
            return self._on_cuda(batch.to(self._device, non_blocking=True))
        if len(batch) not in self._graphs:
            self._graphs[len(batch)] = self._record(batch)
        recorded, source, outputs = self._graphs[len(batch)]
        source.copy_(batch, non_blocking=True)
        recorded.replay()
        return outputs

    def _on_cuda(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        import torch

        with torch.no_grad(), torch.autocast("cuda", torch.float16):
            return self._module(batch)

    def _record(self, batch: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, tuple[torch.Tensor, ...]]:
        import torch

        source = torch.empty_like(batch, device=self._device)
        source.copy_(batch)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._on_cuda(source)
        torch.cuda.current_stream().wait_stream(aside)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            outputs = self._on_cuda(source)
        return recorded, source, outputs


class _DeviceArray:
    """Device memory of others, as PyTorch takes it without a copy."""

    def __init__(self, pointer: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {"shape": shape, "typestr": "<f4", "data": (pointer, False), "version": 3}
