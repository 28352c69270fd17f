"""Train the residual networks of Ra et al. (RSC Adv. 11, 38307, 2021) on pictures of simulated patterns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from braggwatch.models.bundling.finishing import weights_bytes
from braggwatch.models.learning.training import predict, train
from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.networks.sadp import ResNet, ResNetKind, load_pretrained
from braggwatch.models.sadp.groups import computed_table
from braggwatch.models.sadp.pictures import PAPER, PicturePresentation, PictureSettings
from braggwatch.models.sadp.samples import PatternSamples
from braggwatch.sim.errors import InputError
from braggwatch.sim.sadp.pattern_set import PatternSet
from braggwatch.sim.sadp.splits import SplitWord, validation_structures

EPOCHS = 25
EPOCHS_A_DECADE = 7
WEIGHTS_FILE = "weights.safetensors"
SCORE_FILE = "validation.json"


@dataclass(frozen=True, slots=True)
class ResNetScore:
    """Accuracy of a trained network on structures not used in training.

    Attributes
    ----------
    accuracy, spoilt_accuracy
        Class accuracy on undisturbed pictures, and with the disturbances used in training.
    """

    kind: str
    width: int
    parameters: int
    split_by: str
    patterns: int
    accuracy: float
    spoilt_accuracy: float


@dataclass(frozen=True, slots=True)
class ResNetRecipe:
    """Settings of a training run.

    Attributes
    ----------
    kind, width
        Network and its width: 64 as published, 16 can be trained on a CPU.
    pictures
        How pictures are drawn; by default as published.
    pretrained
        Weights to start from, safetensors with torchvision's names; None: from scratch.
    """

    patterns: PatternSet
    config: TrainingConfig
    kind: ResNetKind = "resnet18"
    width: int = 64
    split_by: SplitWord = "structure"
    pictures: PictureSettings = PAPER
    pretrained: Path | None = None


def published_schedule(
    samples: int, *, batch: int = 64, epochs: int = EPOCHS, threads: int = 1, device: str = "cpu", seed: int = 1
) -> TrainingConfig:
    """Return the schedule of Ra et al.: SGD with momentum 0.9 at 1e-3, divided by ten every 7 of 25 epochs.

    Parameters
    ----------
    samples
        Number of training patterns; an epoch uses each once.
    batch
        Patterns per step; not given in the paper.
    """
    epoch = max(1, samples // batch)
    return TrainingConfig(
        steps=epochs * epoch,
        batch=batch,
        learning_rate=1e-3,
        weight_decay=0.0,
        label_smoothing=0.0,
        ema=0.0,
        threads=threads,
        bf16=device != "cpu",
        seed=seed,
        checkpoint_every=epoch,
        validate_every=epoch,
        optimiser="sgd",
        schedule="steps",
        decay_every=EPOCHS_A_DECADE * epoch,
        clip_norm=0.0,
        device=device,
    )


def training_patterns(patterns: PatternSet, split_by: SplitWord) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the training and validation patterns."""
    validation = validation_structures(patterns.structures, split_by)
    training = frozenset(facts.id for facts in patterns.structures if facts.id not in validation)
    return patterns.of_structures(training), patterns.of_structures(validation)


def train_resnet(
    recipe: ResNetRecipe, folder: Path, on_step: Callable[[int, float], None] | None = None
) -> ResNetScore:
    """Train, score, and write ``weights.safetensors`` and ``validation.json``; resumes from ``folder``.

    Raises
    ------
    InputError
        If there are fewer patterns than one batch, the folder's checkpoint belongs to another run, or the weights to
        start from belong to another network.
    """
    _, names = computed_table()
    learn, held = training_patterns(recipe.patterns, recipe.split_by)
    torch.manual_seed(recipe.config.seed)
    network = ResNet(recipe.kind, len(names), recipe.width)
    if recipe.pretrained is not None:
        try:
            load_pretrained(network, load_safetensors(recipe.pretrained.read_bytes()))
        except SafetensorError as error:
            raise InputError(f"{recipe.pretrained} contains no weights: {error}") from error
    validation = PatternSamples(recipe.patterns, held)
    pictures = PicturePresentation(recipe.pictures)
    trained = train(
        network,
        PatternSamples(recipe.patterns, learn),
        validation,
        recipe.config,
        folder,
        on_step,
        presentation=pictures,
        settings={
            "--network": recipe.kind,
            "--width": str(recipe.width),
            "--pretrained": "random weights" if recipe.pretrained is None else str(recipe.pretrained),
        },
    )
    clean = predict(trained, validation, presentation=pictures)
    disturbed = predict(trained, validation, presentation=pictures, nuisance_seed=1)
    score = ResNetScore(
        kind=recipe.kind,
        width=recipe.width,
        parameters=sum(parameter.numel() for parameter in trained.parameters()),
        split_by=recipe.split_by,
        patterns=len(held),
        accuracy=clean.accuracy,
        spoilt_accuracy=disturbed.accuracy,
    )
    (folder / WEIGHTS_FILE).write_bytes(weights_bytes(trained.state_dict()))
    (folder / SCORE_FILE).write_text(json.dumps(asdict(score), indent=2) + "\n", encoding="utf-8")
    return score
