"""``braggwatch cxdp train`` and ``braggwatch cxdp evaluate``: from shards to a bundle with its scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, counted_progress, error_console
from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    from braggwatch.models.learning.training_config import TrainingConfig
    from braggwatch.services.cxdp.training.labelled_shards import Split

_Root = Annotated[Path | None, typer.Option("--registry", help="Folder of bundles; else those of the package.")]
_Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes of the test, one core each.")]
Lines = Annotated[
    Path | None,
    typer.Option(
        "--lines",
        help="Folder of shards of lines out to the rim, by which it is measured how far from the centre lines are "
        "found (sim/populations/lines-to-the-rim.json); else those of the calibration.",
    ),
]
NamedRight = Annotated[
    float | None,
    typer.Option(
        "--named-right",
        min=0.5,
        max=0.999,
        help="Share of the named classes that must be right on the calibration, in each class by itself, e.g. 0.98: "
        "the confidence asked for is raised to what that takes. Else it is 0.7.",
    ),
]
"""Both for each command that calibrates."""
_STEPS = 8000


def train(
    data: Annotated[
        list[Path],
        typer.Option(
            "--data", help="Folder of training shards and outliers; again for more. One named twice counts twice."
        ),
    ],
    version: Annotated[str, typer.Option("--version", help="Version of the new bundle, e.g. 1.0.0.")],
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Folder of shards of other crystals; see --test.")
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            "--test",
            help="Folder of test shards, of crystals used nowhere else, which is checked. Without --calibration and "
            "--test, the data are divided by crystal: 85, 10 and 5 % to learn from, to calibrate and to test.",
        ),
    ] = None,
    lines: Lines = None,
    named_right: NamedRight = None,
    name: Annotated[str, typer.Option("--name", help="Name of the bundle.")] = "cxdp-fcc",
    work: Annotated[
        Path,
        typer.Option("--work", help="Log and checkpoint; the same training there is resumed, another's is refused."),
    ] = Path("runs/train"),
    preset: Annotated[
        str,
        typer.Option(
            help="'default': AdamW, one cycle of the learning rate, averaged weights. 'paper': schedule and network of "
            "Lim et al. 2021: Adam at 1e-3, batches of 64, until the validation loss plateaus."
        ),
    ] = "default",
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            help="'foveated', 'wide', 'paired', 'paper' or 'paper-half' (for CPUs); else the preset's own.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=10, help=f"Optimiser steps; else {_STEPS}, or the preset's limit.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Patterns a step; else 48, or the preset's.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-6, help="Peak of the one-cycle schedule, else 2e-3; or the constant rate.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Cores.")] = 2,
    device: Annotated[str, typer.Option("--device", help="'cpu', or 'cuda', which takes in the whole set.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")] = 1,
    start_from: Annotated[
        str | None,
        typer.Option("--from", help="Bundle (name, alias, folder) to train further; else random weights."),
    ] = None,
    largest_line_offset: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Learn only from lines up to this far from the centre, over the cube root of the volume: those at the "
            "rim leave hardly a mark.",
        ),
    ] = None,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap",
            help="Go on where training, calibration and test share crystals; terminal, card and manifest say so.",
        ),
    ] = False,
    workers: _Workers = 1,
    registry: _Root = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make it 'production' when it is written.")] = False,
) -> None:
    """Train the CXDP network, calibrate it, test it and write its bundle. Resumes after an interruption.

    Before the first step it reads every shard and refuses damaged ones, a class that is missing, crystals that are both
    learnt from and tested on, and a version that is taken.

    Shards without noise ('braggwatch cxdp simulate --nuisance none') are given counts, noise, gaps and aliens anew each
    time they are shown.

    Example: **braggwatch cxdp train --data data/train --calibration data/calibration --test data/test --version 1.0.0**
    """
    with clear_errors():
        from braggwatch.models.bundling.registry import Registry, check_new_bundle
        from braggwatch.models.learning.device import check_device
        from braggwatch.models.learning.freed_memory import keep_freed_memory
        from braggwatch.models.networks.factory import network_kind
        from braggwatch.services.cxdp.training.bundle_making import (
            check_recipe,
            find_shards,
            train_network,
            write_tested_bundle,
        )
        from braggwatch.services.cxdp.training.bundle_recipe import BundleRecipe
        from braggwatch.services.cxdp.training.labelled_shards import Split

        keep_freed_memory()
        check_new_bundle(Registry(registry).root, name, version)
        check_device(device)
        if (calibration is None) != (test is None):
            raise InputError("give both of --calibration and --test, or neither to divide the data")
        split = Split() if calibration is None else None
        # a folder may hold crystals, outliers or both
        shards = tuple(path for folder in data for path in find_shards(folder, "*.h5"))
        outliers = tuple(path for path in shards if path.name.startswith("outlier-"))
        training = tuple(path for path in shards if path.name.startswith("cxdp-")) or find_shards(data[0], "cxdp-*.h5")
        if not outliers:
            error_console().print("no outlier shards there: the network won't have seen what it is to refuse")
        config = _config(preset, (*training, *outliers), split, seed=seed, threads=threads, device=device)
        given = {"steps": steps, "batch": batch, "learning_rate": learning_rate}
        recipe = BundleRecipe(
            name=name,
            version=version,
            training=training,
            outliers=outliers,
            calibration=tuple(dict.fromkeys(training))
            if calibration is None
            else find_shards(calibration, "cxdp-*.h5"),
            lines=() if lines is None else find_shards(lines, "cxdp-*.h5"),
            test=tuple(dict.fromkeys(training)) if test is None else find_shards(test, "cxdp-*.h5"),
            test_outliers=outliers if test is None else tuple(sorted(test.glob("outlier-*.h5"))),
            start_from=None if start_from is None else Registry(registry).locate(start_from),
            config=replace(config, **{key: value for key, value in given.items() if value is not None}),
            network=network_kind(network or ("paper" if preset == "paper" else "foveated")),
            split=split,
            largest_line_offset=largest_line_offset,
            allow_overlap=allow_overlap,
            named_right=named_right,
            test_workers=workers,
        )
        with counted_progress() as progress:
            task = progress.add_task("checking the shards", total=None)
            checked = check_recipe(
                recipe,
                Registry(registry).root,
                lambda done, of: progress.update(task, completed=done, total=of),
            )
        for warning in checked.warnings:
            error_console().print(f"note: {warning}", soft_wrap=True, markup=False)
        with counted_progress() as progress:
            task = progress.add_task("training", total=recipe.config.steps)
            trained = train_network(
                recipe,
                work,
                lambda step, loss: progress.update(task, completed=step, description=f"training, loss {loss:.3f}"),
            )
            testing = progress.add_task("calibrating and testing", total=None)
            path, evaluation = write_tested_bundle(
                recipe,
                trained,
                Registry(registry).root,
                work,
                lambda done, of: progress.update(testing, completed=done, total=of),
            )
        if promote:
            Registry(registry).promote("production", f"{name}/{version}")
        error_console().print(f"{path}: accuracy {evaluation.overall.accuracy:.3f}; report {work / 'report.html'}")


def _config(
    preset: str, shards: tuple[Path, ...], split: Split | None, *, seed: int, threads: int, device: str
) -> TrainingConfig:
    from braggwatch.models.learning.training_config import TrainingConfig, paper_config
    from braggwatch.services.cxdp.training.labelled_shards import Part
    from braggwatch.services.cxdp.training.training_facts import count_patterns

    if preset == "default":
        return TrainingConfig(steps=_STEPS, seed=seed, threads=threads, device=device)
    if preset == "paper":
        patterns = count_patterns(shards, None if split is None else Part(split, "training"))
        return paper_config(patterns, seed=seed, threads=threads, device=device)
    raise InputError(f"the preset is 'default' or 'paper', not {preset!r}")


def evaluate(
    test: Annotated[Path, typer.Option("--test", help="Folder of test shards that 'braggwatch cxdp simulate' made.")],
    bundle: Annotated[str, typer.Option("--bundle", help="Bundle name, alias or folder.")] = "production",
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML report with pictures here.")] = None,
    workers: _Workers = 1,
    mistakes: Annotated[bool, typer.Option("--mistakes", help="List the worst mistakes, too.")] = False,
    registry: _Root = None,
    as_json: Annotated[bool, typer.Option("--json", help="All scores as one JSON object.")] = False,
) -> None:
    """Test a bundle as it is deployed: accuracy by counts, element, reflection, size of g·b, place of the line.

    Also calibration, refusal of outliers, and the worst mistakes, which the report shows as pictures.

    Example: **braggwatch cxdp evaluate --test data/test --workers 4 --report report.html**
    """
    with clear_errors():
        from braggwatch.models.bundling.registry import Registry
        from braggwatch.models.cxdp.classifier import BundleClassifier
        from braggwatch.models.cxdp.report import write_report
        from braggwatch.services.cli.bundles.score_table import confusion_table, mistakes_table, score_table
        from braggwatch.services.cxdp.training.bundle_making import find_shards, run_test

        classifier = BundleClassifier.load(Registry(registry).locate(bundle))
        with counted_progress() as progress:
            task = progress.add_task("testing", total=None)
            result = run_test(
                classifier,
                find_shards(test, "cxdp-*.h5"),
                tuple(sorted(test.glob("outlier-*.h5"))),
                workers=workers,
                on_shard=lambda done, of: progress.update(task, completed=done, total=of),
            )
        if report is not None:
            write_report(result, report)
        if as_json:
            typer.echo(result.without_pictures().to_json())
            return
        console().print(score_table(result))
        console().print(confusion_table(result))
        if mistakes:
            console().print(mistakes_table(result))
