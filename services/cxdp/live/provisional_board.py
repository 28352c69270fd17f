"""Holds the newest provisional verdict on each run in progress, until its final record replaces it."""

from __future__ import annotations

import logging
import threading

from braggwatch.callbacks.cxdp.records import LiveRecord, ProvisionalVerdict, ScreeningResult
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.live.service_metrics import NoMetrics, ServiceMetrics
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_KEPT = 256


class ProvisionalBoard:
    """Keeps and publishes provisional verdicts, and compares the last one of each run with the final record.

    Can be read from any thread. Nothing is stored on disk: a restart clears it.
    """

    def __init__(self, broker: ResultBroker[LiveRecord], metrics: ServiceMetrics | None = None) -> None:
        self._broker = broker
        self._metrics: ServiceMetrics = metrics or NoMetrics()
        self._newest = Bounded[str, ProvisionalVerdict](_KEPT)
        self._lock = threading.Lock()

    def put(self, provisional: ProvisionalVerdict) -> None:
        """Keep one verdict and publish it."""
        with self._lock:
            self._newest[provisional.run_uid] = provisional
        self._broker.publish(provisional)
        self._metrics.provisional_made(provisional)
        logger.info("run %s so far: %s", provisional.run_uid, provisional.in_words)

    def get(self, run_uid: str) -> ProvisionalVerdict | None:
        """Return the newest provisional verdict on a run in progress, None if there is none."""
        with self._lock:
            return self._newest.get(run_uid)

    def in_progress(self) -> list[ProvisionalVerdict]:
        """Return the newest provisional verdict on each run in progress, oldest first."""
        with self._lock:
            return list(self._newest.values())

    def settle(self, result: ScreeningResult) -> None:
        """Drop the verdict on a run that now has its record, and count whether the class is the same."""
        with self._lock:
            provisional = self._newest.pop(result.run_uid, None)
        if provisional is not None and provisional.verdict.label is not None:
            self._metrics.provisional_settled(kept=provisional.verdict.label == result.verdict.label)
