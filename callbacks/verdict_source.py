"""Where a plan or a device asks for a verdict: one small interface, and the in-process implementation."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Protocol

from braggwatch.callbacks.records import ScreeningReport, ScreeningResult

_POLL_S = 0.01


class VerdictSource(Protocol):
    """Answers with a run's final record, or None where there is none within the time.

    Neither method raises because the service is down: that is None after ``timeout_s``.
    """

    async def wait(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Wait without blocking the event loop."""
        ...

    def wait_blocking(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Wait in the caller's thread."""
        ...


class RecentVerdicts:
    """The latest records of a `ScreeningCallback` in this process; give its `put` as ``on_report``.

    Safe to fill in one thread and ask in another.

    Parameters
    ----------
    capacity
        Records kept; the oldest go first.
    """

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._results: OrderedDict[str, ScreeningResult] = OrderedDict()

    def put(self, report: ScreeningReport) -> None:
        """Keep a report's record."""
        self._results[report.result.run_uid] = report.result
        while len(self._results) > self._capacity:
            self._results.popitem(last=False)

    def get(self, run_uid: str) -> ScreeningResult | None:
        """Return the record of a run, None where there is none yet."""
        return self._results.get(run_uid)

    async def wait(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Wait without blocking the event loop."""
        deadline = time.monotonic() + timeout_s
        while (result := self.get(run_uid)) is None and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
        return result

    def wait_blocking(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Wait in the caller's thread."""
        deadline = time.monotonic() + timeout_s
        while (result := self.get(run_uid)) is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return result
