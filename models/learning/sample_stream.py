"""Labelled samples on their way into a network: where they come from, on which device they lie, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from braggwatch.models.learning.presentation import Presentation
from braggwatch.sim.errors import InputError

_TRANSFER = 256


class Source(Protocol):
    """Labelled samples in memory or memory-mapped."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Return samples, for diffraction log1p intensities (B, 64, 64, 64), and class indices (B,)."""
        ...


@runtime_checkable
class TellsClean(Protocol):
    """A source, some of whose samples are noiseless patterns; one that doesn't tell holds none."""

    def clean(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the samples have no noise, gaps and the like yet, (B,)."""
        ...


@runtime_checkable
class TellsWhere(Protocol):
    """A source that knows which file each of its samples lies in."""

    def where(self, index: int) -> str:
        """Return the place of a sample in words: file and number."""
        ...


def whereabouts(source: Source, index: int) -> str:
    """Return the place of a sample in words."""
    return source.where(index) if isinstance(source, TellsWhere) else f"sample {index}"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network says of a source: logits (N, K), features (N, F), class indices (N,)."""

    logits: NDArray[np.float32]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Fraction right, 0 to 1."""
        return float((self.logits.argmax(1) == self.labels).mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats."""
        return float(functional.cross_entropy(torch.from_numpy(self.logits), torch.from_numpy(self.labels)))


class Feed:
    """Batches of a source on a device; one that isn't the CPU takes in the whole set at once, half precision.

    Parameters
    ----------
    source
        Where the samples come from.
    device
        'cpu', 'cuda'.
    """

    def __init__(self, source: Source, device: str = "cpu") -> None:
        self._source = source
        self.device = torch.device(device)
        everything = np.arange(len(source))
        clean = source.clean(everything) if isinstance(source, TellsClean) else np.zeros(len(source), dtype=bool)
        self._clean = torch.from_numpy(np.asarray(clean, dtype=bool))
        self._resident: tuple[Tensor, Tensor] | None = None
        if self.device.type != "cpu":
            parts = [source.batch(everything[at : at + _TRANSFER]) for at in range(0, len(source), _TRANSFER)]
            self._resident = (
                torch.cat([torch.from_numpy(volumes).to(self.device) for volumes, _ in parts]),
                torch.cat([torch.from_numpy(labels).to(self.device) for _, labels in parts]),
            )
            self._clean = self._clean.to(self.device)

    def __len__(self) -> int:
        return len(self._source)

    def batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Return samples (B, ...) float32, class indices (B,) int64 and whether clean (B,) bool."""
        at = torch.from_numpy(indices).to(self.device)
        if self._resident is not None:
            volumes, labels = self._resident
            return volumes[at].float(), labels[at], self._clean[at]
        found, truth = self._source.batch(indices)
        return torch.from_numpy(found).float(), torch.from_numpy(truth), self._clean[at]


def batches(count: int, size: int, seed: int, first: int = 0) -> Iterator[NDArray[np.int64]]:
    """Shuffle anew each epoch and yield sorted index batches for ever, the remainder of an epoch left out.

    Parameters
    ----------
    first
        Batches to leave out at the start: the stream of a run that goes on is the one of a run that never stopped.

    Raises
    ------
    InputError
        If there are fewer samples than a batch takes.
    """
    each = count // size
    if each < 1:
        raise InputError(f"{count} samples are fewer than one batch of {size}")
    epoch, skipped = divmod(first, each)
    while True:
        order = np.random.default_rng((seed, epoch)).permutation(count)
        for number in range(skipped, each):
            yield np.sort(order[number * size : (number + 1) * size])
        epoch, skipped = epoch + 1, 0


def predict(
    model: nn.Module,
    source: Source | Feed,
    *,
    batch: int = 64,
    bf16: bool = False,
    device: str = "cpu",
    nuisance_seed: int | None = None,
    presentation: Presentation,
) -> Prediction:
    """Run a network over a whole source, without augmentation.

    Parameters
    ----------
    model
        Returns (logits, features); on the same device.
    device
        Of the network, where the source isn't on one yet.
    nuisance_seed
        Give clean samples noise and the like, the same ones for the same seed; None: leave them clean.
    presentation
        What of a sample the network is shown.
    """
    feed = source if isinstance(source, Feed) else Feed(source, device)
    generator = None if nuisance_seed is None else torch.Generator(feed.device).manual_seed(nuisance_seed)
    model.eval()
    logits: list[NDArray[np.float32]] = []
    features: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    with torch.no_grad(), torch.autocast(feed.device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(feed), batch):
            volumes, truth, clean = feed.batch(np.arange(start, min(start + batch, len(feed))))
            out, penultimate = model(presentation.to_judge(volumes, clean, generator))
            logits.append(out.float().cpu().numpy())
            features.append(penultimate.float().cpu().numpy())
            labels.append(truth.cpu().numpy())
    return Prediction(np.concatenate(logits), np.concatenate(features), np.concatenate(labels))
