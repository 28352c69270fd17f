"""``braggwatch cxdp relax``: a library of relaxed crystals, for data sets that look like real ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, counted_progress, write_json


def relax(
    out: Annotated[Path, typer.Option("--out", help="Folder of the library.")],
    crystals: Annotated[int, typer.Option("--n", min=1, help="Crystals.")] = 300,
    first: Annotated[int, typer.Option(help="Number of the first crystal: other numbers are other crystals.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, one core each.")] = 2,
    config: Annotated[Path | None, typer.Option(help="JSON file with a relaxation specification.")] = None,
    shard: Annotated[str | None, typer.Option(help="Do only the i-th of n parts, e.g. 3/8, for a job array.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON object.")] = False,
) -> None:
    """Build fcc crystals, relax their atoms, and label them by what is found afterwards.

    A line that has left the crystal is recorded as lost and never used as a label. Deterministic by seed and crystal
    number; run again, it goes on where it stopped, and completes a library that is to grow. A damaged file is made
    anew; crystals of a potential that has changed since are refused.

    Example: **braggwatch cxdp relax --n 300 --out data/relaxed** then **braggwatch cxdp simulate --library
    data/relaxed**
    """
    with clear_errors():
        from braggwatch.services.batch.shards import part_of
        from braggwatch.services.cxdp.training.relaxed_libraries import make_library
        from braggwatch.sim.cxdp.relaxation.configuration import RelaxationSpec
        from braggwatch.sim.cxdp.relaxation.library import read_entries
        from braggwatch.sim.validated import read_json_model

        spec = RelaxationSpec() if config is None else read_json_model(config, RelaxationSpec)
        with counted_progress() as progress:
            task = progress.add_task("relaxing", total=crystals if shard is None else None)
            paths = make_library(
                out,
                spec,
                crystals,
                first=first,
                workers=workers,
                part=None if shard is None else part_of(shard),
                on_shard=lambda done: progress.advance(task, done),
            )
        asked = range(first, first + crystals)
        found = Counter((e.put_in, e.label) for path in paths for e in read_entries(path) if e.index in asked)
        if as_json:
            counts = {f"{put_in} -> {label}": number for (put_in, label), number in sorted(found.items())}
            write_json({"shards": [str(p) for p in paths], "found": counts, "spec": spec.digest()})
            return
        for (put_in, label), number in sorted(found.items()):
            console().print(f"{number:6d}  put in {put_in:8} found {label}")
