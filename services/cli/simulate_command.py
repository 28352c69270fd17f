"""``braggwatch sim``: make labelled patterns to train and test on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import EXIT_CODES, clear_errors, error_console, write_json

app = typer.Typer(help="Simulate data to train and test on.", no_args_is_help=True, rich_markup_mode="markdown")


@app.command("cxdp", epilog=EXIT_CODES)
def cxdp(
    out: Annotated[Path, typer.Option("--out", help="Folder for the shards.")],
    samples: Annotated[int, typer.Option("--n", min=1, help="Crystals, one pattern each.")] = 1000,
    first: Annotated[int, typer.Option(help="Number of the first crystal: other numbers are other crystals.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, one core each.")] = 2,
    config: Annotated[Path | None, typer.Option(help="JSON file with a data set specification.")] = None,
    outliers: Annotated[
        str | None, typer.Option(help="Make scans to be refused instead: 'exposed' kinds, or 'all' kinds.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the shards as one JSON object.")] = False,
) -> None:
    """Make labelled CXDPs: crystals, detector frames with noise and gaps, then the preprocessing of live data.

    Deterministic by seed and crystal number; run again, it goes on where it stopped.

    Example: **braggwatch sim cxdp --n 12000 --out data** then **--first 1000000 --n 1500** for a test set of others
    """
    with clear_errors():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from braggwatch.services.training_data import ShardDone, make_dataset
        from braggwatch.sim.datasets import DatasetSpec

        spec = DatasetSpec() if config is None else DatasetSpec.model_validate_json(config.read_text())
        refused: list[str] = []
        columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=error_console()) as progress:
            task = progress.add_task("", total=samples)

            def finished(done: ShardDone) -> None:
                refused.extend(done.refused)
                progress.advance(task, done.asked)

            paths = make_dataset(out, spec, samples, first=first, workers=workers, outliers=outliers, on_shard=finished)
        if as_json:
            write_json({"shards": [str(p) for p in paths], "refused": len(refused), "spec": spec.digest()})
        else:
            error_console().print(f"{samples} crystals in {len(paths)} shards under {out}, {len(refused)} refused")
