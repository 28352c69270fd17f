"""Make training data sets: scans simulated by `sim`, preprocessed like live data, many shards at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.preprocessing import PreprocessingSettings, preprocess_arrays
from braggwatch.services.batch.executors import run_shards
from braggwatch.services.batch.shards import ShardDone
from braggwatch.services.cxdp.training.live_framing import LiveFraming
from braggwatch.sim.cxdp.crystal.zoo import ZOO_KINDS
from braggwatch.sim.cxdp.datasets import (
    CrystalSource,
    DatasetSpec,
    Sample,
    SampleInfo,
    ShardError,
    check_shard,
    make_sample,
    store_samples,
)
from braggwatch.sim.cxdp.grid_patterns import class_samples, grid_outlier, grid_sample
from braggwatch.sim.cxdp.library_crystals import LibraryCrystals
from braggwatch.sim.cxdp.outliers import (
    EXPOSED_DEFECTS,
    EXPOSED_KINDS,
    OUTLIER_KINDS,
    OutlierKind,
    is_alien,
    make_outlier,
)
from braggwatch.sim.cxdp.shard_volumes import MappedVolumes
from braggwatch.sim.cxdp.shards import remove_partial, shard_facts
from braggwatch.sim.errors import InputError
from braggwatch.sim.geometry.model import RockingGeometry

__all__ = [
    "SHARD_SIZE",
    "ShardDone",
    "ShardSource",
    "ShardTask",
    "live_preprocessing",
    "make_dataset",
    "make_shard",
    "open_library",
    "outlier_kinds",
    "shard_tasks",
]

logger = logging.getLogger(__name__)

SHARD_SIZE = 100
PATTERNS_PER_CRYSTAL = 10


def live_preprocessing(
    frames: NDArray[np.generic],
    angles_deg: NDArray[np.float64],
    present: NDArray[np.bool_],
    geometry: RockingGeometry,
    dead: NDArray[np.bool_],
    fringe_period_voxels: float,
) -> tuple[NDArray[np.float32] | None, str]:
    """Preprocess simulated frames with the same code as live scans (see `sim.datasets.Preprocess`)."""
    settings = PreprocessingSettings(mask=dead, fringe_period_voxels=fringe_period_voxels, facets=False)
    preprocessed = preprocess_arrays(frames, angles_deg, present, geometry, settings)
    if preprocessed.quality.invalid_reason is not None:
        return None, preprocessed.quality.invalid_reason
    return preprocessed.intensity, ""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to make: picklable, for any executor.

    Attributes
    ----------
    start, stop
        First sample, and one past the last.
    kinds
        Kinds of outliers, made in turn; None: crystals.
    library
        Folder of relaxed crystals; None: continuum crystals are built.
    only
        Numbers of the library's crystals to use; None: all.
    """

    path: Path
    spec: DatasetSpec
    start: int
    stop: int
    kinds: tuple[OutlierKind, ...] | None = None
    library: Path | None = None
    patterns_per_crystal: int = PATTERNS_PER_CRYSTAL
    only: frozenset[int] | None = None


def open_library(
    folder: Path, spec: DatasetSpec, patterns_per_crystal: int, only: frozenset[int] | None = None
) -> LibraryCrystals:
    """Open a folder of relaxed crystals, or ``only`` the crystals with these numbers, as a source of samples.

    Raises
    ------
    FileNotFoundError
        If it contains no crystals of the specification's classes.
    """
    from braggwatch.sim.cxdp.relaxation.library import CrystalLibrary

    library = CrystalLibrary(
        folder,
        labels=spec.classes,
        population=spec.population,
        accept=None if only is None else lambda entry: entry.index in only,
    )
    return LibraryCrystals(library, spec.population, spec.visible, patterns_per_crystal)


def make_shard(task: ShardTask) -> ShardDone:
    """Make one shard; an existing one is checked, kept if sound, and made again if damaged or incomplete.

    Raises
    ------
    ForeignShardError
        If the path holds a sound shard of another data set.
    """
    numbers = range(task.start, task.stop)
    crystals: CrystalSource | None = (
        None if task.library is None else open_library(task.library, task.spec, task.patterns_per_crystal, task.only)
    )
    name = "" if crystals is None else crystals.name
    problem = ""
    if task.path.exists():
        try:
            existing = check_shard(task.path, task.spec, numbers, name)
        except ShardError as error:
            problem = str(error)
        else:
            refused = tuple(reason for reason, count in existing.refused.items() for _ in range(count))
            return ShardDone(task.path, len(numbers), refused, kept=True)
    kinds = task.kinds
    if task.spec.route == "grid":
        samples = _grid_samples(task)
        nuisance = "none"
    elif kinds is None:
        samples = ((n, make_sample(task.spec, n, live_preprocessing, crystals)) for n in numbers)
        nuisance = task.spec.nuisance
    else:
        samples = ((n, make_outlier(task.spec, kinds[n % len(kinds)], n, live_preprocessing)) for n in numbers)
        nuisance = "measured" if any(is_alien(kind) for kind in kinds) else task.spec.nuisance
    stored = store_samples(task.path, task.spec, samples, numbers, nuisance=nuisance, crystals=name)
    return ShardDone(
        task.path, len(numbers), tuple(reason for _, reason in stored if reason is not None), problem=problem
    )


def _grid_samples(task: ShardTask) -> Iterator[tuple[int, Sample | str]]:
    """Make the samples of a specification whose route is the model's grid."""
    spec, framing = task.spec, LiveFraming()
    if task.kinds is not None:
        for number in range(task.start, task.stop):
            kind = task.kinds[number % len(task.kinds)]
            if kind != "two_particles" and is_alien(kind):
                raise InputError(f"{kind} patterns are made on the route 'detector' alone")
            yield number, grid_outlier(spec, kind, number, framing)
        return
    if task.library is not None:
        crystals = open_library(task.library, spec, task.patterns_per_crystal, task.only)
        for number in range(task.start, task.stop):
            rng = np.random.default_rng((spec.seed, number))
            config = crystals.configuration(number)
            crystal = crystals.draw(rng, config)
            identity = crystals.identity(config)
            yield (
                number,
                grid_sample(spec, crystal, framing, rng, config=config, source=crystals.name, identity=identity),
            )
        return
    each = len(spec.classes)
    for config in range(task.start // each, (task.stop - 1) // each + 1):
        wanted = [n for n in range(config * each, (config + 1) * each) if task.start <= n < task.stop]
        made = class_samples(spec, config, framing, [number % each for number in wanted])
        yield from zip(wanted, made, strict=True)


def shard_tasks(
    folder: Path,
    spec: DatasetSpec,
    samples: int,
    *,
    first: int = 0,
    outliers: str | None = None,
    library: Path | None = None,
    patterns_per_crystal: int = PATTERNS_PER_CRYSTAL,
    only: frozenset[int] | None = None,
    shard: tuple[int, int] = (1, 1),
    shard_size: int = SHARD_SIZE,
) -> list[ShardTask]:
    """Return the shards to make for a data set, or for one part of it.

    Parameters
    ----------
    samples, first
        Samples ``first`` to ``first + samples - 1``.
    outliers
        A group of `outlier_kinds`: make outliers instead of crystals of the classes.
    library, patterns_per_crystal
        Folder of relaxed crystals, and the number of consecutive samples of each.
    only
        Numbers of the library's crystals to use; None: all.
    shard
        (i, n): the i-th of n parts, i from 1; each file is in exactly one part.
    shard_size
        Samples per file.

    Raises
    ------
    InputError
        If the library has too few crystals, ``first`` would split one crystal over two data sets, or the part or the
        group of outliers doesn't exist.
    """
    part, parts = shard
    if not 1 <= part <= parts:
        raise InputError(f"there is no part {part} of {parts}")
    kinds = None if outliers is None else outlier_kinds(outliers)
    prefix = "cxdp" if outliers is None else f"outlier-{outliers}"
    stem = f"{prefix}-{spec.digest()}"
    if library is not None:
        if kinds is not None:
            raise InputError("outliers are not made from a library of relaxed crystals")
        if first % patterns_per_crystal:
            raise InputError(
                f"starting at sample {first} would split a crystal over two data sets: with {patterns_per_crystal} "
                f"patterns per crystal, start at a multiple of {patterns_per_crystal}"
            )
        crystals = open_library(library, spec, patterns_per_crystal, only)
        crystals.configuration(first + samples - 1)
        stem = f"{stem}-{crystals.name}"
    stop = first + samples
    tasks = [
        ShardTask(
            path=folder / f"{stem}-{start:06d}.h5",
            spec=spec,
            start=start,
            stop=min(start + shard_size, stop),
            kinds=kinds,
            library=library,
            patterns_per_crystal=patterns_per_crystal,
            only=only,
        )
        for start in range(first, stop, shard_size)
    ]
    return tasks[part - 1 :: parts]


_OUTLIER_GROUPS: dict[str, tuple[OutlierKind, ...]] = {
    "exposed": EXPOSED_KINDS,
    "all": tuple(kind for kind in OUTLIER_KINDS if kind != "close_particles"),
    "close": ("close_particles",),
    "defects": EXPOSED_DEFECTS,
    "all-defects": ZOO_KINDS,
    "refused": (*EXPOSED_DEFECTS, "two_particles", "two_particles"),
}


def outlier_kinds(group: str) -> tuple[OutlierKind, ...]:
    """Return the kinds of outliers in a group.

    Parameters
    ----------
    group
        'exposed': aliens used in training; 'all': all aliens; 'close': two particles closer than 2.5 fringes.
        'defects': crystals with defects outside the classes, used in training; 'all-defects': all of those.
        'refused': those in training and two particles 0.5 to 8 fringes apart, on the route 'grid'.

    Raises
    ------
    InputError
        If there is no such group.
    """
    if group not in _OUTLIER_GROUPS:
        raise InputError(f"outliers are one of {', '.join(_OUTLIER_GROUPS)}, not {group!r}")
    return _OUTLIER_GROUPS[group]


def make_dataset(
    folder: Path,
    spec: DatasetSpec,
    samples: int,
    *,
    first: int = 0,
    workers: int = 1,
    outliers: str | None = None,
    library: Path | None = None,
    patterns_per_crystal: int = PATTERNS_PER_CRYSTAL,
    only: frozenset[int] | None = None,
    shard: tuple[int, int] = (1, 1),
    shard_size: int = SHARD_SIZE,
    executor: Executor | None = None,
    on_shard: Callable[[ShardDone], None] | None = None,
) -> list[Path]:
    """Make a data set, resuming where sound shards exist, and return its shards in order; see `shard_tasks`.

    Parameters
    ----------
    workers
        Processes, if no ``executor`` is given; if one dies, its shards are repeated in new ones.
    executor
        Runs the shards; it must itself repeat the tasks of a lost worker.
    on_shard
        Called in this process as shards finish, in any order.

    Raises
    ------
    ValueError
        As `shard_tasks`, or if a shard's path holds a sound shard of another data set.
    ChildProcessError
        If processes die repeatedly.
    """
    folder = folder.resolve()  # workers may have another working directory
    folder.mkdir(parents=True, exist_ok=True)
    tasks = shard_tasks(
        folder,
        spec,
        samples,
        first=first,
        outliers=outliers,
        library=None if library is None else library.resolve(),
        patterns_per_crystal=patterns_per_crystal,
        only=only,
        shard=shard,
        shard_size=shard_size,
    )

    def finished(done: ShardDone) -> None:
        if done.problem:
            logger.warning("%s: made again", done.problem)
        if on_shard is not None:
            on_shard(done)

    run_shards(make_shard, tasks, finished, workers=workers, executor=executor)
    paths = [task.path for task in tasks]
    for path in paths:
        remove_partial(path)
    return paths


class ShardSource:
    """Samples of several shards, float16, memory-mapped from their files: a `models.training_data.Source`."""

    def __init__(self, paths: Sequence[Path], classes: Sequence[str]) -> None:
        infos: list[SampleInfo] = []
        clean: list[NDArray[np.bool_]] = []
        for path in paths:
            facts = shard_facts(path)
            clean.append(np.full(len(facts.infos), facts.nuisance == "none"))
            infos.extend(facts.infos)
        self._paths = tuple(paths)
        self._volumes = [MappedVolumes(path) for path in paths]
        self._clean = np.concatenate([np.zeros(0, dtype=bool), *clean])
        self._starts = np.cumsum([0, *(len(v) for v in self._volumes)])
        self.infos: tuple[SampleInfo, ...] = tuple(infos)
        self.labels = np.asarray([classes.index(i.label) if i.label in classes else -1 for i in infos], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.infos)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Return log1p counts, (B, 64, 64, 64) float16, and class indices, (B,) int64; -1 for other labels."""
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        volumes = [self._volumes[s][int(i - self._starts[s])] for s, i in zip(shards, indices, strict=True)]
        return np.stack(volumes), self.labels[indices]

    def where(self, index: int) -> str:
        """Return a sample's file and its number there."""
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return f"{self._paths[shard]}, pattern {index - int(self._starts[shard])}"

    def clean(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which samples are expected intensities, which get noise during training, (B,) bool."""
        return self._clean[indices]
