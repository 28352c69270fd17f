"""``braggwatch train`` and ``braggwatch evaluate``: from shards to a bundle with its scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, error_console

_Root = Annotated[Path | None, typer.Option("--registry", help="Folder of bundles; else those of the package.")]


def train(
    data: Annotated[Path, typer.Option("--data", help="Folder of training shards and outliers.")],
    calibration: Annotated[Path, typer.Option("--calibration", help="Folder of shards of other crystals.")],
    test: Annotated[Path, typer.Option("--test", help="Folder of test shards, of crystals used nowhere else.")],
    version: Annotated[str, typer.Option("--version", help="Version of the new bundle, e.g. 1.0.0.")],
    name: Annotated[str, typer.Option("--name", help="Name of the bundle.")] = "cxdp-fcc",
    work: Annotated[Path, typer.Option("--work", help="Log and checkpoint; resumed where there.")] = Path("runs/train"),
    steps: Annotated[int, typer.Option(min=10, help="Optimiser steps.")] = 8000,
    batch: Annotated[int, typer.Option(min=2, help="Patterns a step.")] = 48,
    learning_rate: Annotated[float, typer.Option(min=1e-6, help="Peak of the one-cycle schedule.")] = 2e-3,
    threads: Annotated[int, typer.Option(min=1, help="Cores.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")] = 1,
    start_from: Annotated[
        str | None, typer.Option("--from", help="Bundle or alias whose weights to train further; else random ones.")
    ] = None,
    registry: _Root = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make it 'production' when it is written.")] = False,
) -> None:
    """Train the CXDP network, calibrate it, test it and write its bundle. Resumes after an interruption.

    Example: **braggwatch train --data data/train --calibration data/calibration --test data/test --version 1.0.0**
    """
    with clear_errors():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from braggwatch.models.registry import Registry
        from braggwatch.models.training import TrainingConfig
        from braggwatch.services.bundle_making import BundleRecipe, find_shards, train_network, write_tested_bundle
        from braggwatch.sim.datasets import DatasetSpec

        recipe = BundleRecipe(
            name=name,
            version=version,
            training=find_shards(data, "cxdp-*.h5"),
            outliers=find_shards(data, "outlier-*.h5"),
            calibration=find_shards(calibration, "cxdp-*.h5"),
            test=find_shards(test, "cxdp-*.h5"),
            test_outliers=find_shards(test, "outlier-*.h5"),
            spec=DatasetSpec(),
            start_from=None if start_from is None else Registry(registry).resolve(start_from),
            config=TrainingConfig(steps=steps, batch=batch, learning_rate=learning_rate, threads=threads, seed=seed),
        )
        columns = (TextColumn("training, loss {task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=error_console()) as progress:
            task = progress.add_task("", total=steps)
            network = train_network(
                recipe, work, lambda step, loss: progress.update(task, completed=step, description=f"{loss:.3f}")
            )
        with error_console().status("calibrating and testing"):
            path, evaluation = write_tested_bundle(recipe, network, Registry(registry).root, work)
        if promote:
            Registry(registry).promote("production", f"{name}/{version}")
        error_console().print(f"{path}: accuracy {evaluation.overall.accuracy:.3f}; report {work / 'report.html'}")


def evaluate(
    test: Annotated[Path, typer.Option("--test", help="Folder of test shards, as 'braggwatch sim cxdp' makes them.")],
    bundle: Annotated[str, typer.Option("--bundle", help="Bundle or alias.")] = "production",
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML report with pictures here.")] = None,
    registry: _Root = None,
    as_json: Annotated[bool, typer.Option("--json", help="All scores as one JSON object.")] = False,
) -> None:
    """Test a bundle as it is deployed: accuracy by counts, element and line offset, calibration, refusal of outliers.

    Example: **braggwatch evaluate --test data/test --report report.html**
    """
    with clear_errors():
        from braggwatch.models.classifier import BundleClassifier
        from braggwatch.models.registry import Registry
        from braggwatch.models.report import write_report
        from braggwatch.services.bundle_making import find_shards, run_test
        from braggwatch.services.cli.score_table import score_table

        classifier = BundleClassifier.load(Registry(registry).resolve(bundle))
        with error_console().status("testing"):
            outliers = tuple(sorted(test.glob("outlier-*.h5")))
            result = run_test(classifier, find_shards(test, "cxdp-*.h5"), outliers)
        if report is not None:
            write_report(result, report)
        if as_json:
            typer.echo(result.to_json())
            return
        console().print(score_table(result))
