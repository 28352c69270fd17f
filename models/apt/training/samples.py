"""Maps of cubes with the label of their central voxel, in memory: what the centre-voxel network learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.networks.sdm import standardise


@dataclass(frozen=True, slots=True)
class SdmSamples:
    """Labelled maps; a `Source` of the training loop.

    Attributes
    ----------
    maps
        (N, pairs, bins_z, bins_x) uint16 counts.
    labels
        (N,) int64: whether one atom, drawn from the central voxel, was in an ordered precipitate. Their mean over
        many samples is the voxels' ordered fraction, which the network so learns to predict.
    volume
        (N,) int64: number of the volume that a sample is of. Folds divide volumes.
    """

    maps: NDArray[np.uint16]
    labels: NDArray[np.int64]
    volume: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.maps) == len(self.labels) == len(self.volume):
            raise ValueError("as many maps, labels and volumes are needed")

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Return counts (B, pairs, bins_z, bins_x), exact up to 2048, and class indices (B,)."""
        return self.maps[indices].astype(np.float16), self.labels[indices]

    def of(self, chosen: NDArray[np.bool_]) -> SdmSamples:
        """Return some of the samples."""
        return SdmSamples(self.maps[chosen], self.labels[chosen], self.volume[chosen])

    def fold(self, number: int, folds: int) -> tuple[SdmSamples, SdmSamples]:
        """Return (the rest, fold ``number`` of ``folds``), divided by volume."""
        inside = self.volume % folds == number
        return self.of(~inside), self.of(inside)


class SdmPresentation:
    """What of a map the centre-voxel network is shown: a mirror image, thinned, in units of shot noise.

    Parameters
    ----------
    least_kept
        Each map keeps a part of its pairs, drawn between this and all: volumes are few, noise comes free.
    """

    def __init__(self, least_kept: float = 0.5) -> None:
        self._least_kept = least_kept

    def to_learn(self, samples: Tensor, clean: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
        """Mirror each map in dz and dx at random where the configuration has symmetry; thin it with nuisance."""
        del clean
        if config.symmetry:
            draws = torch.rand((2, len(samples), 1, 1, 1), generator=generator, device=samples.device)
            samples = torch.where(draws[0] < 0.5, samples.flip(2), samples)
            samples = torch.where(draws[1] < 0.5, samples.flip(3), samples)
        if config.nuisance:
            draw = torch.rand((len(samples), 1, 1, 1), generator=generator, device=samples.device)
            kept = 1 - (1 - self._least_kept) * draw
            noise = torch.randn(samples.shape, generator=generator, device=samples.device)
            # a binomial's mean and variance; its shape is lost in the network's sums
            samples = torch.clamp(samples * kept + noise * torch.sqrt(samples * kept * (1 - kept)), min=0.0)
        return standardise(samples)

    def to_judge(self, samples: Tensor, clean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Put counts into units of shot noise."""
        del clean, generator
        return standardise(samples)
