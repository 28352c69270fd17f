"""Knobs of a training run, and the ones of the publication to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

PAPER_SHARES = (0.85, 0.10, 0.05)
"""Training, validation and test shares of the configurations, Lim et al., npj Comput. Mater. 7, 115 (2021)."""
_WITHOUT_EFFECT_ON_THE_RESULT = frozenset({"device", "threads", "checkpoint_every"})


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Knobs of one run.

    Attributes
    ----------
    steps
        Optimiser steps at most; 'one-cycle' goes over all of them, to zero.
    learning_rate
        Peak of the cycle, or the constant rate.
    ema
        Decay of the averaged weights; 0: the weights as they are.
    largest_shift
        Random shift in voxels.
    turned_share
        Share of samples that are turned about Q by any angle.
    optimiser
        'adam' without decoupled weight decay, 'adamw' with, 'sgd' with momentum 0.9.
    schedule
        Of the learning rate; 'steps' divides it by ten every ``decay_every`` steps.
    patience
        Stop once this many validations in a row brought no smaller loss, and keep the weights of the smallest;
        0: go on to the last step.
    symmetry
        Show mirror images that keep the Q axis.
    nuisance
        Draw counts, noise, gaps, aliens anew for clean samples (`nuisance_augmentation`).
    clip_norm
        Largest norm of the gradient; 0: any.
    device
        'cpu', or 'cuda', which then holds the whole data set.
    """

    steps: int = 4000
    batch: int = 48
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.02
    ema: float = 0.998
    largest_shift: int = 0
    turned_share: float = 0.6
    threads: int = 1
    bf16: bool = True
    seed: int = 1
    checkpoint_every: int = 200
    validate_every: int = 400
    optimiser: Literal["adamw", "adam", "rmsprop", "sgd"] = "adamw"
    schedule: Literal["one-cycle", "constant", "steps"] = "one-cycle"
    decay_every: int = 0
    patience: int = 0
    symmetry: bool = True
    nuisance: bool = True
    clip_norm: float = 1.0
    device: str = "cpu"

    def same_run(self, stored: Mapping[str, object]) -> bool:
        """Whether a checkpoint's configuration is this one: a key it lacks, being newer, counts as its default."""
        return not self.differences(stored)

    def differences(self, stored: Mapping[str, object]) -> tuple[str, ...]:
        """Name what of a checkpoint's configuration isn't as here, with both values; see `same_run`."""
        known = asdict(TrainingConfig())
        theirs = {**known, **stored}
        mine = asdict(self)
        return tuple(
            f"{key}: {theirs[key]}, now {mine[key]}"
            for key in known
            if key not in _WITHOUT_EFFECT_ON_THE_RESULT and theirs[key] != mine[key]
        )


def paper_config(samples: int, *, seed: int = 1, threads: int = 1, device: str = "cpu") -> TrainingConfig:
    """Return the schedule of Lim et al. (2021): Adam at 1e-3, batches of 64, cross-entropy, until validation plateaus.

    Parameters
    ----------
    samples
        Training samples: an epoch is once through them, and validation follows each. The paper gives no patience: ten
        epochs here, a hundred at most.
    """
    epoch = max(1, samples // 64)
    return TrainingConfig(
        steps=100 * epoch,
        batch=64,
        learning_rate=1e-3,
        weight_decay=0.0,
        label_smoothing=0.0,
        ema=0.0,
        largest_shift=0,
        turned_share=0.0,
        threads=threads,
        bf16=device != "cpu",
        seed=seed,
        checkpoint_every=epoch,
        validate_every=epoch,
        optimiser="adam",
        schedule="constant",
        patience=10,
        symmetry=False,
        clip_norm=0.0,
        device=device,
    )


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Learning rate at a step: linear warm-up over a tenth of the run, then a cosine to zero."""
    warm = max(1, steps // 10)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))


def rate_at(step: int, config: TrainingConfig) -> float:
    """Learning rate of a configuration at a step."""
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "steps":
        return config.learning_rate * 0.1 ** (step // max(1, config.decay_every))
    return one_cycle(step, config.steps, config.learning_rate)
