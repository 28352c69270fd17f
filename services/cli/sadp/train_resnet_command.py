"""``braggwatch sadp train-resnet``: the published networks on pictures of simulated patterns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import clear_errors, counted_progress, error_console
from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    from braggwatch.models.networks.sadp import ResNetKind


def train_resnet(
    data: Annotated[
        list[Path], typer.Option("--data", help="File of patterns, or folder of such files; may be repeated.")
    ],
    work: Annotated[
        Path, typer.Option("--work", help="Folder of log, checkpoint, weights and score; an existing run is resumed.")
    ],
    kind: Annotated[str, typer.Option("--network", help="resnet18, 34, 50, 101 or 152.")] = "resnet18",
    width: Annotated[int, typer.Option(min=4, help="Channels of the first stage: 64 as published.")] = 64,
    augmentation: Annotated[
        str,
        typer.Option(
            help="'paper': camera length, 0 to 30° rotation, random crop; 'microscope': rotation, mirror, halo, noise, "
            "beam stops, intensities to the power 0.25."
        ),
    ] = "paper",
    split: Annotated[str, typer.Option(help="'structure', as published, or 'prototype'.")] = "structure",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs: passes through the training patterns.")] = 25,
    batch: Annotated[int, typer.Option(min=2, help="Pictures per step.")] = 64,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            help="Weights to start from, safetensors with torchvision's names, e.g. of ImageNet; default: random."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Cores.")] = 1,
    device: Annotated[str, typer.Option("--device", help="'cpu' or 'cuda'.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of weights and order of pictures.")] = 1,
) -> None:
    """Train a residual network on 224 x 224 pictures with the schedule of Ra et al. (2021), for comparison.

    SGD with momentum 0.9 at 0.001, divided by ten every 7 epochs. Pictures are drawn anew each time. Writes
    weights.safetensors and validation.json into the work folder; the networks of 'sadp classify' are trained by 'sadp
    train'.

    Example: **braggwatch sadp train-resnet --data data/sadp --network resnet101 --device cuda --work runs/resnet101**
    """
    with clear_errors():
        from braggwatch.models.learning.device import check_device
        from braggwatch.models.learning.freed_memory import keep_freed_memory
        from braggwatch.models.sadp.pictures import PAPER, PictureSettings
        from braggwatch.services.sadp.training.resnet import ResNetRecipe, published_schedule, training_patterns
        from braggwatch.services.sadp.training.resnet import train_resnet as run
        from braggwatch.sim.sadp.pattern_files import read_patterns
        from braggwatch.sim.sadp.pattern_set import join

        keep_freed_memory()
        check_device(device)
        if split not in {"structure", "prototype"}:
            raise InputError(f"the split is 'structure' or 'prototype', not {split!r}")
        if augmentation not in {"paper", "microscope"}:
            raise InputError(f"the augmentation is 'paper' or 'microscope', not {augmentation!r}")
        patterns = join([read_patterns(one) for one in data])
        by = "structure" if split == "structure" else "prototype"
        learn, _ = training_patterns(patterns, by)
        config = published_schedule(len(learn), batch=batch, epochs=epochs, threads=threads, device=device, seed=seed)
        recipe = ResNetRecipe(
            patterns=patterns,
            config=config,
            kind=_kind(kind),
            width=width,
            split_by=by,
            pictures=PAPER if augmentation == "paper" else PictureSettings(),
            pretrained=pretrained,
        )
        with counted_progress() as progress:
            task = progress.add_task("training", total=config.steps)
            score = run(
                recipe,
                work,
                lambda step, loss: progress.update(task, completed=step, description=f"training, loss {loss:.3f}"),
            )
        error_console().print(f"{work}: class accuracy {score.accuracy:.3f} of {score.patterns} patterns")


def _kind(name: str) -> ResNetKind:
    from braggwatch.models.networks.sadp import RESNET_KINDS

    for kind in RESNET_KINDS:
        if name == kind:
            return kind
    raise InputError(f"no network {name!r}: one of {', '.join(RESNET_KINDS)}")
