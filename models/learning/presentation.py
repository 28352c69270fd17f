"""What of a sample a network is shown, while it learns and when it is judged.

It is all that the training loop has to know of a system: diffraction patterns are turned, spoilt and normalised; other
inputs have symmetries and noise of their own.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from braggwatch.models.cxdp.augmentation import normalise, shift_copy, symmetry_copy, turn_copy
from braggwatch.models.cxdp.nuisance_augmentation import measure_clean
from braggwatch.models.learning.training_config import TrainingConfig


class Presentation(Protocol):
    """From a batch of stored samples (B, ...) to the network's input, float32, on the samples' device."""

    def to_learn(self, samples: Tensor, clean: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
        """Return what the network learns from: augmented.

        Parameters
        ----------
        clean
            (B,) bool: samples without noise and the like.
        generator
            Of every random draw, on the samples' device.
        """
        ...

    def to_judge(self, samples: Tensor, clean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return what the network is judged by: not augmented; with a generator, clean samples get their noise."""
        ...


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
