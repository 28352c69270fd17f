"""Notices runs of which no document came at all, by the ``scan_id`` that a RunEngine counts up with each run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from braggwatch.callbacks.documents.document_checks import string
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_LARGEST_JUMP: Final = 100
_MAX_SERIES: Final = 64
_MAX_STARTED: Final = 10_000


class ScanNumbers:
    """Counts jumps in the scan numbers of each publisher.

    The wire doesn't say who publishes, so a start document continues the series whose last number is closest below
    its own; one that continues none (the first, a number set back or set far ahead) begins a series and tells no
    loss. A publisher whose numbers begin just above those of another can therefore be taken for a jump, once. Derived
    runs don't count.
    """

    def __init__(self) -> None:
        self._last = Bounded[int, None](_MAX_SERIES)
        self._started = Bounded[str, None](_MAX_STARTED)
        self._startless = 0

    def observe(self, name: str, document: Mapping[str, object]) -> int:
        """Take a start or stop document and return how many runs it shows to be lost whole; others say nothing."""
        if name == "stop":
            # Its start was lost, the run was not: its own record says that it joined late.
            self._startless += string(document.get("run_start")) not in self._started
            return 0
        uid = string(document.get("uid"))
        if name != "start" or uid is None or uid in self._started:
            return 0
        self._started[uid] = None
        scan_id = document.get("scan_id")
        if document.get("original_run_uid") is not None or isinstance(scan_id, bool) or not isinstance(scan_id, int):
            return 0
        return self._follow(scan_id)

    def _follow(self, scan_id: int) -> int:
        startless, self._startless = self._startless, 0
        below = [last for last in self._last if 0 < scan_id - last <= _LARGEST_JUMP]
        self._last.pop(scan_id, None)
        lost = 0
        if below:
            del self._last[max(below)]
            lost = max(0, scan_id - max(below) - 1 - startless)
        self._last[scan_id] = None
        if lost:
            logger.warning("scan_id went from %d to %d: %d runs lost whole", max(below), scan_id, lost)
        return lost
