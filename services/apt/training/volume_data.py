"""Atom probe data to train and test on: synthetic reconstructions in files, and shards of labelled SDMs."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from braggwatch.services.batch.executors import run_shards
from braggwatch.services.batch.shards import ShardDone
from braggwatch.sim.apt.files import write_pos, write_rrng, write_truth
from braggwatch.sim.apt.library import LibrarySpec, make_sample
from braggwatch.sim.apt.sdm_shards import check_sdm_shard, write_sdm_shard
from braggwatch.sim.apt.volume import SimulatedVolume, VolumeSpec, simulate_volume
from braggwatch.sim.shard_errors import ShardError
from braggwatch.sim.whole_file import whole_file

logger = logging.getLogger(__name__)

SDMS_PER_SHARD = 512


@dataclass(frozen=True, slots=True)
class VolumeFiles:
    """The files of one synthetic reconstruction.

    Attributes
    ----------
    pos, rrng
        In the formats of the instrument's software.
    truth
        HDF5, see `braggwatch.sim.apt.files.write_truth`.
    precipitates
        CSV: number, centre, radius, ions.
    parameters
        JSON: the world, its seed, and a summary of the result.
    """

    pos: Path
    rrng: Path
    truth: Path
    precipitates: Path
    parameters: Path
    ions: int


def make_volume(
    folder: Path, name: str, spec: VolumeSpec, seed: int, progress: Callable[[int, int], None] | None = None
) -> VolumeFiles:
    """Simulate a reconstruction and write its files; the same specification and seed give identical data.

    Parameters
    ----------
    name
        Stem of the files.
    progress
        Called with (slabs done, slabs in total).

    Raises
    ------
    ValueError
        If the world can't be built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    volume = simulate_volume(spec, seed, progress)
    paths = VolumeFiles(
        pos=folder / f"{name}.pos",
        rrng=folder / f"{name}.rrng",
        truth=folder / f"{name}-truth.h5",
        precipitates=folder / f"{name}-precipitates.csv",
        parameters=folder / f"{name}.json",
        ions=len(volume.cloud),
    )
    with whole_file(paths.pos) as path:
        write_pos(path, volume.cloud)
    with whole_file(paths.rrng) as path:
        write_rrng(path, spec.resolved_alloy().ranges())
    with whole_file(paths.truth) as path:
        write_truth(path, volume.truth, spec, seed)
    with whole_file(paths.precipitates) as path:
        _write_precipitates(path, volume)
    with whole_file(paths.parameters) as path:
        facts = {
            "seed": seed,
            "ions": paths.ions,
            "precipitates": len(volume.truth.radii_nm),
            "ordered_fraction": round(float(volume.truth.ordered.mean()), 6),
            "spec": spec.model_dump(mode="json"),
        }
        path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return paths


def _write_precipitates(path: Path, volume: SimulatedVolume) -> None:
    truth = volume.truth
    ions = np.bincount(truth.precipitate[truth.ordered], minlength=len(truth.radii_nm))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["precipitate", "x_nm", "y_nm", "z_nm", "radius_nm", "ions"])
        for n, (centre, radius, count) in enumerate(zip(truth.centres_nm, truth.radii_nm, ions, strict=True)):
            writer.writerow([n, *(f"{float(v):.4f}" for v in (*centre, radius)), int(count)])


@dataclass(frozen=True, slots=True)
class SdmShardTask:
    """One shard to make: picklable, for any executor. Samples ``start`` to ``stop - 1`` of the library."""

    path: Path
    spec: LibrarySpec
    seed: int
    start: int
    stop: int


def sdm_shard_tasks(
    folder: Path,
    spec: LibrarySpec,
    seed: int,
    samples: int,
    *,
    first: int = 0,
    part: tuple[int, int] = (1, 1),
    shard_size: int = SDMS_PER_SHARD,
) -> list[SdmShardTask]:
    """Return the shards to make for samples ``first`` to ``first + samples - 1``, or the i-th of n parts of them.

    Raises
    ------
    ValueError
        If ``shard_size`` is less than one.
    """
    if shard_size < 1:
        raise ValueError(f"a shard needs at least one sample, not {shard_size}")
    stop = first + samples
    tasks = [
        SdmShardTask(
            folder / f"sdm-{spec.digest()}-{seed}-{start:07d}.h5", spec, seed, start, min(start + shard_size, stop)
        )
        for start in range(first, stop, shard_size)
    ]
    return tasks[part[0] - 1 :: part[1]]


def make_sdm_shard(task: SdmShardTask) -> ShardDone:
    """Make one shard; an existing one is checked, kept if sound, and made again if damaged or incomplete.

    Raises
    ------
    ForeignShardError
        If the path holds a sound shard of other samples.
    """
    numbers = range(task.start, task.stop)
    problem = ""
    if task.path.exists():
        try:
            check_sdm_shard(task.path, task.spec, task.seed, numbers)
        except ShardError as error:
            problem = str(error)
        else:
            return ShardDone(task.path, len(numbers), (), kept=True)
    samples = [make_sample(task.spec, task.seed, number) for number in numbers]
    write_sdm_shard(task.path, task.spec, task.seed, task.start, samples)
    return ShardDone(task.path, len(numbers), (), problem=problem)


def make_sdm_library(
    folder: Path,
    spec: LibrarySpec,
    seed: int,
    samples: int,
    *,
    first: int = 0,
    part: tuple[int, int] = (1, 1),
    shard_size: int = SDMS_PER_SHARD,
    workers: int = 1,
    executor: Executor | None = None,
    on_shard: Callable[[ShardDone], None] | None = None,
) -> list[Path]:
    """Make labelled SDMs, resuming where sound shards exist, and return the shards in order; see `sdm_shard_tasks`.

    Parameters
    ----------
    workers, executor
        See `run_shards`.
    on_shard
        Called in this process as shards finish, in any order.

    Raises
    ------
    ValueError
        As `sdm_shard_tasks`, or if a shard's path holds a sound shard of other samples.
    ChildProcessError
        If processes die repeatedly.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    tasks = sdm_shard_tasks(folder, spec, seed, samples, first=first, part=part, shard_size=shard_size)

    def finished(done: ShardDone) -> None:
        if done.problem:
            logger.warning("%s: made again", done.problem)
        if on_shard is not None:
            on_shard(done)

    run_shards(make_sdm_shard, tasks, finished, workers=workers, executor=executor)
    for task in tasks:
        for partial in task.path.parent.glob(f"{task.path.name}.*partial"):
            partial.unlink(missing_ok=True)
    return [task.path for task in tasks]
