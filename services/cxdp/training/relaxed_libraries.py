"""Make libraries of relaxed crystals in several processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from braggwatch.services.batch.executors import run_shards
from braggwatch.sim.cxdp.relaxation.configuration import RelaxationSpec
from braggwatch.sim.cxdp.relaxation.library import CONFIGURATIONS_PER_SHARD, relaxed_shard_path, write_relaxed_shard
from braggwatch.sim.cxdp.shards import remove_partial


def make_library(
    folder: Path,
    spec: RelaxationSpec,
    crystals: int,
    *,
    first: int = 0,
    workers: int = 1,
    part: tuple[int, int] | None = None,
    executor: Executor | None = None,
    on_shard: Callable[[int], None] | None = None,
) -> list[Path]:
    """Relax crystals ``first`` to ``first + crystals - 1``, resuming where shards exist; returns the shards in order.

    Parameters
    ----------
    workers, executor
        See `run_shards`.
    part
        (i, n): only every n-th shard, starting with the i-th.
    on_shard
        Called in this process with the number of crystals of each finished shard, in any order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = first + crystals
    starts = list(range(first, last, CONFIGURATIONS_PER_SHARD))
    if part is not None:
        starts = starts[part[0] - 1 :: part[1]]
    shards = [range(start, min(start + CONFIGURATIONS_PER_SHARD, last)) for start in starts]
    run_shards(partial(_relax, folder, spec), shards, on_shard or _unheard, workers=workers, executor=executor)
    paths = [relaxed_shard_path(folder, spec, start) for start in starts]
    for path in paths:
        remove_partial(path)
    return paths


def _relax(folder: Path, spec: RelaxationSpec, numbers: range) -> int:
    write_relaxed_shard(folder, spec, numbers.start, numbers.stop)
    return len(numbers)


def _unheard(_: int) -> None: ...
