"""``braggwatch cxdp simulate`` and ``braggwatch cxdp card``: make labelled patterns to train and test on."""

from __future__ import annotations

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import ExitCode, clear_errors, console, error_console, write_json
from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    from braggwatch.services.cxdp.training.dataset_card import CardCheck


class Runner(StrEnum):
    """What the shards are made on."""

    PROCESSES = "processes"
    DASK = "dask"


class Nuisance(StrEnum):
    """What the patterns have of a measurement's noise, gaps and the like."""

    MEASURED = "measured"
    NONE = "none"


def simulate(
    out: Annotated[Path, typer.Option("--out", help="Folder for the shards.")],
    samples: Annotated[
        int | None, typer.Option("--n", min=1, help="Patterns; 1000 where absent, or all that --library gives.")
    ] = None,
    first: Annotated[
        int, typer.Option(min=0, help="Number of the first pattern: other numbers are other crystals.")
    ] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, one core each.")] = 2,
    config: Annotated[Path | None, typer.Option(help="JSON file with a data set specification.")] = None,
    nuisance: Annotated[
        Nuisance | None,
        typer.Option(
            help="'none': expected intensities, which training spoils anew each time; else what the specification "
            "says, by default 'measured'."
        ),
    ] = None,
    outliers: Annotated[
        str | None,
        typer.Option(
            help="Make scans to be refused instead: 'exposed' kinds of aliens, or 'all'; 'defects' that are no class, "
            "or 'all-defects'."
        ),
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="Folder of relaxed crystals to take instead of building crystals.")
    ] = None,
    patterns_per_crystal: Annotated[
        int, typer.Option(min=1, help="Patterns in a row that show one relaxed crystal.")
    ] = 10,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Make only the I-th of N parts of the files, for job arrays.")
    ] = "1/1",
    executor: Annotated[
        Runner, typer.Option(help="Processes of this machine, or a Dask cluster: --scheduler, else one of its own.")
    ] = Runner.PROCESSES,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler, e.g. tcp://host:8786.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the shards as one JSON object.")] = False,
) -> None:
    """Make labelled CXDPs: crystals, detector frames with noise and gaps, then the preprocessing of live data.

    Deterministic by seed and pattern number; run again, it goes on where it stopped and makes damaged files anew. At
    the end it writes the data set's card, CARD.md and dataset.json, from all that is in the folder.

    Example: **braggwatch cxdp simulate --n 12000 --out data** then **--first 1000000 --n 1500** for a test set of
    others
    """
    with clear_errors():
        from braggwatch.services.batch.executors import dask_executor
        from braggwatch.services.batch.shards import part_of
        from braggwatch.services.cli.shard_progress import shard_progress
        from braggwatch.services.cxdp.training.dataset_card import CARD_FILE, write_card
        from braggwatch.services.cxdp.training.shard_making import make_dataset, open_library, shard_tasks
        from braggwatch.sim.cxdp.datasets import DatasetSpec
        from braggwatch.sim.validated import read_json_model

        if scheduler is not None and executor is not Runner.DASK:
            raise InputError("--scheduler goes with --executor dask")
        spec = DatasetSpec() if config is None else read_json_model(config, DatasetSpec)
        if nuisance is not None:
            spec = spec.model_copy(update={"nuisance": nuisance.value})
        part = part_of(shard)
        if samples is None:
            samples = 1000
            if library is not None:
                crystals = open_library(library, spec, patterns_per_crystal)
                samples = len(crystals.library) * patterns_per_crystal - first
                if samples < 1:
                    raise InputError(f"the library's patterns end before --first {first}")
        tasks = shard_tasks(
            out,
            spec,
            samples,
            first=first,
            outliers=outliers,
            library=library,
            patterns_per_crystal=patterns_per_crystal,
            shard=part,
        )
        pool = dask_executor(scheduler, workers) if executor is Runner.DASK else nullcontext()
        with shard_progress(sum(task.stop - task.start for task in tasks)) as progress, pool as running:
            paths = make_dataset(
                out,
                spec,
                samples,
                first=first,
                workers=workers,
                outliers=outliers,
                library=library,
                patterns_per_crystal=patterns_per_crystal,
                shard=part,
                executor=running,
                on_shard=progress.finished,
            )
        if paths:
            write_card(out)
        if as_json:
            write_json(
                {
                    "shards": [str(p) for p in paths],
                    "kept": progress.kept,
                    "remade": progress.remade,
                    "refused": progress.refused,
                    "spec": spec.digest(),
                    "card": str(out / CARD_FILE),
                }
            )
        else:
            error_console().print(
                f"{progress.done} patterns in {len(paths)} shards under {out} ({progress.kept} were there), "
                f"{progress.refused} refused"
            )


def card(
    folder: Annotated[Path, typer.Argument(help="Folder of shards.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check the hashes, write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Write a data set's card from the shards that are there, or check them. Exit code 1 where they fail the check.

    Example: **braggwatch cxdp card data --verify**
    """
    with clear_errors():
        from dataclasses import asdict

        from braggwatch.services.cxdp.training.dataset_card import CARD_FILE, card_text, check_card, write_card

        if verify:
            check = check_card(folder)
            if as_json:
                write_json({**asdict(check), "ok": check.ok})
            else:
                _tell(check)
            if not check.ok:
                raise typer.Exit(ExitCode.FAILED)
            return
        record = write_card(folder, hash_again=True)
        if as_json:
            write_json(record)
        else:
            from rich.markdown import Markdown

            text = card_text(record).rstrip()
            console().print(Markdown(text) if console().is_terminal else text, soft_wrap=True, markup=False)
            error_console().print(f"written to {folder / CARD_FILE}")


def _tell(check: CardCheck) -> None:
    console().print(f"{check.checked} shards on the card, {'all sound' if check.ok else 'not as it says'}")
    for what, names in (
        ("changed", check.changed),
        ("missing", check.missing),
        ("not on the card", check.unlisted),
    ):
        for name in names:
            console().print(f"{what}: {name}", soft_wrap=True)
