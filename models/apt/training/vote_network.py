"""Train the network of Li et al., npj Comput. Mater. 7, 8 (2021), their way, with the loop that all systems share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from braggwatch.models.apt.area import Area, area_under_curve
from braggwatch.models.apt.training.pictures import PicturePresentation, PictureSamples
from braggwatch.models.learning.training import Prediction, predict, train
from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.networks.sdm import PaperSdmNet
from braggwatch.sim.errors import InputError

FOLDS = 5
EPOCHS = 7
BATCH = 32
PUBLISHED_DISORDERED, PUBLISHED_ORDERED = 9866, 8550
"""Simulated pictures of each class that the publication trained on."""


@dataclass(frozen=True, slots=True)
class Fold:
    """What a network says of the part that it didn't learn from.

    Attributes
    ----------
    loss
        Mean binary cross-entropy, nats.
    area
        Area under the receiver operating characteristic; None where the part lacks a class.
    """

    trained_on: int
    tested_on: int
    loss: float
    accuracy: float
    area: Area | None


def paper_sdm_config(
    samples: int, *, epochs: int = EPOCHS, seed: int = 1, threads: int = 1, device: str = "cpu", bf16: bool = False
) -> TrainingConfig:
    """Return the published schedule: RMSprop at a constant 1e-3, batches of 32, 7 epochs, no regularisation.

    Parameters
    ----------
    samples
        Training samples; the remainder of an epoch that fills no batch is left out.
    bf16
        Products in half precision (weights stay in fp32): half the time on processors that have it.
    """
    epoch = max(1, samples // BATCH)
    return TrainingConfig(
        steps=epochs * epoch,
        batch=BATCH,
        learning_rate=1e-3,
        weight_decay=0.0,
        label_smoothing=0.0,
        ema=0.0,
        largest_shift=0,
        turned_share=0.0,
        threads=threads,
        bf16=bf16,
        seed=seed,
        checkpoint_every=epoch,
        validate_every=epoch,
        optimiser="rmsprop",
        schedule="constant",
        symmetry=False,
        nuisance=False,
        clip_norm=0.0,
        device=device,
    )


def train_paper(
    samples: PictureSamples,
    watched: PictureSamples,
    config: TrainingConfig,
    folder: Path,
    *,
    depth: int = 4,
    on_step: Callable[[int, float], None] | None = None,
) -> PaperSdmNet:
    """Train one network.

    Parameters
    ----------
    watched
        Looked at after each epoch, for the log only.
    folder
        Receives log and checkpoint; resumed where there.
    depth
        Convolutions, 1 to 4.

    Raises
    ------
    ValueError
        As `braggwatch.models.learning.training.train` does.
    """
    torch.manual_seed(config.seed)
    network = PaperSdmNet(depth)
    # channels last: two thirds of the time on a processor, the same network
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    trained = train(network, samples, watched, config, folder, on_step, presentation=PicturePresentation())
    plain = PaperSdmNet(depth)
    plain.load_state_dict(trained.state_dict())
    return plain.eval()


def judge(network: PaperSdmNet, samples: PictureSamples) -> Prediction:
    """Return what a network says of samples."""
    return predict(network, samples, presentation=PicturePresentation())


def judge_fold(network: PaperSdmNet, trained_on: int, samples: PictureSamples) -> Fold:
    """Judge a network by samples that it didn't learn from."""
    said = judge(network, samples)
    score = said.logits[:, 1] - said.logits[:, 0]
    both = 0 < samples.labels.sum() < len(samples)
    area = area_under_curve(score[samples.labels == 1], score[samples.labels == 0]) if both else None
    return Fold(trained_on, len(samples), said.loss, said.accuracy, area)


def cross_validate(
    samples: PictureSamples,
    config: Callable[[int], TrainingConfig],
    folder: Path,
    *,
    folds: int = FOLDS,
    depth: int = 4,
    seed: int = 1,
    on_step: Callable[[int, int, float], None] | None = None,
) -> list[Fold]:
    """Train on all folds but one, in turn, and test on that one.

    Parameters
    ----------
    config
        Gives the knobs for a number of samples, as `paper_sdm_config` does.
    folder
        A folder a fold with log and checkpoint, resumed where there.
    on_step
        Called with (fold, step, loss).
    """
    if folds < 2:
        raise InputError("cross-validation needs at least two folds")
    found: list[Fold] = []
    for number in range(folds):
        rest, own = samples.fold(number, folds, seed)

        def step(done: int, loss: float, number: int = number) -> None:
            if on_step is not None:
                on_step(number, done, loss)

        network = train_paper(rest, own, config(len(rest)), folder / f"fold-{number}", depth=depth, on_step=step)
        found.append(judge_fold(network, len(rest), own))
    return found
