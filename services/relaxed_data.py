"""Libraries of relaxed crystals, many processes at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, as_completed
from pathlib import Path

from braggwatch.services.training_data import one_core_each
from braggwatch.sim.relaxation.configuration import RelaxationSpec
from braggwatch.sim.relaxation.library import CONFIGURATIONS_PER_SHARD, relaxed_shard_path, write_relaxed_shard


def part_of(text: str) -> tuple[int, int]:
    """Understand 'i/n', counted from 1.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    try:
        part, parts = (int(word) for word in text.split("/"))
    except ValueError as error:
        raise ValueError(f"a part is written i/n, e.g. 3/8, not {text!r}") from error
    if not 1 <= part <= parts:
        raise ValueError(f"part {part} of {parts} does not exist: i runs from 1 to n")
    return part, parts


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
    workers
        Processes where no ``executor`` is given.
    part
        (i, n): only every n-th shard, beginning with the i-th.
    on_shard
        Called in this process with the number of crystals of each finished shard, in any order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = first + crystals
    starts = list(range(first, last, CONFIGURATIONS_PER_SHARD))
    if part is not None:
        starts = starts[part[0] - 1 :: part[1]]
    pool = executor if executor is not None else one_core_each(workers)
    try:
        sizes = {start: min(CONFIGURATIONS_PER_SHARD, last - start) for start in starts}
        futures = {
            pool.submit(write_relaxed_shard, folder, spec, start, start + size): size for start, size in sizes.items()
        }
        for future in as_completed(futures):
            future.result()
            if on_shard is not None:
                on_shard(futures[future])
    finally:
        if executor is None:
            pool.shutdown(cancel_futures=True)
    return [relaxed_shard_path(folder, spec, start) for start in starts]
