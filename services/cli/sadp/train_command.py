"""``braggwatch sadp train``: from simulated patterns to a bundle with its scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, counted_progress, error_console
from braggwatch.sim.errors import InputError


def train(
    data: Annotated[
        list[Path], typer.Option("--data", help="File of patterns, or folder of such files; may be repeated.")
    ],
    version: Annotated[str, typer.Option("--version", help="Version of the new bundle, e.g. 0.1.0.")],
    name: Annotated[str, typer.Option("--name", help="Name of the bundle.")] = "sadp-cubic",
    work: Annotated[
        Path, typer.Option("--work", help="Folder of log and checkpoint; an existing run is resumed.")
    ] = Path("runs/sadp"),
    split: Annotated[
        str,
        typer.Option(
            help="How test and training are separated: 'structure', as published, or 'prototype', which keeps the same "
            "arrangement with other elements on one side."
        ),
    ] = "structure",
    width: Annotated[int, typer.Option(min=8, help="Width of the network.")] = 384,
    blocks: Annotated[int, typer.Option(min=1, help="Residual blocks of the network.")] = 2,
    start: Annotated[
        Path | None, typer.Option("--start", help="Weights to start from: weights.safetensors of a bundle.")
    ] = None,
    steps: Annotated[int, typer.Option(min=10, help="Optimiser steps.")] = 26000,
    batch: Annotated[int, typer.Option(min=2, help="Patterns per step.")] = 128,
    learning_rate: Annotated[
        float, typer.Option(min=1e-6, help="Peak learning rate of the one-cycle schedule.")
    ] = 2e-3,
    threads: Annotated[int, typer.Option(min=1, help="Cores.")] = 1,
    device: Annotated[str, typer.Option("--device", help="'cpu' or 'cuda'.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of weights and order of patterns.")] = 1,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Folder of bundles; default: the package's.")
    ] = None,
) -> None:
    """Train the lattice map network on simulated patterns, calibrate it, test it and write its bundle.

    Patterns get a microscope's disturbances, drawn anew each time. Add patterns of thick foils (simulate --dynamical)
    to the kinematic ones to train on both. Resumes after an interruption. Also writes evaluation.json into the work
    folder.

    Example: **braggwatch sadp train --data data/sadp --data data/sadp-thick --version 1.0.0**
    """
    with clear_errors():
        from braggwatch.models.bundling.registry import Registry, check_new_bundle
        from braggwatch.models.learning.device import check_device
        from braggwatch.models.learning.freed_memory import keep_freed_memory
        from braggwatch.models.learning.training_config import TrainingConfig
        from braggwatch.services.sadp.training.bundle_making import SadpRecipe, train_sadp, write_sadp_bundle
        from braggwatch.sim.sadp.pattern_files import read_patterns
        from braggwatch.sim.sadp.pattern_set import join

        keep_freed_memory()
        check_new_bundle(Registry(registry).root, name, version)
        check_device(device)
        if split not in {"structure", "prototype"}:
            raise InputError(f"the split is 'structure' or 'prototype', not {split!r}")
        files = tuple(file for one in data for file in (sorted(one.glob("*.h5")) if one.is_dir() else (one,)))
        recipe = SadpRecipe(
            name=name,
            version=version,
            patterns=join([read_patterns(one) for one in data]),
            files=files,
            config=TrainingConfig(
                steps=steps,
                batch=batch,
                learning_rate=learning_rate,
                threads=threads,
                device=device,
                seed=seed,
                checkpoint_every=500,
                validate_every=2000,
            ),
            split_by="structure" if split == "structure" else "prototype",
            width=width,
            blocks=blocks,
            start=start,
        )
        with counted_progress() as progress:
            task = progress.add_task("training", total=steps)
            network = train_sadp(
                recipe,
                work,
                lambda step, loss: progress.update(task, completed=step, description=f"training, loss {loss:.3f}"),
            )
            progress.add_task("calibrating and testing", total=None)
            folder, evaluation = write_sadp_bundle(recipe, network, Registry(registry).root)
        (work / "evaluation.json").write_text(evaluation.to_json(), encoding="utf-8")
        error_console().print(f"{folder}: class accuracy {evaluation.clean['0.001'].class_accuracy:.3f}")
