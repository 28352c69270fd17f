"""Where a plan or a device asks for a verdict: one small interface, and the in-process implementation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Protocol, TypeVar

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningReport, ScreeningResult
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_POLL_S = 0.01
_SLACK_S = 1.0

_Answer = TypeVar("_Answer")


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


class ProvisionalSource(Protocol):
    """Answers with what is said of a run that goes on, or None; at once, whether or not anything is said."""

    async def so_far(self, run_uid: str) -> ProvisionalVerdict | None:
        """Ask without blocking the event loop."""
        ...


async def answer_or_none(asked: Awaitable[_Answer | None], timeout_s: float, run_uid: str) -> _Answer | None:
    """Wait for what was asked of a source; None where it takes longer or fails, so that a measurement goes on."""
    try:
        async with asyncio.timeout(timeout_s):
            return await asked
    except TimeoutError:
        return None
    except Exception:
        # Whatever a source does, a measurement goes on.
        logger.exception("asking for what is said of run %s failed", run_uid)
        return None


async def final_or_none(source: VerdictSource, run_uid: str, timeout_s: float) -> ScreeningResult | None:
    """Wait for a run's record; None where there is none within the time, or the source fails."""
    return await answer_or_none(source.wait(run_uid, timeout_s), timeout_s + _SLACK_S, run_uid)


class RecentVerdicts:
    """The latest records of a `ScreeningCallback` in this process; give its `put` as ``on_report``.

    Give `put_provisional` to a `ProvisionalScreening` as ``on_verdict``, where runs are judged on their way.

    Safe to fill in one thread and ask in another.

    Parameters
    ----------
    capacity
        Records kept; the oldest go first.
    """

    def __init__(self, capacity: int = 1000) -> None:
        self._results = Bounded[str, ScreeningResult](capacity)
        self._so_far = Bounded[str, ProvisionalVerdict](capacity)

    def put(self, report: ScreeningReport) -> None:
        """Keep a report's record."""
        self._so_far.pop(report.result.run_uid, None)
        self._results[report.result.run_uid] = report.result

    def put_provisional(self, provisional: ProvisionalVerdict) -> None:
        """Keep what is said of a run until its record comes."""
        self._so_far[provisional.run_uid] = provisional

    async def so_far(self, run_uid: str) -> ProvisionalVerdict | None:
        """Return what is said of a run that goes on."""
        return self._so_far.get(run_uid)

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
