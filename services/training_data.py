"""Data sets for training: the simulated world of `sim` through the live path's preprocessing, many shards at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.preprocessing import PreprocessingSettings, preprocess_arrays
from braggwatch.sim.datasets import DatasetSpec, SampleInfo, read_shard, store_samples, write_shard
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.outliers import EXPOSED_KINDS, OUTLIER_KINDS, OutlierKind, make_outlier

SHARD_SIZE = 100


def live_preprocessing(
    frames: NDArray[np.generic],
    angles_deg: NDArray[np.float64],
    present: NDArray[np.bool_],
    geometry: RockingGeometry,
    dead: NDArray[np.bool_],
    fringe_period_voxels: float,
) -> tuple[NDArray[np.float32] | None, str]:
    """Preprocess simulated frames with the very code that live scans go through (see `sim.datasets.Preprocess`)."""
    settings = PreprocessingSettings(mask=dead, fringe_period_voxels=fringe_period_voxels, facets=False)
    made = preprocess_arrays(frames, angles_deg, present, geometry, settings)
    if made.quality.invalid_reason is not None:
        return None, made.quality.invalid_reason
    return made.intensity, ""


@dataclass(frozen=True, slots=True)
class ShardDone:
    """One finished shard: how many samples were asked for, and why some were refused."""

    path: Path
    asked: int
    refused: tuple[str, ...]


def make_shard(path: Path, spec: DatasetSpec, start: int, stop: int) -> ShardDone:
    """Make one shard; picklable, for any executor. A shard that exists is left alone."""
    refused = tuple(
        reason for _, reason in write_shard(path, spec, range(start, stop), live_preprocessing) if reason is not None
    )
    return ShardDone(path, stop - start, refused)


def shard_paths(
    folder: Path, spec: DatasetSpec, samples: int, first: int = 0, prefix: str = "cxdp"
) -> list[tuple[Path, int, int]]:
    """List (path, first configuration, one past the last) of each shard of a data set."""
    bounds = range(first, first + samples, SHARD_SIZE)
    return [
        (folder / f"{prefix}-{spec.digest()}-{start:06d}.h5", start, min(start + SHARD_SIZE, first + samples))
        for start in bounds
    ]


def outlier_kinds(which: str) -> tuple[OutlierKind, ...]:
    """Return the kinds behind a word: 'exposed' (shown in training) or 'all'.

    Raises
    ------
    ValueError
        For any other word.
    """
    if which == "exposed":
        return EXPOSED_KINDS
    if which == "all":
        return OUTLIER_KINDS
    raise ValueError(f"outliers are 'exposed' or 'all', not {which!r}")


def make_dataset(
    folder: Path,
    spec: DatasetSpec,
    samples: int,
    *,
    first: int = 0,
    workers: int = 1,
    outliers: str | None = None,
    executor: Executor | None = None,
    on_shard: Callable[[ShardDone], None] | None = None,
) -> list[Path]:
    """Make a data set, resuming where shards exist, and return its shards in order.

    Parameters
    ----------
    samples, first
        Configurations ``first`` to ``first + samples - 1``; the split by configuration is a split of these numbers.
    workers
        Processes where no ``executor`` is given.
    outliers
        'exposed' or 'all' for scans to be refused instead of crystals.
    on_shard
        Called in this process as shards finish, in any order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kinds = None if outliers is None else outlier_kinds(outliers)
    wanted = shard_paths(folder, spec, samples, first, "cxdp" if kinds is None else f"outlier-{outliers}")
    pool = executor if executor is not None else _one_core_each(workers)
    try:
        futures: list[Future[ShardDone]] = [
            pool.submit(make_shard, path, spec, start, stop)
            if kinds is None
            else pool.submit(make_outlier_shard, path, spec, kinds, start, stop)
            for path, start, stop in wanted
        ]
        for future in as_completed(futures):
            done = future.result()
            if on_shard is not None:
                on_shard(done)
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    return [path for path, _, _ in wanted]


def _one_core_each(workers: int) -> ProcessPoolExecutor:
    # a BLAS with its own threads in every worker would fight over the cores; it reads these when it is first imported
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def make_outlier_shard(
    path: Path, spec: DatasetSpec, kinds: tuple[OutlierKind, ...], start: int, stop: int
) -> ShardDone:
    """Make one shard of outliers, the kinds in turn; picklable. A shard that exists is left alone."""
    if path.exists():
        return ShardDone(path, stop - start, ())
    samples = (
        (config, make_outlier(spec, kinds[config % len(kinds)], config, live_preprocessing))
        for config in range(start, stop)
    )
    refused = tuple(reason for _, reason in store_samples(path, spec, samples) if reason is not None)
    return ShardDone(path, stop - start, refused)


class ShardSource:
    """Samples of several shards in memory, half precision: a `models.training.Source`."""

    def __init__(self, paths: Sequence[Path], classes: Sequence[str]) -> None:
        volumes: list[NDArray[np.float16]] = []
        infos: list[SampleInfo] = []
        for path in paths:
            part, facts = read_shard(path)
            volumes.append(part)
            infos.extend(facts)
        self._volumes = volumes
        self._starts = np.cumsum([0, *(len(v) for v in volumes)])
        self.infos: tuple[SampleInfo, ...] = tuple(infos)
        self.labels = np.asarray([classes.index(i.label) if i.label in classes else -1 for i in infos], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.infos)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Return log1p counts (B, 64, 64, 64) and class indices (B,)."""
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        volumes = [self._volumes[s][i - self._starts[s]] for s, i in zip(shards, indices, strict=True)]
        return np.stack(volumes), self.labels[indices]
