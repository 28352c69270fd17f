"""``braggwatch apt simulate``: synthetic reconstructions with known truth, or labelled maps to train on."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, counted_progress, error_console, write_json


class World(StrEnum):
    """The package's worlds."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"


class Library(StrEnum):
    """The package's libraries of single maps."""

    PUBLISHED = "published"
    EQUAL = "equal"


def simulate(
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")],
    kind: Annotated[
        World,
        typer.Option(
            help="A: blur along z differs between the phases; B: it doesn't; C: as B, with curved planes, background, "
            "varying efficiency and local magnification; D: order without composition contrast."
        ),
    ] = World.A,
    ions: Annotated[float, typer.Option(min=1000, help="Approximate number of detected ions, e.g. 2.7e6.")] = 2.7e6,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the specimen or maps.")] = 0,
    sdms: Annotated[
        int | None, typer.Option("--sdms", min=1, help="Make this many labelled maps (SDMs) instead of a volume.")
    ] = None,
    library: Annotated[
        Library,
        typer.Option(
            help="Library of the maps: cubes of one phase, with the 'published' parameter table or with 'equal' "
            "nuisance parameters for both phases."
        ),
    ] = Library.EQUAL,
    first: Annotated[int, typer.Option(min=0, help="Number of the first map; other numbers give other maps.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes for maps, one core each.")] = 2,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Make only the I-th of N parts of the maps' files, for job arrays.")
    ] = "1/1",
    config: Annotated[
        Path | None, typer.Option(help="JSON file with a volume's specification, or with --sdms a library's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as one JSON object.")] = False,
) -> None:
    """Simulate atom probe data of an alloy with L1₂ precipitates.

    A volume is written as .pos and .rrng, with the truth of each ion in HDF5, the precipitates in CSV and the
    parameters in JSON. Maps are written in HDF5 shards; run again, it resumes. Both are deterministic by seed.

    Example: **braggwatch apt simulate --kind A --ions 2.7e6 --seed 7 --out volume** or **braggwatch apt simulate --sdms
    20000 --library equal --out maps**
    """
    with clear_errors():
        if sdms is None:
            _volume(out, kind, ions, seed, config, as_json=as_json)
        else:
            _maps(out, library, sdms, first, seed, workers, shard, config, as_json=as_json)


def _volume(out: Path, kind: World, ions: float, seed: int, config: Path | None, *, as_json: bool) -> None:
    from braggwatch.services.apt.training.volume_data import make_volume
    from braggwatch.sim.apt.volume import VolumeSpec, load_volume_spec
    from braggwatch.sim.validated import read_json_model

    if config is None:
        spec, name = load_volume_spec(kind.value).sized_for(ions), f"apt-{kind.value}-{seed}"
    else:
        spec, name = read_json_model(config, VolumeSpec), f"apt-{seed}"
    with counted_progress() as progress:
        task = progress.add_task("simulating", total=None)
        made = make_volume(
            out, name, spec, seed, lambda done, total: progress.update(task, completed=done, total=total)
        )
    if as_json:
        write_json({field: str(v) if isinstance(v, Path) else v for field, v in asdict(made).items()})
    else:
        error_console().print(f"{made.ions} ions in {made.pos}, ranges in {made.rrng}, truth in {made.truth}")


def _maps(
    out: Path,
    library: Library,
    samples: int,
    first: int,
    seed: int,
    workers: int,
    shard: str,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    from braggwatch.services.apt.training.volume_data import make_sdm_library, sdm_shard_tasks
    from braggwatch.services.batch.shards import part_of
    from braggwatch.services.cli.shard_progress import shard_progress
    from braggwatch.sim.apt.library import LibrarySpec, load_library_spec
    from braggwatch.sim.validated import read_json_model

    spec = load_library_spec(library.value) if config is None else read_json_model(config, LibrarySpec)
    part = part_of(shard)
    tasks = sdm_shard_tasks(out, spec, seed, samples, first=first, part=part)
    with shard_progress(sum(task.stop - task.start for task in tasks)) as progress:
        paths = make_sdm_library(
            out, spec, seed, samples, first=first, part=part, workers=workers, on_shard=progress.finished
        )
    if as_json:
        write_json(
            {
                "shards": [str(p) for p in paths],
                "kept": progress.kept,
                "remade": progress.remade,
                "spec": spec.digest(),
            }
        )
    else:
        error_console().print(
            f"{progress.done} maps in {len(paths)} shards under {out} ({progress.kept} already existed)"
        )
