"""Where data sets are made: processes of this machine, or a Dask cluster, behind `concurrent.futures.Executor`."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from distributed import LocalCluster

logger = logging.getLogger(__name__)

_POOLS = 3
_Task = TypeVar("_Task")
_Done = TypeVar("_Done")


def one_core_each(workers: int) -> ProcessPoolExecutor:
    """Return fresh processes whose numeric libraries keep to one thread, and that end with this process."""
    # a BLAS with its own threads in every worker would fight over the cores; it reads these when it is first imported
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    threading.Thread(target=_exit_after_parent, name="end with parent", daemon=True).start()


def _exit_after_parent() -> None:
    # a pool's processes wait for work, or go on with it, however their parent ended: a killed one can't tell them
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
    """Make shards, telling of each in this process as it is done, in any order.

    Parameters
    ----------
    work
        Makes one; picklable, as are the tasks.
    workers
        Processes where no ``executor`` is given; where one of them dies, its shards are done again in fresh ones.
    executor
        Runs the shards; doing again what was on a lost worker is up to it.

    Raises
    ------
    ChildProcessError
        If processes die again and again.

    Notes
    -----
    Interrupted, it ends its processes at once: shards that were begun are done again the next time.
    """
    left = dict(enumerate(tasks))

    def finished(place: int, done: _Done) -> None:
        del left[place]
        on_done(done)

    if executor is not None:
        _run(executor, work, left, finished)
        return
    for _ in range(_POOLS):
        if not left:
            return
        others = set(active_children())
        pool = one_core_each(min(workers, len(left)))
        try:
            _run(pool, work, left, finished)
        except BrokenExecutor:
            logger.warning("a process died: %d shards are done in fresh ones", len(left))
        except (KeyboardInterrupt, SystemExit):
            for process in set(active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
    if left:
        raise ChildProcessError(f"processes died {_POOLS} times (out of memory?): {len(left)} shards are missing")


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
    """Run on a Dask cluster; what was on a lost worker is done again by another one.

    Parameters
    ----------
    scheduler
        Its address, e.g. ``tcp://host:8786``; its workers need this package and the same file system. None: a cluster
        of this machine's processes, ended with the context.
    workers
        Processes of that own cluster.

    Raises
    ------
    ImportError
        If Dask is not installed.
    OSError
        If no scheduler answers, or if one task ended every worker it was given to.
    """
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise ImportError("Dask is not installed: pip install 'braggwatch[dask]'") from error
    logging.getLogger("distributed").setLevel(logger.getEffectiveLevel())  # it tells each connection otherwise
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
                f"one shard ended {error.allowed_failures + 1} workers in turn (out of memory?): see their logs"
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
