"""What is said of runs that go on: the newest word on each, until its record is there."""

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
    """Keeps and tells provisional verdicts, and compares each with what the run's record says in the end.

    Safe to ask from other threads than the one that fills it. Nothing here is stored: a restart forgets it.
    """

    def __init__(self, broker: ResultBroker[LiveRecord], metrics: ServiceMetrics | None = None) -> None:
        self._broker = broker
        self._metrics: ServiceMetrics = metrics or NoMetrics()
        self._newest = Bounded[str, ProvisionalVerdict](_KEPT)
        self._lock = threading.Lock()

    def put(self, provisional: ProvisionalVerdict) -> None:
        """Keep one verdict and tell whoever watches."""
        with self._lock:
            self._newest[provisional.run_uid] = provisional
        self._broker.publish(provisional)
        self._metrics.provisional_made(provisional)
        logger.info("run %s so far: %s", provisional.run_uid, provisional.in_words)

    def get(self, run_uid: str) -> ProvisionalVerdict | None:
        """Return the newest one of a run that goes on."""
        with self._lock:
            return self._newest.get(run_uid)

    def going_on(self) -> list[ProvisionalVerdict]:
        """Return the newest one of each run that goes on, oldest first."""
        with self._lock:
            return list(self._newest.values())

    def settle(self, result: ScreeningResult) -> None:
        """Take note that a run has its record."""
        with self._lock:
            said = self._newest.pop(result.run_uid, None)
        if said is not None and said.verdict.label is not None:
            self._metrics.provisional_settled(kept=said.verdict.label == result.verdict.label)
