"""Make libraries of relaxed crystals in several processes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from braggwatch.services.batch.executors import run_shards
from braggwatch.sim.cxdp.relaxation.configuration import RelaxationSpec
from braggwatch.sim.cxdp.relaxation.library_shards import (
    CONFIGURATIONS_PER_SHARD,
    complete_relaxed_shard,
    numbers_elsewhere,
    relaxed_shard_path,
)
from braggwatch.sim.cxdp.shards import remove_partial

logger = logging.getLogger(__name__)


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

    Each crystal is in the folder once afterwards: a shard that lacks some of its own gets them, a damaged one is made
    anew, and what another shard holds is left there (that shard is then among those returned).

    Parameters
    ----------
    workers, executor
        See `run_shards`.
    part
        (i, n): only every n-th shard, starting with the i-th.
    on_shard
        Called in this process with the number of crystals of each finished shard, in any order.

    Raises
    ------
    ForeignShardError
        If crystals there are of another potential than the one that goes by that name now.
    ShardError
        If another shard of the same specification there is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = first + crystals
    all_starts = list(range(first, last, CONFIGURATIONS_PER_SHARD))
    starts = all_starts
    if part is not None:
        starts = all_starts[part[0] - 1 :: part[1]]
    shards = [range(start, min(start + CONFIGURATIONS_PER_SHARD, last)) for start in starts]
    own = [relaxed_shard_path(folder, spec, start) for start in starts]
    elsewhere = numbers_elsewhere(folder, spec, frozenset(relaxed_shard_path(folder, spec, s) for s in all_starts))

    def finished(done: tuple[int, str]) -> None:
        number, problem = done
        if problem:
            logger.warning("%s. Made anew", problem)
        if on_shard is not None:
            on_shard(number)

    run_shards(
        partial(_relax, folder, spec, frozenset(elsewhere)), shards, finished, workers=workers, executor=executor
    )
    for path in own:
        remove_partial(path)
    others = {elsewhere[number] for numbers in shards for number in numbers if number in elsewhere}
    return sorted({path for path in own if path.exists()} | others)


def _relax(folder: Path, spec: RelaxationSpec, elsewhere: frozenset[int], numbers: range) -> tuple[int, str]:
    _, problem = complete_relaxed_shard(folder, spec, numbers, elsewhere)
    return len(numbers), problem
