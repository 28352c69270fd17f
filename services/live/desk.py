"""Base class that collects a callback's reports, adds their queueing time, and passes them on to be stored."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from braggwatch.services.live.modality import Arrival

Report = TypeVar("Report")


class ReportDesk(ABC, Generic[Report]):
    """Collects the reports of a modality's callback, stores them, and then announces them.

    `take` only records a report and the time, as the callback is still processing the document. `flush` is called
    once it has finished, with the document's arrival. Call both from the worker thread.

    Parameters
    ----------
    clock
        Monotonic seconds; the same clock that stamps documents on arrival.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: list[tuple[Report, float]] = []

    def take(self, report: Report) -> None:
        """Take one report; a later `flush` stores and announces it."""
        self._taken.append((report, self._clock()))

    def flush(self, arrival: Arrival | None = None, *, force: bool = False) -> None:
        """Store and announce the reports taken, if due.

        Parameters
        ----------
        arrival
            Of the document that led to the reports since the last call; None if no document did.
        force
            Don't wait for more reports.
        """
        taken, self._taken = self._taken, []
        for report, at in taken:
            self._admit(report, at, arrival)
        self._store(force)

    @abstractmethod
    def _admit(self, report: Report, taken_at: float, arrival: Arrival | None) -> None:
        """Queue a report for storing, its latency measured from the document's arrival."""

    @abstractmethod
    def _store(self, force: bool) -> None:
        """Store and announce the queued reports, if due or if ``force`` is set."""
