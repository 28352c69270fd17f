"""What every runtime offers, whatever runs the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import BraggwatchError

if TYPE_CHECKING:
    from braggwatch.models.bundling.bundle import Bundle

INPUT_NAME = "counts"
OUTPUT_NAMES = ("logits", "probabilities", "features")


class InferenceError(BraggwatchError, RuntimeError):
    """A runtime could not run a batch; the message is for an operator."""


class RuntimeUnavailableError(BraggwatchError, RuntimeError):
    """A runtime can't be used on this machine or with this bundle; the message says why."""


@dataclass(frozen=True, slots=True)
class RuntimeOutput:
    """The three outputs of the graph for a batch of B samples.

    Attributes
    ----------
    logits
        (B, K) float32.
    probabilities
        (B, K) float32, softmax at the bundle's temperature.
    features
        (B, F) float32, the penultimate layer.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]


class Runtime(Protocol):
    """Runs the graph of one bundle. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """What runs it, e.g. 'onnxruntime-cpu'."""
        ...

    @property
    def version(self) -> str:
        """Version of what runs it."""
        ...

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        """Run (B, ...) float32 raw counts of the graph's input shape, B ≥ 1; raises :class:`InferenceError`."""
        ...


@dataclass(frozen=True, slots=True)
class RuntimeCandidate:
    """One way to run a bundle.

    Attributes
    ----------
    name
        As in :attr:`Runtime.name`; one that computes on the processor has '-cpu' in it.
    probe
        Cheap and safe on any machine: None where it may be opened, else why not, in words.
    open
        Makes the runtime from a bundle and a number of CPU threads; raises :class:`RuntimeUnavailableError`.
    """

    name: str
    probe: Callable[[], str | None]
    open: Callable[[Bundle, int], Runtime]

    @property
    def on_cpu(self) -> bool:
        """Whether the processor computes, not a GPU."""
        return runs_on_cpu(self.name)


def runs_on_cpu(name: str) -> bool:
    """Tell from a runtime's name whether the processor computes."""
    return "-cpu" in name


def unlike_a_bundle(inputs: object, outputs: set[str]) -> str:
    """Say what a graph must have to be a bundle's, and what it has."""
    return (
        f"the graph must map {INPUT_NAME!r} (N, fixed sizes) float32 to {OUTPUT_NAMES}, "
        f"it has inputs {inputs} and outputs {sorted(outputs)}"
    )


def check_batch(batch: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Raise :class:`InferenceError` unless a batch is (B, *shape) float32 with B ≥ 1."""
    if batch.dtype != np.float32 or batch.ndim != len(shape) + 1 or len(batch) < 1 or batch.shape[1:] != shape:
        raise InferenceError(f"expected (B, {shape}) float32, got {batch.shape} {batch.dtype}")
