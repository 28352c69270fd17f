"""Takes the reports of a callback, gives each its way through the queue, and hands them on to be stored."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from braggwatch.services.live.modality import Arrival

Report = TypeVar("Report")


class ReportDesk(ABC, Generic[Report]):
    """Where a modality's callback lays its reports down, and from where they are stored and then told.

    `take` only notes a report and the time, for the callback is still at work on the document. `flush`, called when it
    has done with it, is given the document's arrival. Both belong to the thread that judges.

    Parameters
    ----------
    clock
        Monotonic seconds; the clock that stamps documents on their arrival.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: list[tuple[Report, float]] = []

    def take(self, report: Report) -> None:
        """Take one report; it is stored and told at the next `flush` that does something."""
        self._taken.append((report, self._clock()))

    def flush(self, arrival: Arrival | None = None, *, force: bool = False) -> None:
        """Store and tell what was taken, where it is time to.

        Parameters
        ----------
        arrival
            Of the document whose reports were taken since the last call; None: they come of none.
        force
            Don't wait for more.
        """
        taken, self._taken = self._taken, []
        for report, at in taken:
            self._admit(report, at, arrival)
        self._store(force)

    @abstractmethod
    def _admit(self, report: Report, taken_at: float, arrival: Arrival | None) -> None:
        """Put a report, its latency measured from the document's arrival, among those to be stored."""

    @abstractmethod
    def _store(self, force: bool) -> None:
        """Store and tell what was admitted, where it is time to or ``force`` is set."""
