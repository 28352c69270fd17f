"""Holds the newest runs that ended without a record, for the page, for whoever waits for one, and for the status."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
from braggwatch.sim.bounded import Bounded

_KEPT: Final = 256


class UnrecordedBoard:
    """Keeps a bounded number of them and tells listeners; thread-safe. Nothing is stored: a restart clears it."""

    def __init__(self) -> None:
        self._newest = Bounded[str, UnrecordedRun](_KEPT)
        self._total = 0
        self._listeners: list[Callable[[UnrecordedRun], None]] = []
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """How many there were since the start."""
        with self._lock:
            return self._total

    def listen(self, listener: Callable[[UnrecordedRun], None]) -> None:
        """Call a listener with each run from now on; it must return at once."""
        with self._lock:
            self._listeners.append(listener)

    def put(self, run: UnrecordedRun) -> None:
        """Keep one run and tell the listeners."""
        with self._lock:
            self._newest[run.run_uid] = run
            self._total += 1
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(run)

    def get(self, run_uid: str) -> UnrecordedRun | None:
        """Return why a run has no record; None if it has one, goes on, or isn't known."""
        with self._lock:
            return self._newest.get(run_uid)

    def newest(self, limit: int = _KEPT) -> list[UnrecordedRun]:
        """Return the newest of them, newest first."""
        with self._lock:
            return list(reversed(self._newest.values()))[:limit]
