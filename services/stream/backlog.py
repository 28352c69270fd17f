"""The bounded queue between receiver and worker. When full it gives up whole runs: a run is never thinned."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

SHED_REASON = "shed by Braggwatch: documents came faster than they could be judged"

# What still passes of a run that was given up: it says that the run was, and what of.
_KEPT_NAMES = frozenset({"start", "descriptor", "stop"})
_LARGEST_KEPT = 1_000_000


@dataclass(frozen=True, slots=True)
class QueuedDocument:
    """One document on its way to the worker.

    Attributes
    ----------
    run_uid
        None where the run isn't known.
    size_bytes
        Bytes on the wire.
    received_at
        Monotonic clock, seconds.
    """

    name: str
    document: Mapping[str, object]
    run_uid: str | None
    size_bytes: int
    received_at: float


@dataclass(frozen=True, slots=True)
class BacklogStats:
    """The queue's counts at one moment."""

    documents: int
    size_bytes: int
    shed_runs: int
    shed_documents: int


@dataclass(slots=True)
class _RunInQueue:
    started: int
    delivered: bool = False
    waiting: int = 0


class Backlog:
    """First in, first out; bounded by documents and bytes.

    Where a document does not fit, the newest run that waits gives way as a whole: its events are dropped, those still
    to come are too. Its start and descriptors go through, being small, and its stop document says ``abort`` with the
    reason, so that the run gets its record. Runs already being worked on are given up last.
    """

    def __init__(self, max_documents: int, max_bytes: int, *, remembered_runs: int = 4096) -> None:
        self._max_documents = max_documents
        self._max_bytes = max_bytes
        self._items: deque[QueuedDocument] = deque()
        self._bytes = 0
        self._runs = Bounded[str, _RunInQueue](remembered_runs)
        self._shed = Bounded[str, None](remembered_runs)
        self._arrivals = 0
        self._shed_runs = 0
        self._shed_documents = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: QueuedDocument) -> int:
        """Add a document; never waits.

        Returns
        -------
        int
            Runs that were given up for it; its own may be among them.
        """
        with self._changed:
            if item.run_uid in self._shed:
                self._keep_or_drop(item)
                return 0
            given_up = 0
            while not self._fits(item):
                victim = self._victim(item)
                if victim is None:
                    # Belongs to no run and there is none to give up: the document goes.
                    self._shed_documents += 1
                    return given_up
                self._give_up(victim)
                given_up += 1
                if victim == item.run_uid:
                    self._keep_or_drop(item)
                    self._changed.notify()
                    return given_up
            self._append(item)
            self._changed.notify()
            return given_up

    def get(self, timeout_s: float) -> QueuedDocument | None:
        """Take the oldest document, waiting up to ``timeout_s``; None where none came or the queue is closed."""
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= item.size_bytes
            run = self._runs.get(item.run_uid or "")
            if run is not None:
                run.delivered = True
                run.waiting -= 1
                if item.name == "stop":
                    self._runs.pop(item.run_uid or "", None)
            return item

    def close(self) -> None:
        """Wake whoever waits; what is queued can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def stats(self) -> BacklogStats:
        """Counts at this moment."""
        with self._changed:
            return BacklogStats(len(self._items), self._bytes, self._shed_runs, self._shed_documents)

    def _fits(self, item: QueuedDocument) -> bool:
        return len(self._items) < self._max_documents and self._bytes + item.size_bytes <= self._max_bytes

    def _append(self, item: QueuedDocument) -> None:
        self._items.append(item)
        self._bytes += item.size_bytes
        if item.run_uid is None:
            return
        run = self._runs.get(item.run_uid)
        if run is None:
            self._arrivals += 1
            run = self._runs[item.run_uid] = _RunInQueue(self._arrivals)
        run.waiting += 1

    def _keep_or_drop(self, item: QueuedDocument) -> None:
        """Take one document of a run that was given up."""
        small = item.size_bytes <= _LARGEST_KEPT and len(self._items) < 2 * self._max_documents
        if item.name not in _KEPT_NAMES or not small:
            self._shed_documents += 1
            return
        self._items.append(_aborted(item))
        self._bytes += item.size_bytes
        self._changed.notify()

    def _victim(self, item: QueuedDocument) -> str | None:
        candidates = [(run.delivered, -run.started, uid) for uid, run in self._runs.items() if run.waiting]
        if item.run_uid is not None:
            own = self._runs.get(item.run_uid)
            started = self._arrivals + 1 if own is None else own.started
            candidates.append((own is not None and own.delivered, -started, item.run_uid))
        return min(candidates)[2] if candidates else None

    def _give_up(self, run_uid: str) -> None:
        self._runs.pop(run_uid, None)
        before = len(self._items)
        kept: deque[QueuedDocument] = deque()
        for item in self._items:
            if item.run_uid != run_uid:
                kept.append(item)
            elif item.name in _KEPT_NAMES and item.size_bytes <= _LARGEST_KEPT:
                kept.append(_aborted(item))
        self._items = kept
        self._bytes = sum(item.size_bytes for item in kept)
        self._shed[run_uid] = None
        self._shed_runs += 1
        self._shed_documents += before - len(kept)
        logger.warning("run %s shed: %d documents dropped, queue full", run_uid, before - len(kept))


def _aborted(item: QueuedDocument) -> QueuedDocument:
    """Return a document of a run that was given up: its stop document says so, the others are as they were."""
    if item.name != "stop":
        return item
    return replace(item, document={**item.document, "exit_status": "abort", "reason": SHED_REASON})
