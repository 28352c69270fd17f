"""``braggwatch apt train``: simulate maps, train the order network, write its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, counted_progress, error_console, write_json


def train(
    version: Annotated[str, typer.Option("--version", help="Version of the new bundle, e.g. 1.0.0.")],
    name: Annotated[str, typer.Option("--name", help="Name of the bundle.")] = "apt-l12",
    volumes: Annotated[int, typer.Option(min=5, help="Small simulated volumes for training.")] = 420,
    held_out: Annotated[int, typer.Option(min=8, help="Other volumes, for calibration and testing.")] = 40,
    rule_volumes: Annotated[
        int, typer.Option(min=5, help="Further volumes, to fit the rule that classifies voxels.")
    ] = 200,
    steps: Annotated[int, typer.Option(min=10, help="Optimiser steps per member.")] = 500,
    members: Annotated[int, typer.Option(min=2, help="Networks, each trained on all folds but one.")] = 5,
    work: Annotated[
        Path, typer.Option("--work", help="Folder of samples, logs and checkpoints; an existing run is resumed.")
    ] = Path("runs/apt-train"),
    config: Annotated[
        Path | None,
        typer.Option(help="JSON file with the ranges of the training world; default: those for Al and Ni alloys."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Cores.")] = 1,
    device: Annotated[
        str, typer.Option("--device", help="'cpu', or 'cuda', which loads the whole set into GPU memory.")
    ] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of volumes, weights and order of samples.")] = 1,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Folder of bundles; default: those of the package.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's path as one JSON object.")] = False,
) -> None:
    """Train the network that distinguishes L1₂ from fcc voxel by voxel: volumes, maps, members, calibration, bundle.

    Needs no data: it simulates small volumes with the same range of every nuisance parameter in both phases. Run again,
    it resumes.

    Example: **braggwatch apt train --version 1.0.0 --registry my-bundles**
    """
    with clear_errors():
        from braggwatch.models.apt.training.ensemble import sdm_config
        from braggwatch.models.apt.training.training_world import TrainingWorld
        from braggwatch.models.bundling.bundle import Bundle
        from braggwatch.models.bundling.registry import Registry, check_new_bundle
        from braggwatch.models.learning.device import check_device
        from braggwatch.models.learning.freed_memory import keep_freed_memory
        from braggwatch.services.apt.training.order_training import OrderRecipe, make_order_bundle
        from braggwatch.sim.validated import read_json_model

        keep_freed_memory()
        check_new_bundle(Registry(registry).root, name, version)
        check_device(device)
        recipe = OrderRecipe(
            name=name,
            version=version,
            volumes=volumes,
            held_out=held_out,
            rule_volumes=rule_volumes,
            members=members,
            world=TrainingWorld() if config is None else read_json_model(config, TrainingWorld),
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
            error_console().print(
                f"{path}: {metrics.accuracy:.1%} of {metrics.samples} held-out atoms have the correct phase"
            )
