"""What of a sample a network is shown, while it learns and when it is judged.

It is all that the training loop has to know of a system: diffraction patterns are turned, spoilt and normalised; other
inputs have symmetries and noise of their own.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

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
