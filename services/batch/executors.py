"""Executors for making data sets: local processes or a Dask cluster, both as `concurrent.futures.Executor`."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import TYPE_CHECKING, TypeVar

from braggwatch.sim.errors import MissingPackageError

if TYPE_CHECKING:
    from distributed import LocalCluster

logger = logging.getLogger(__name__)

_POOLS = 3
_Task = TypeVar("_Task")
_Done = TypeVar("_Done")


def one_core_each(workers: int) -> ProcessPoolExecutor:
    """Return a pool of new processes whose numeric libraries use one thread, and which end with this process."""
    # BLAS threads in every worker would compete for the cores; BLAS reads these variables when first imported
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    threading.Thread(target=_exit_after_parent, name="end with parent", daemon=True).start()


def _exit_after_parent() -> None:
    # a pool's processes keep running after their parent has been killed, since it can't notify them
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_shards(
    work: Callable[[_Task], _Done],
    tasks: Sequence[_Task],
    on_done: Callable[[_Done], None],
    *,
    workers: int = 1,
    executor: Executor | None = None,
) -> None:
    """Make shards, reporting each in this process as it finishes, in any order.

    Parameters
    ----------
    work
        Makes one shard; must be picklable, as must the tasks.
    workers
        Processes, if no ``executor`` is given; if one dies, its shards are repeated in new ones.
    executor
        Runs the shards; it must itself repeat the tasks of a lost worker.

    Raises
    ------
    ChildProcessError
        If processes die repeatedly.

    Notes
    -----
    On interruption it ends its processes at once: unfinished shards are made again the next time.
    """
    remaining = dict(enumerate(tasks))

    def finished(index: int, done: _Done) -> None:
        del remaining[index]
        on_done(done)

    if executor is not None:
        _run(executor, work, remaining, finished)
        return
    for _ in range(_POOLS):
        if not remaining:
            return
        other_processes = set(active_children())
        pool = one_core_each(min(workers, len(remaining)))
        try:
            _run(pool, work, remaining, finished)
        except BrokenExecutor:
            logger.warning("a process died: %d shards are repeated in new processes", len(remaining))
        except (KeyboardInterrupt, SystemExit):
            for process in set(active_children()) - other_processes:
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
    if remaining:
        raise ChildProcessError(f"processes died {_POOLS} times (out of memory?): {len(remaining)} shards are missing")


def _run(
    pool: Executor,
    work: Callable[[_Task], _Done],
    tasks: Mapping[int, _Task],
    finished: Callable[[int, _Done], None],
) -> None:
    futures = {pool.submit(work, task): place for place, task in tasks.items()}
    try:
        for future in as_completed(futures):
            finished(futures[future], future.result())
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def dask_executor(scheduler: str | None, workers: int) -> Generator[Executor]:
    """Run on a Dask cluster; tasks of a lost worker are repeated on another.

    Parameters
    ----------
    scheduler
        Address, e.g. ``tcp://host:8786``; its workers need this package and the same file system. None: a local
        cluster, which ends with the context.
    workers
        Processes of the local cluster.

    Raises
    ------
    MissingPackageError
        If Dask is not installed.
    OSError
        If no scheduler answers, or if a task killed every worker that it was given to.
    """
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise MissingPackageError("Dask is not installed: pip install 'braggwatch[dask]'") from error
    logging.getLogger("distributed").setLevel(logger.getEffectiveLevel())  # otherwise it logs each connection
    with ExitStack() as stack:
        cluster = None if scheduler is not None else stack.enter_context(_own_cluster(workers))
        client = stack.enter_context(
            Client(scheduler if cluster is None else cluster, timeout="30s", set_as_default=False)
        )
        executor = client.get_executor(pure=False)
        try:
            yield executor
        except KilledWorker as error:
            raise ChildProcessError(
                f"one shard killed {error.allowed_failures + 1} workers in turn (out of memory?): see their logs"
            ) from error
        finally:
            executor.shutdown(wait=False)


def _own_cluster(workers: int) -> LocalCluster:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        memory_limit=0,
    )
