"""The training loop learns, resumes where it stopped, and augments only with what keeps the Q axis."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TypedDict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from braggwatch.models.cxdp.augmentation import normalise, shift_copy, symmetry_copy, turn_copy
from braggwatch.models.cxdp.presentation import PatternPresentation
from braggwatch.models.learning import training
from braggwatch.models.learning.sample_stream import batches
from braggwatch.models.learning.training import (
    TrainingConfig,
    TrainingDivergedError,
    one_cycle,
    paper_config,
)
from braggwatch.models.learning.training_state import averaged_weights
from braggwatch.sim.errors import InputError
from braggwatch.sim.whole_file import UnwritableError

train = partial(training.train, presentation=PatternPresentation())
predict = partial(training.predict, presentation=PatternPresentation())
augmented = PatternPresentation().to_learn


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


def test_a_finished_run_is_resumed_to_the_same_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = train(tiny(), Blobs(24), Blobs(8), CONFIG, tmp_path)
    steps: list[int] = []
    again = train(tiny(), Blobs(24), Blobs(8), CONFIG, tmp_path, lambda step, _: steps.append(step))
    assert steps == []
    assert "finished at step 30: no step is left to do" in caplog.text
    for one, other in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path)
    other = TrainingConfig(steps=31, batch=8, bf16=False)
    with pytest.raises(ValueError, match=r"another training; .* What differs: steps: 30, now 31"):
        train(tiny(), Blobs(16), Blobs(8), other, tmp_path)


class InterruptionError(Exception):
    pass


class WithDropout(Tiny):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = super().forward(nn.functional.dropout(x, 0.1, self.training))
        return logits, features


class Clean(Blobs):
    """Half of the blobs without noise."""

    def clean(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        return indices % 4 < 2


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def seeded(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind()


def test_an_interrupted_run_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=8, batch=4, checkpoint_every=3)
    straight = train(seeded(WithDropout), Clean(12), Blobs(8), config, tmp_path / "straight")

    def interrupt(step: int, _: float) -> None:
        if step == 5:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        train(seeded(WithDropout), Clean(12), Blobs(8), config, tmp_path / "broken", interrupt)
    torch.rand(5)
    steps: list[int] = []
    resumed = train(
        seeded(WithDropout), Clean(12), Blobs(8), config, tmp_path / "broken", lambda step, _: steps.append(step)
    )
    assert steps[0] == 4
    assert same(straight, resumed)


def test_the_log_of_an_interrupted_run_tells_each_step_once(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=24, validate_every=4)

    def interrupt(step: int, _: float) -> None:
        if step == 19:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        train(tiny(), Blobs(16), Blobs(8), config, tmp_path, interrupt)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 2')
    train(tiny(), Blobs(16), Blobs(8), config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20, 24]
    assert all(line["seconds"] > 0 and "validation_loss" in line for line in lines)
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)


def test_a_checkpoint_that_does_not_say_what_it_learnt_from_is_refused(tmp_path: Path) -> None:
    train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path)
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    torch.save({key: state[key] for key in ("model", "averaged", "optimiser", "step", "config")}, path)
    with pytest.raises(InputError, match=r"which didn't record what it learnt from: .* remove that file"):
        train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path)


class Another(TypedDict, total=False):
    """What differs in another training."""

    model: Callable[[], nn.Module]
    source: Callable[[], Blobs]
    validation: Callable[[], Blobs]
    settings: dict[str, str]
    presentation: Callable[[], PatternPresentation]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"source": lambda: Blobs(18)}, "the training data: 16 samples"),
        ({"source": lambda: Misnamed(16)}, "the training data: 16 samples"),
        ({"source": lambda: Clean(16)}, "the training data"),
        ({"validation": lambda: Misnamed(8)}, "the validation data"),
        ({"model": lambda: seeded_with(5)}, "the first weights"),
        ({"settings": {"--from": "other/1.0.0"}}, "--from: not recorded, now other/1.0.0"),
        ({"presentation": lambda: Witness()}, "what is shown of a sample"),
    ],
)
def test_the_checkpoint_of_another_training_is_never_taken_for_ones_own(
    tmp_path: Path, other: Another, named: str
) -> None:
    train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    model, source = other.get("model", tiny)(), other.get("source", lambda: Blobs(16))()
    validation, settings = other.get("validation", lambda: Blobs(8))(), other.get("settings", {})
    shown = other.get("presentation", PatternPresentation)()
    with pytest.raises(InputError, match="belongs to another training") as refused:
        train(model, source, validation, CONFIG, tmp_path, settings=settings, presentation=shown)
    assert named in str(refused.value)
    assert "--work" in str(refused.value)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def seeded_with(seed: int) -> Tiny:
    torch.manual_seed(seed)
    return Tiny()


@pytest.mark.parametrize("kept", [0, 10, 0.5, -1])
def test_a_checkpoint_cut_short_is_named(tmp_path: Path, kept: float) -> None:
    train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path)
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match=r"checkpoint\.pt is no checkpoint.*remove it to begin anew"):
        train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path)


def test_two_trainings_at_a_time_in_one_folder_are_refused(tmp_path: Path) -> None:
    def second(step: int, _: float) -> None:
        if step == 1:
            train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path)

    with pytest.raises(InputError, match="another training is running in"):
        train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path, second)
    steps: list[int] = []
    train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path, lambda step, _: steps.append(step))
    assert steps[-1] == CONFIG.steps, "the lock ended with the one that held it"


def test_a_sample_that_is_no_number_is_named_and_not_the_learning_rate(tmp_path: Path) -> None:
    source = Blobs(16)
    source.volumes[5, 3, 3, 3] = np.nan
    with pytest.raises(InputError, match="sample 5"):
        train(tiny(), source, Blobs(8), CONFIG, tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda", "cpu:3", "mps", "cuda:99"])
def test_a_device_that_is_not_here_is_told(tmp_path: Path, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="device"):
        train(tiny(), Blobs(16), Blobs(8), replace(CONFIG, device=device), tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_full_disk_is_told_by_the_checkpoint_that_found_no_room(tmp_path: Path, monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwritableError, match=r"checkpoint\.pt couldn't be written: No space left"):
        train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path)
    assert not list(tmp_path.glob("*.partial"))


def test_another_network_in_the_folder_is_refused(tmp_path: Path) -> None:
    train(tiny(), Blobs(16), Blobs(8), CONFIG, tmp_path)
    other = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"another training.*the first weights"):
        train(other, Blobs(16), Blobs(8), CONFIG, tmp_path)


def test_the_number_of_threads_may_change_on_the_way(tmp_path: Path) -> None:
    assert replace(CONFIG, threads=4, device="cuda").same_run({"steps": 30, **_values(CONFIG)})
    assert not replace(CONFIG, seed=9).same_run(_values(CONFIG))


def _values(config: TrainingConfig) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(config)


class Misnamed(Blobs):
    """Labels swapped: what is learnt from the others makes it worse."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.labels = 1 - self.labels


def test_it_stops_at_the_plateau_with_the_best_weights(tmp_path: Path) -> None:
    config = replace(paper_config(64), steps=200, batch=8, validate_every=2, checkpoint_every=50, patience=2)
    steps: list[int] = []
    model = train(tiny(), Blobs(16), Misnamed(8), config, tmp_path, lambda step, _: steps.append(step))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["validation_loss"] for line in lines]
    assert steps[-1] < 200
    assert losses.index(min(losses)) == len(losses) - 3
    assert predict(model, Misnamed(8)).loss == pytest.approx(min(losses), rel=1e-5)
    # a plateau stays one
    train(tiny(), Blobs(16), Misnamed(8), config, tmp_path, lambda *_: pytest.fail("it went on"))
    kept = averaged_weights(tmp_path / "checkpoint.pt")
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_the_papers_schedule_is_the_papers() -> None:
    config = paper_config(9000)
    assert (config.optimiser, config.learning_rate, config.batch, config.label_smoothing) == ("adam", 1e-3, 64, 0.0)
    assert config.validate_every == 9000 // 64
    assert config.patience > 0
    volumes = torch.from_numpy(Blobs(4).volumes).float()
    shown = PatternPresentation().to_learn(
        volumes, torch.zeros(4, dtype=torch.bool), config, torch.Generator().manual_seed(1)
    )
    torch.testing.assert_close(shown, normalise(volumes))


def test_a_gradient_that_is_no_number_changes_no_weight(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Overflows(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, *grad_outputs: Tensor) -> Tensor:
            return grad_outputs[0] * float("inf")

    class Fragile(Tiny):
        calls = 0

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            logits, features = super().forward(x)
            self.calls += self.training
            return (Overflows.apply(logits) if self.training and self.calls == 3 else logits), features

    model = train(Fragile(), Blobs(16), Blobs(8), CONFIG, tmp_path)
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())
    assert "step 3: the gradient is no finite number" in caplog.text


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    class Broken(Tiny):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            logits, features = super().forward(x)
            return logits * float("nan"), features

    with pytest.raises(TrainingDivergedError, match="step 1"):
        train(Broken(), Blobs(16), Blobs(8), CONFIG, tmp_path)


def test_fewer_samples_than_a_batch_are_refused_rather_than_awaited(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fewer than one batch"):
        train(tiny(), Blobs(4), Blobs(4), CONFIG, tmp_path)


def test_every_epoch_shows_each_sample_once_and_the_stream_can_be_joined_anywhere() -> None:
    stream = [indices.tolist() for indices in islice(batches(20, 5, 3), 12)]
    for epoch in range(3):
        assert sorted(chain(*stream[4 * epoch : 4 * epoch + 4])) == list(range(20))
    assert [indices.tolist() for indices in islice(batches(20, 5, 3, 7), 5)] == stream[7:]


def test_only_clean_samples_are_given_noise() -> None:
    volumes = torch.from_numpy(Blobs(4).volumes).float()
    config = replace(paper_config(64), nuisance=True)
    clean = torch.tensor([False, True, False, True])
    shown = PatternPresentation().to_learn(volumes, clean, config, torch.Generator().manual_seed(1))
    plain = normalise(volumes)
    assert torch.equal(shown[0], plain[0])
    assert torch.equal(shown[2], plain[2])
    assert not torch.equal(shown[1], plain[1])
    off = PatternPresentation().to_learn(
        volumes, clean, replace(config, nuisance=False), torch.Generator().manual_seed(1)
    )
    torch.testing.assert_close(off, plain)


class Witness(PatternPresentation):
    """Notes whether the samples that the training is watched on are spoilt."""

    def __init__(self) -> None:
        self.spoilt: set[bool] = set()

    def to_judge(self, samples: Tensor, clean: Tensor, generator: torch.Generator | None) -> Tensor:
        self.spoilt.add(generator is not None)
        return super().to_judge(samples, clean, generator)


@pytest.mark.parametrize("nuisance", [True, False])
def test_training_is_watched_on_samples_like_those_learnt_from(tmp_path: Path, nuisance: bool) -> None:
    witness = Witness()
    config = replace(CONFIG, steps=2, nuisance=nuisance)
    train(tiny(), Clean(16), Clean(8), config, tmp_path, presentation=witness)
    assert witness.spoilt == {nuisance}


@pytest.mark.gpu
def test_the_same_loop_runs_on_the_gpu(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    config = replace(CONFIG, device="cuda", bf16=True)
    model = train(tiny(), Clean(24), Blobs(8), config, tmp_path)
    assert next(model.parameters()).device.type == "cpu"
    assert predict(model, Blobs(24)).accuracy > 0.9
    again = train(tiny(), Clean(24), Blobs(8), replace(config, device="cpu"), tmp_path)
    assert same(model, again)


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
        mirrored = one.flip(0).roll(1)
        assert torch.allclose(one, copied, rtol=1e-4) or torch.allclose(mirrored, copied, rtol=1e-4)
    turned = turn_copy(volumes, 1.0, generator).sum(dim=(2, 3))
    torch.testing.assert_close(turned, profile, rtol=0.03, atol=0.5)


def test_augmentation_leaves_the_peak_at_the_centre() -> None:
    volumes = torch.zeros(32, 64, 64, 64)
    volumes[:, 32, 32, 32] = 1.0
    assert bool((symmetry_copy(volumes, torch.Generator().manual_seed(2)) == volumes).all())


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
