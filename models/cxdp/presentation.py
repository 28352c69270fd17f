"""What of a coherent diffraction pattern a network is shown: turned, spoilt, shifted, normalised."""

from __future__ import annotations

import torch
from torch import Tensor

from braggwatch.models.cxdp.augmentation import normalise, shift_copy, symmetry_copy, turn_copy
from braggwatch.models.cxdp.nuisance_augmentation import measure_clean
from braggwatch.models.learning.training_config import TrainingConfig


class PatternPresentation:
    """Coherent diffraction patterns: (B, 64, 64, 64) log1p intensities, axis 1 along Q."""

    def to_learn(self, samples: Tensor, clean: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
        """Turn, spoil, shift, normalise."""
        if config.symmetry:
            samples = symmetry_copy(samples, generator)
        samples = turn_copy(samples, config.turned_share, generator)
        if config.nuisance:
            # after the turning, which would smooth the noise
            samples = measure_clean(samples, clean, generator)
        return normalise(shift_copy(samples, config.largest_shift, generator))

    def to_judge(self, samples: Tensor, clean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Spoil where asked for, normalise."""
        if generator is not None:
            samples = measure_clean(samples, clean, generator)
        return normalise(samples)
