"""Brings each sink what its outbox holds, again and again until the sink takes it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.callbacks.sadp.records import PatternResult
from braggwatch.services.feedback.sink import PatternSink, Sink, SinkError
from braggwatch.services.live.service_metrics import NoMetrics, ServiceMetrics
from braggwatch.services.sadp.live.pattern_store import JournalEntry
from braggwatch.services.storage.result_store import ResultStore

logger = logging.getLogger(__name__)

_IDLE_S = 1.0


class FeedbackDispatcher:
    """One thread for each sink, so that one that is down or slow holds up no other.

    Parameters
    ----------
    store
        Made with the names of these sinks; its outbox survives a restart.
    retry_first_s, retry_longest_s
        Pause after a failure, doubling from the first to the longest, seconds.
    """

    def __init__(
        self,
        store: ResultStore,
        sinks: Sequence[Sink],
        metrics: ServiceMetrics | None = None,
        *,
        retry_first_s: float = 0.5,
        retry_longest_s: float = 30.0,
    ) -> None:
        self._store = store
        self._metrics: ServiceMetrics = metrics or NoMetrics()
        self._retry_first_s = retry_first_s
        self._retry_longest_s = retry_longest_s
        self._stopping = threading.Event()
        self._sinks = tuple(sinks)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin with what the outbox holds from before."""
        for sink in self._sinks:
            thread = threading.Thread(target=self._serve, args=(sink,), name=f"braggwatch-{sink.name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Offer what is still in the outbox once more, then close the sinks."""
        self._stopping.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logger.warning("%s did not end in time; its outbox is kept", thread.name)
        self._threads.clear()

    def _serve(self, sink: Sink) -> None:
        pause = self._retry_first_s
        try:
            while True:
                last_round = self._stopping.is_set()
                taken = self._deliver(sink)
                if last_round:
                    return
                if taken:
                    pause = self._retry_first_s
                    self._store.wait_for_change(0.0 if self._stopping.is_set() else _IDLE_S)
                else:
                    self._stopping.wait(pause)
                    pause = min(2 * pause, self._retry_longest_s)
        finally:
            sink.close()

    def _deliver(self, sink: Sink) -> bool:
        """Offer all that waits, oldest first; stop at the first that is not taken, and return False."""
        if isinstance(sink, PatternSink) and not self._deliver_patterns(sink.name, sink):
            return False
        while results := self._store.pending_deliveries(sink.name):
            for result in results:
                if not self._offer(sink, result):
                    return False
                self._store.mark_delivered(sink.name, result)
        return True

    def _deliver_patterns(self, name: str, sink: PatternSink) -> bool:
        patterns = self._store.patterns
        while entries := patterns.undelivered(name):
            given = 0
            for entry in entries:
                if not self._try(name, entry.record.run_uid, lambda entry=entry: self._hand_over(sink, entry)):
                    break
                given = entry.id
            # One note for many: noted one by one, each would be a commit that the worker waits for.
            if given:
                patterns.mark_delivered(name, given)
            if given != entries[-1].id:
                return False
        return True

    def _hand_over(self, sink: PatternSink, entry: JournalEntry) -> None:
        record = entry.record
        if isinstance(record, PatternResult):
            sink.publish_pattern(record)
        else:
            sink.publish_pattern_run(record, tuple(self._store.patterns.particles_of(record.run_uid)))

    def _offer(self, sink: Sink, result: ScreeningResult) -> bool:
        return self._try(sink.name, result.run_uid, lambda: sink.publish(result))

    def _try(self, sink: str, run_uid: str, publish: Callable[[], None]) -> bool:
        started = time.monotonic()
        try:
            publish()
        except SinkError as error:
            self._metrics.feedback_published(sink, False)
            logger.warning("sink %s did not take run %s: %s", sink, run_uid, error)
            return False
        except Exception:
            # A mistake of the sink itself must not end its thread: it is retried like an outage.
            self._metrics.feedback_published(sink, False)
            logger.exception("sink %s failed on run %s", sink, run_uid)
            return False
        self._metrics.feedback_published(sink, True)
        self._metrics.stage("publish", time.monotonic() - started)
        return True
