"""Labelled pictures of maps in memory: what the network of Li et al. 2021 learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.sim.apt.picture import paper_pictures

_DRAWN_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class PictureSamples:
    """Labelled pictures; a `Source` of the training loop.

    Attributes
    ----------
    pictures
        (N, 150, 150) uint8 grey values, as a picture file holds them.
    labels
        (N,) int64: 0 disordered, 1 L1₂.
    origin
        (N,) int64: samples of one number were made of one map and never lie on both sides of a fold.
    """

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    origin: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.pictures) == len(self.labels) == len(self.origin):
            raise ValueError("as many pictures, labels and origins are needed")

    @classmethod
    def of_maps(
        cls, maps: NDArray[np.float32], labels: NDArray[np.int64], origin: NDArray[np.int64] | None = None
    ) -> PictureSamples:
        """Draw (N, bins_z, bins_x) maps; without an origin each map is its own."""
        drawn = [
            np.rint(255 * paper_pictures(maps[at : at + _DRAWN_AT_ONCE])).astype(np.uint8)
            for at in range(0, len(maps), _DRAWN_AT_ONCE)
        ]
        return cls(
            np.concatenate(drawn) if drawn else np.empty((0, 150, 150), dtype=np.uint8),
            np.asarray(labels, dtype=np.int64),
            np.arange(len(maps), dtype=np.int64) if origin is None else origin,
        )

    @classmethod
    def joined(cls, parts: Sequence[PictureSamples]) -> PictureSamples:
        """Put sets together; their origins become different ones."""
        origins: list[NDArray[np.int64]] = []
        first = 0
        for part in parts:
            origins.append(part.origin + first)
            first += int(part.origin.max(initial=-1)) + 1
        return cls(
            np.concatenate([part.pictures for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate(origins),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Return grey values 0 to 255 (B, 150, 150), exact in half precision, and class indices (B,)."""
        return self.pictures[indices].astype(np.float16), self.labels[indices]

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> PictureSamples:
        """Return some of the samples."""
        return PictureSamples(self.pictures[chosen], self.labels[chosen], self.origin[chosen])

    def fold(self, number: int, folds: int, seed: int = 0) -> tuple[PictureSamples, PictureSamples]:
        """Return (the rest, fold ``number`` of ``folds``), dealt out at random by origin."""
        numbers = np.unique(self.origin)
        own = np.random.default_rng(seed).permutation(numbers)[number::folds]
        inside = np.isin(self.origin, own)
        return self.of(~inside), self.of(inside)


class PicturePresentation:
    """Pictures as they are, 0 to 1: the publication augments nothing while it trains."""

    def to_learn(self, samples: Tensor, clean: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
        """Return (B, 1, 150, 150) grey values, 0 to 1."""
        del config
        return self.to_judge(samples, clean, generator)

    def to_judge(self, samples: Tensor, clean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return (B, 1, 150, 150) grey values, 0 to 1."""
        del clean, generator
        return samples.unsqueeze(1) / 255
