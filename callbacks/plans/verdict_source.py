"""Interfaces through which plans and devices get verdicts, and the in-process implementation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Protocol, TypeVar, runtime_checkable

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningReport, ScreeningResult
from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_POLL_S = 0.01
_SLACK_S = 1.0
_QUESTION_S = 1.0

_Answer = TypeVar("_Answer")


class VerdictSource(Protocol):
    """Returns a run's final record, or None if there is none within the time.

    Neither method raises if the service is down: it returns None after ``timeout_s``.
    """

    async def wait(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Wait without blocking the event loop."""
        ...

    def wait_blocking(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Wait in the caller's thread."""
        ...


class ProvisionalSource(Protocol):
    """Returns the newest provisional verdict on a run, or None if there is none, without waiting for one."""

    async def so_far(self, run_uid: str) -> ProvisionalVerdict | None:
        """Ask without blocking the event loop."""
        ...


@runtime_checkable
class ReasonSource(Protocol):
    """Tells why a run gets no record; a `VerdictSource` that can tell needn't be waited for until the time is up."""

    async def unrecorded(self, run_uid: str) -> UnrecordedRun | None:
        """Return the reason; None if the run has its record, goes on, or isn't known."""
        ...


async def answer_or_none(asked: Awaitable[_Answer | None], timeout_s: float, run_uid: str) -> _Answer | None:
    """Await a source's answer; None if it takes too long or fails, so that the measurement continues."""
    try:
        async with asyncio.timeout(timeout_s):
            return await asked
    except TimeoutError:
        return None
    except Exception:
        # Whatever a source raises, the measurement must continue.
        logger.exception("asking for a verdict on run %s failed", run_uid)
        return None


async def final_or_reason(
    source: VerdictSource, run_uid: str, timeout_s: float
) -> ScreeningResult | UnrecordedRun | None:
    """Wait for a run's record, or why it gets none; None if neither comes within the time, or the source fails."""
    result = await answer_or_none(source.wait(run_uid, timeout_s), timeout_s + _SLACK_S, run_uid)
    if result is not None or not isinstance(source, ReasonSource):
        return result
    reason = await answer_or_none(source.unrecorded(run_uid), _QUESTION_S, run_uid)
    if reason is not None:
        logger.warning("%s", reason.in_words)
    return reason


class RecentVerdicts:
    """The latest records of a `ScreeningCallback` in this process; give its `put` as ``on_report``.

    For provisional verdicts, give `put_provisional` to a `ProvisionalScreening` as ``on_verdict``; for runs that get no
    record, `put_unrecorded` as ``on_unrecorded``: nobody then waits for those until the time is up.

    Thread-safe.

    Parameters
    ----------
    capacity
        Records kept; the oldest are dropped first.
    """

    def __init__(self, capacity: int = 1000) -> None:
        self._results = Bounded[str, ScreeningResult](capacity)
        self._so_far = Bounded[str, ProvisionalVerdict](capacity)
        self._unrecorded = Bounded[str, UnrecordedRun](capacity)

    def put(self, report: ScreeningReport) -> None:
        """Keep a report's record."""
        self._so_far.pop(report.result.run_uid, None)
        self._results[report.result.run_uid] = report.result

    def put_provisional(self, provisional: ProvisionalVerdict) -> None:
        """Keep a provisional verdict until the run's record arrives."""
        self._so_far[provisional.run_uid] = provisional

    def put_unrecorded(self, run: UnrecordedRun) -> None:
        """Keep why a run gets no record."""
        self._unrecorded[run.run_uid] = run

    async def unrecorded(self, run_uid: str) -> UnrecordedRun | None:
        """Return why a run gets no record; None if it has one, goes on, or isn't known."""
        return self._unrecorded.get(run_uid)

    async def so_far(self, run_uid: str) -> ProvisionalVerdict | None:
        """Return the newest provisional verdict on a run, None if there is none."""
        return self._so_far.get(run_uid)

    def get(self, run_uid: str) -> ScreeningResult | None:
        """Return the record of a run, None where there is none yet."""
        return self._results.get(run_uid)

    async def wait(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Wait without blocking the event loop."""
        deadline = time.monotonic() + timeout_s
        while (result := self.get(run_uid)) is None and self._awaits(run_uid, deadline):
            await asyncio.sleep(_POLL_S)
        return result

    def wait_blocking(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Wait in the caller's thread."""
        deadline = time.monotonic() + timeout_s
        while (result := self.get(run_uid)) is None and self._awaits(run_uid, deadline):
            time.sleep(_POLL_S)
        return result

    def _awaits(self, run_uid: str, deadline: float) -> bool:
        return run_uid not in self._unrecorded and time.monotonic() < deadline
