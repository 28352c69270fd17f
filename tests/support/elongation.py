"""A network that is trained by construction, and the counts that it tells apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

CLASSES = ("perfect", "screw", "edge")
_ROUNDEST = 1.2
"""Voxels: a round peak's spread along its longest axis exceeds the mean by less than half of this."""
ROUND = len(CLASSES)
"""Label of a peak that is longest along no axis: a class of its own where a network is made with one for it."""
PERIOD = 3.5


def blob(label: int, rng: np.random.Generator, peak: float = 2000.0) -> NDArray[np.float32]:
    """Counts of a Gaussian peak near the centre, elongated along the axis that stands for its class, if any does."""
    width = rng.uniform(2.4, 2.8, size=3)
    if label != ROUND:
        width[label] *= rng.uniform(1.7, 2.0)
    grid = np.indices((64, 64, 64)) - 32 - rng.uniform(-0.5, 0.5, size=3)[:, None, None, None]
    intensity = peak * np.exp(-0.5 * ((grid / width[:, None, None, None]) ** 2).sum(axis=0))
    return rng.poisson(intensity + 0.02).astype(np.float32)


def elongation_network(scale: float, *, round_class: bool = False) -> torch.nn.Module:
    """Return a module with logits and features from the spread of the normalised volume along each axis.

    Logits are ``scale`` times a feature's excess over the mean; with ``round_class`` one more speaks for what is
    longest along no axis. Skips the test where no network can be exported.
    """
    torch = pytest.importorskip("torch", reason="torch isn't installed: no network to export")
    pytest.importorskip("onnxscript", reason="onnxscript isn't installed: the exporter needs it")

    class Elongation(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("squares", (torch.arange(64.0) - 31.5) ** 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            weight = torch.nn.functional.relu(x - 0.3)
            total = weight.sum(dim=(1, 2, 3)).clamp_min(1e-6)
            along = [weight.sum(dim=[d for d in (1, 2, 3) if d != axis]) @ self.squares for axis in (1, 2, 3)]
            features = torch.stack([torch.sqrt(one / total) for one in along], dim=1)
            excess = features - features.mean(dim=1, keepdim=True)
            if round_class:
                roundness = _ROUNDEST - excess.amax(dim=1, keepdim=True)
                excess = torch.cat([excess, roundness], dim=1)
            return scale * excess, features

    return Elongation()
