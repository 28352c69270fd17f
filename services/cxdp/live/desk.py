"""Takes the reports of rocking curves: stores each at once, then tells the page and the metrics."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from braggwatch.callbacks.cxdp.records import LiveRecord, ScreeningReport
from braggwatch.services.cxdp.live.provisional_board import ProvisionalBoard
from braggwatch.services.live.desk import ReportDesk
from braggwatch.services.live.modality import Arrival
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.live.service_metrics import NoMetrics, ServiceMetrics
from braggwatch.services.storage.result_store import ResultStore

logger = logging.getLogger(__name__)


class ResultDesk(ReportDesk[ScreeningReport]):
    """Stores, then tells: in this order, so that nothing is known that could be forgotten.

    Parameters
    ----------
    broker
        Is told of each new record.
    board
        Is told of each record, where runs are judged on their way.
    """

    def __init__(
        self,
        store: ResultStore,
        broker: ResultBroker[LiveRecord],
        metrics: ServiceMetrics | None = None,
        board: ProvisionalBoard | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock)
        self._results = store
        self._broker = broker
        self._metrics: ServiceMetrics = metrics or NoMetrics()
        self._board = board
        self._waiting: deque[ScreeningReport] = deque()

    def _admit(self, report: ScreeningReport, taken_at: float, arrival: Arrival | None) -> None:  # noqa: ARG002
        # The callback's own latency ends before its report: only the wait in the queue is missing from it.
        result = report.result
        waited = 0.0 if arrival is None else arrival.waited_s
        stages = {**result.stage_seconds, "queue": waited}
        result = result.model_copy(update={"latency_s": result.latency_s + waited, "stage_seconds": stages})
        self._waiting.append(replace(report, result=result))

    def _store(self, force: bool) -> None:  # noqa: ARG002 (nothing is kept waiting)
        while self._waiting:
            # Taken off first: what can't be told must not come again for ever, nor keep back the others.
            report = self._waiting.popleft()
            result = report.result
            is_new = self._results.put(report)
            if self._board is not None:
                self._board.settle(result)
            if not is_new:
                logger.info("run %s has its record already; %s not published", result.run_uid, result.verdict.headline)
                continue
            self._broker.publish(result)
            self._metrics.run_finished(result)
            logger.info("run %s: %s", result.run_uid, result.verdict.headline)
