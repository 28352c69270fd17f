"""The training loop learns, resumes where it stopped, and augments only with what keeps the Q axis."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from braggwatch.models.augmentation import normalise, shift_copy, symmetry_copy, turn_copy
from braggwatch.models.training import TrainingConfig, one_cycle, predict, train


class Blobs:
    """Two classes: a blob stretched along Q, or across it."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(3)
        axis = np.arange(64) - 32.0
        q, a, b = np.meshgrid(axis, axis, axis, indexing="ij")
        self.labels = (np.arange(count) % 2).astype(np.int64)
        shapes = [np.exp(-(q**2) / 60 - (a**2 + b**2) / 8), np.exp(-(q**2) / 8 - (a**2 + b**2) / 60)]
        self.volumes = np.stack([np.log1p(rng.uniform(50, 500) * shapes[label]) for label in self.labels]).astype("f2")

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        return self.volumes[indices], self.labels[indices]


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AvgPool3d(4), nn.Conv3d(1, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4 * 16, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # summed across Q, so that the profile along it is what is left
        features = self.body(x.unsqueeze(1)).mean(dim=(3, 4)).flatten(1)
        return self.head(features), features


CONFIG = TrainingConfig(steps=30, batch=8, learning_rate=0.02, ema=0.8, bf16=False, checkpoint_every=10)


def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


def test_it_learns_and_logs(tmp_path: Path) -> None:
    source = Blobs(24)
    model = train(tiny(), source, Blobs(8), CONFIG, tmp_path)
    assert predict(model, source).accuracy == 1.0
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == CONFIG.steps
    assert last["validation_accuracy"] == 1.0


def test_a_finished_run_is_resumed_to_the_same_weights(tmp_path: Path) -> None:
    first = train(tiny(), Blobs(24), Blobs(8), CONFIG, tmp_path)
    steps: list[int] = []
    again = train(tiny(), Blobs(24), Blobs(8), CONFIG, tmp_path, lambda step, _: steps.append(step))
    assert steps == []
    for one, other in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path)
    other = TrainingConfig(steps=31, batch=8, bf16=False)
    with pytest.raises(ValueError, match="another configuration"):
        train(tiny(), Blobs(16), Blobs(8), other, tmp_path)


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [one_cycle(step, 100, 1.0) for step in range(101)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] < 0.2
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


def test_augmentation_keeps_the_profile_along_q() -> None:
    generator = torch.Generator().manual_seed(1)
    volumes = torch.from_numpy(Blobs(2).volumes).float()
    profile = volumes.sum(dim=(2, 3))
    copies = symmetry_copy(volumes, generator).sum(dim=(2, 3))
    # a flip along Q mirrors the profile, nothing moves it to another axis
    for one, copied in zip(profile, copies, strict=True):
        assert torch.allclose(one, copied, rtol=1e-4) or torch.allclose(one.flip(0), copied, rtol=1e-4)
    turned = turn_copy(volumes, 1.0, generator).sum(dim=(2, 3))
    torch.testing.assert_close(turned, profile, rtol=0.03, atol=0.5)


def test_a_shift_moves_by_whole_voxels_and_brings_in_zeros() -> None:
    volume = torch.zeros(1, 64, 64, 64)
    volume[0, 32, 32, 32] = 1.0
    moved = shift_copy(volume, 1, torch.Generator().manual_seed(5))
    assert moved.sum() == 1.0
    assert max(abs(i - 32) for i in np.unravel_index(int(moved.argmax()), (64, 64, 64))) <= 1


def test_normalising_divides_by_the_peak_and_survives_nothing() -> None:
    volumes = torch.stack([torch.full((4, 4, 4), 3.0), torch.zeros(4, 4, 4)])
    scaled = normalise(volumes)
    assert scaled[0].max() == 1.0
    assert scaled[1].abs().max() == 0.0
