"""``braggwatch apt train``: simulate maps, train the network of order, write its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, counted_progress, error_console, write_json


def train(
    version: Annotated[str, typer.Option("--version", help="Version of the new bundle, e.g. 1.0.0.")],
    name: Annotated[str, typer.Option("--name", help="Name of the bundle.")] = "apt-l12",
    volumes: Annotated[int, typer.Option(min=5, help="Small simulated volumes to learn from.")] = 420,
    held_out: Annotated[int, typer.Option(min=8, help="Other volumes, to calibrate and to test on.")] = 40,
    rule_volumes: Annotated[
        int, typer.Option(min=5, help="Again others, to find the rule on by which a voxel counts as ordered.")
    ] = 200,
    steps: Annotated[int, typer.Option(min=10, help="Optimiser steps of each member.")] = 500,
    members: Annotated[int, typer.Option(min=2, help="Networks, each trained on all folds but one.")] = 5,
    work: Annotated[Path, typer.Option("--work", help="Samples, logs and checkpoints; resumed where there.")] = Path(
        "runs/apt-train"
    ),
    config: Annotated[
        Path | None, typer.Option(help="JSON file with ranges of the training world, else those for Al and Ni alloys.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Cores.")] = 1,
    device: Annotated[str, typer.Option("--device", help="'cpu', or 'cuda', which takes in the whole set.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of volumes, weights and order.")] = 1,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Folder of bundles; else those of the package.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print where the bundle is as one JSON object.")] = False,
) -> None:
    """Train the network that tells L1₂ from fcc voxel by voxel: volumes, maps, five members, calibration, bundle.

    Needs no data: it simulates small volumes with every nuisance in the same range for both phases. Run again, it goes
    on where it stopped.

    Example: **braggwatch apt train --version 1.0.0 --registry my-bundles**
    """
    with clear_errors():
        from braggwatch.models.apt.training.ensemble import sdm_config
        from braggwatch.models.apt.training.training_world import TrainingWorld
        from braggwatch.models.bundling.bundle import Bundle
        from braggwatch.models.bundling.registry import Registry
        from braggwatch.models.learning.freed_memory import keep_freed_memory
        from braggwatch.services.apt.training.order_training import OrderRecipe, make_order_bundle

        keep_freed_memory()
        recipe = OrderRecipe(
            name=name,
            version=version,
            volumes=volumes,
            held_out=held_out,
            rule_volumes=rule_volumes,
            members=members,
            world=TrainingWorld() if config is None else TrainingWorld.model_validate_json(config.read_text()),
            config=sdm_config(steps, seed=seed, threads=threads, device=device),
        )
        with counted_progress() as progress:
            simulating = progress.add_task("simulating volumes", total=volumes + held_out + rule_volumes)
            training = progress.add_task("training", total=members * steps)
            path = make_order_bundle(
                recipe,
                Registry(registry).root,
                work,
                lambda done, _of: progress.update(simulating, completed=done),
                lambda member, step, loss: progress.update(
                    training, completed=member * steps + step, description=f"member {member + 1}, loss {loss:.3f}"
                ),
            )
        metrics = Bundle.load(path).manifest.metrics
        if as_json:
            write_json({"bundle": str(path), "metrics": None if metrics is None else metrics.model_dump()})
        elif metrics is not None:
            error_console().print(f"{path}: {metrics.accuracy:.1%} of {metrics.samples} held-out atoms' phases right")
