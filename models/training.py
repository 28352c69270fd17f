"""One plain training loop: resumable, logged as JSON lines, weights averaged (EMA).

Classes and volumes come from a `Source`; which system they belong to is no concern of the loop.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from braggwatch.models.augmentation import normalise, shift_copy, symmetry_copy, turn_copy


class Source(Protocol):
    """Labelled samples in memory or memory-mapped."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Return log1p intensities (B, 64, 64, 64) and class indices (B,)."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Knobs of one run.

    Attributes
    ----------
    steps
        Optimiser steps; the learning rate follows one cycle over them, to zero.
    learning_rate
        Peak of the cycle (AdamW).
    ema
        Decay of the averaged weights.
    largest_shift
        Random shift in voxels.
    turned_share
        Share of samples that are turned about Q by any angle.
    """

    steps: int = 4000
    batch: int = 48
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.02
    ema: float = 0.998
    largest_shift: int = 1
    turned_share: float = 0.6
    threads: int = 1
    bf16: bool = True
    seed: int = 1
    checkpoint_every: int = 200
    validate_every: int = 400


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Learning rate at a step: linear warm-up over a tenth of the run, then a cosine to zero."""
    warm = max(1, steps // 10)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))


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


def predict(model: nn.Module, source: Source, *, batch: int = 64, bf16: bool = False) -> Prediction:
    """Run a network over a whole source, without augmentation."""
    model.eval()
    logits: list[NDArray[np.float32]] = []
    features: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for start in range(0, len(source), batch):
            volumes, truth = source.batch(np.arange(start, min(start + batch, len(source))))
            out, penultimate = model(normalise(torch.from_numpy(volumes).float()))
            logits.append(out.float().numpy())
            features.append(penultimate.float().numpy())
            labels.append(truth)
    return Prediction(np.concatenate(logits), np.concatenate(features), np.concatenate(labels))


def _batches(count: int, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    epoch = 0
    while True:
        order = np.random.default_rng((seed, epoch)).permutation(count)
        for start in range(0, count - size + 1, size):
            yield np.sort(order[start : start + size])
        epoch += 1


def _to_device(volumes: NDArray[np.float16], config: TrainingConfig, generator: torch.Generator) -> Tensor:
    x = torch.from_numpy(volumes).float()
    x = turn_copy(symmetry_copy(x, generator), config.turned_share, generator)
    return normalise(shift_copy(x, config.largest_shift, generator))


def train(
    model: nn.Module,
    source: Source,
    validation: Source,
    config: TrainingConfig,
    folder: Path,
    on_step: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Train a network and return the averaged one.

    Parameters
    ----------
    model
        Returns (logits, features).
    source, validation
        Samples to learn from and to watch.
    config
        Knobs.
    folder
        Receives ``log.jsonl`` and ``checkpoint.pt``; a checkpoint of the same configuration there is resumed.
    on_step
        Called with (step, loss), for a progress bar.

    Raises
    ------
    ValueError
        If the folder's checkpoint was made with another configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    averaged = copy.deepcopy(model)
    checkpoint, first = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["config"] != asdict(config):
            raise ValueError(f"{checkpoint} belongs to another configuration: choose another folder or remove it")
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
    stream = _batches(len(source), config.batch, config.seed + first)
    began = time.monotonic()
    with (folder / "log.jsonl").open("a") as log:
        for step in range(first, config.steps):
            rate = one_cycle(step, config.steps, config.learning_rate)
            for group in optimiser.param_groups:
                group["lr"] = rate
            volumes, truth = source.batch(next(stream))
            model.train()
            with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
                logits, _ = model(_to_device(volumes, config, generator))
            loss = functional.cross_entropy(
                logits.float(), torch.from_numpy(truth), label_smoothing=config.label_smoothing
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            _average(averaged, model, min(config.ema, (step + 1) / (step + 10)))
            if on_step is not None:
                on_step(step + 1, float(loss.detach()))
            record: dict[str, float] = {"step": step + 1, "loss": float(loss.detach()), "rate": rate}
            if (step + 1) % config.validate_every == 0 or step + 1 == config.steps:
                record["validation_accuracy"] = predict(averaged, validation, bf16=config.bf16).accuracy
            if (step + 1) % 20 == 0 or "validation_accuracy" in record:
                record["seconds"] = time.monotonic() - began
                log.write(json.dumps(record) + "\n")
                log.flush()
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                _save(checkpoint, model, averaged, optimiser, step + 1, config)
    return averaged


def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for mine, theirs in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


def _save(
    path: Path,
    model: nn.Module,
    averaged: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    config: TrainingConfig,
) -> None:
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "model": model.state_dict(),
            "averaged": averaged.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "config": asdict(config),
        },
        partial,
    )
    partial.replace(path)
