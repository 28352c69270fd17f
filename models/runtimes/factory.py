"""Choose what runs a bundle: the best that this machine has and that reproduces the golden outputs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal

from braggwatch.models.runtimes.base import Runtime, RuntimeCandidate, RuntimeUnavailableError, runs_on_cpu
from braggwatch.models.runtimes.cuda_probe import cuda_problem
from braggwatch.models.runtimes.onnx import ONNX_CPU
from braggwatch.models.runtimes.onnx_cuda import ONNX_CUDA
from braggwatch.models.runtimes.openvino import OPENVINO_CPU, OPENVINO_CPU_BF16
from braggwatch.models.runtimes.self_test import GoldenMismatchError, golden_difference
from braggwatch.models.runtimes.tensorrt_routes import TENSORRT, TENSORRT_RTX

if TYPE_CHECKING:
    from braggwatch.models.bundling.bundle import Bundle

logger = logging.getLogger(__name__)

RuntimePreference = Literal[
    "auto",
    "tensorrt",
    "tensorrt-rtx",
    "onnxruntime-cuda",
    "onnxruntime-cpu",
    "openvino-cpu",
    "openvino-cpu-bf16",
]


CANDIDATES: Final[tuple[RuntimeCandidate, ...]] = (
    TENSORRT,
    TENSORRT_RTX,
    ONNX_CUDA,
    ONNX_CPU,
    OPENVINO_CPU,
    OPENVINO_CPU_BF16,
)
"""The runtimes that there are, best first: a new one is a file beside this and a line here, its name in the preference.

'auto' takes the first that probes, opens and passes the self-test. ONNX Runtime runs everywhere: what comes after it is
taken by name only.
"""


def open_runtime(
    bundle: Bundle,
    prefer: RuntimePreference = "auto",
    threads: int = 2,
    candidates: tuple[RuntimeCandidate, ...] = CANDIDATES,
) -> tuple[Runtime, float]:
    """Open a runtime and check it against the bundle's golden arrays.

    Parameters
    ----------
    bundle
        A verified bundle.
    prefer
        A runtime's name, or 'auto' for the best that works here. A named one is never replaced by another.
    threads
        CPU threads of a CPU runtime.
    candidates
        Ways to run it, best first.

    Returns
    -------
    tuple
        The runtime, and its largest deviation from a golden logit or probability.

    Raises
    ------
    RuntimeUnavailableError
        If the named runtime, or with 'auto' every runtime, can't be used; with the reason for each.
    """
    wanted = [one for one in candidates if prefer in ("auto", one.name)]
    if not wanted:
        raise RuntimeUnavailableError(f"unknown runtime {prefer!r}; known: {[one.name for one in candidates]}")
    reasons: list[str] = []
    for candidate in wanted:
        reason = candidate.probe()
        if reason is not None:
            logger.info("%s isn't used: %s", candidate.name, reason)
        else:
            try:
                runtime = candidate.open(bundle, threads)
                difference = golden_difference(runtime, bundle)
            except (RuntimeUnavailableError, GoldenMismatchError) as error:
                reason = str(error)
                logger.warning("%s can't run %s: %s", candidate.name, bundle.manifest.id, reason)
            else:
                logger.info("%s runs %s, golden outputs within %.2g", runtime.name, bundle.manifest.id, difference)
                _warn_of_idle_device(prefer, runtime, reasons)
                return runtime, difference
        reasons.append(f"{candidate.name}: {reason}")
    raise RuntimeUnavailableError(f"nothing can run {bundle.manifest.id}; " + "; ".join(reasons))


def standing_in(prefer: RuntimePreference, name: str) -> str | None:
    """Say that the processor stands in for a GPU that is here, where the choice was left to us; else None."""
    if prefer == "auto" and runs_on_cpu(name) and cuda_problem() is None:
        return f"a GPU is here, but {name} runs the network; 'braggwatch doctor' says why"
    return None


def _warn_of_idle_device(prefer: RuntimePreference, runtime: Runtime, reasons: list[str]) -> None:
    """Say once, loud enough, that the processor does what a device that is here was bought for."""
    if reasons and standing_in(prefer, runtime.name) is not None:
        logger.warning("the GPU is here but %s runs the network: %s", runtime.name, "; ".join(reasons))
