"""Simulated patterns in memory, and what of them the network is shown."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.sadp.augmentation import MicroscopeSettings, measured_maps, undisturbed
from braggwatch.sim.sadp.pattern_set import PatternSet

MOST_SPOTS = 240


def padded_spots(patterns: PatternSet, indices: NDArray[np.int64], most: int = MOST_SPOTS) -> NDArray[np.float32]:
    """Return the brightest spots of some patterns.

    Returns
    -------
    NDArray
        (B, most, 3) float32: x, y in units of half the picture's side, relative intensity; unused rows are 0.
    """
    result = np.zeros((len(indices), most, 3), dtype=np.float32)
    for row, index in enumerate(indices):
        first, last = int(patterns.offsets[index]), int(patterns.offsets[index + 1])
        last = min(last, first + most)
        half_side = 128.0 * patterns.inv_A_per_px[index]
        result[row, : last - first, :2] = patterns.g_inv_A[first:last] / half_side
        result[row, : last - first, 2] = patterns.intensity[first:last]
    return result


class PatternSamples:
    """Labelled spot lists: a `Source` of the training loop.

    Parameters
    ----------
    patterns
        Of pictures of 256 pixels a side.
    chosen
        Numbers of the patterns to take; None: all.
    outliers
        (A, 240, 3) spots of what no class holds, shown as one more class.
    classes
        Number of classes without that one.
    """

    def __init__(
        self,
        patterns: PatternSet,
        chosen: NDArray[np.int64] | None = None,
        *,
        outliers: NDArray[np.float32] | None = None,
        classes: int = 0,
    ) -> None:
        self.patterns = patterns
        self.chosen = np.arange(len(patterns)) if chosen is None else chosen
        self._outliers = np.zeros((0, MOST_SPOTS, 3), dtype=np.float32) if outliers is None else outliers
        known = patterns.class_label[self.chosen].astype(np.int64)
        self.labels = np.concatenate([known, np.full(len(self._outliers), classes, dtype=np.int64)])

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return spots (B, 240, 3) and class indices (B,)."""
        spots = np.empty((len(indices), MOST_SPOTS, 3), dtype=np.float32)
        outlier = indices >= len(self.chosen)
        spots[outlier] = self._outliers[indices[outlier] - len(self.chosen)]
        spots[~outlier] = padded_spots(self.patterns, self.chosen[indices[~outlier]])
        return spots, self.labels[indices]


class SpotPresentation:
    """Lattice maps of patterns as a microscope would have spoilt them, anew at each showing.

    Parameters
    ----------
    settings
        While learning, and for validation.
    """

    def __init__(self, settings: MicroscopeSettings | None = None) -> None:
        self._settings = MicroscopeSettings() if settings is None else settings

    def to_learn(self, samples: Tensor, clean: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
        """Return maps (B, 3, 9, 17) of spoilt patterns."""
        del clean, config
        return self._maps(samples, self._settings, generator)

    def to_judge(self, samples: Tensor, clean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return maps of spoilt patterns with a generator, else of undisturbed ones."""
        del clean
        if generator is None:
            return self._maps(samples, undisturbed(1e-3), torch.Generator().manual_seed(0))
        return self._maps(samples, self._settings, generator)

    def _maps(self, samples: Tensor, settings: MicroscopeSettings, generator: torch.Generator) -> Tensor:
        seeds = torch.randint(0, 2**31, (len(samples),), generator=generator, device=generator.device)
        maps = measured_maps(samples.cpu().numpy(), seeds.cpu().numpy(), settings)
        return torch.from_numpy(maps[:, 0]).to(samples.device)
