"""Brings each sink what the outboxes hold, again and again until the sink takes it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict
from braggwatch.services.live.outbox import Offer, Outbox
from braggwatch.services.live.service_metrics import NoMetrics, ServiceMetrics
from braggwatch.services.live.sink import Sink, SinkError

logger = logging.getLogger(__name__)

_IDLE_S = 1.0


class FeedbackDispatcher:
    """One thread for each sink, so that one that is down or slow holds up no other.

    Parameters
    ----------
    outboxes
        Of a store that was made with the names of these sinks; they survive a restart.
    wait_for_change
        Waits for a new record, up to so many seconds.
    retry_first_s, retry_longest_s
        Pause after a failure, doubling from the first to the longest, seconds.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        outboxes: Sequence[Outbox],
        wait_for_change: Callable[[float], None],
        metrics: ServiceMetrics | None = None,
        *,
        retry_first_s: float = 0.5,
        retry_longest_s: float = 30.0,
    ) -> None:
        self._outboxes = tuple(outboxes)
        self._wait_for_change = wait_for_change
        self._metrics: ServiceMetrics = metrics or NoMetrics()
        self._retry_first_s = retry_first_s
        self._retry_longest_s = retry_longest_s
        self._stopping = threading.Event()
        self._sinks = tuple(sinks)
        self._threads: list[threading.Thread] = []
        self._started = False

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The sinks that are served."""
        return self._sinks

    def start(self) -> None:
        """Begin with what the outboxes hold from before."""
        self._started = True
        for sink in self._sinks:
            thread = threading.Thread(target=self._serve, args=(sink,), name=f"braggwatch-{sink.name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Offer what is still in the outboxes once more, then close the sinks; does nothing the second time."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if not self._started:
            # A sink belongs to the thread that serves it: only one that has none is closed from here.
            for sink in self._sinks:
                sink.close()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logger.warning("%s did not end in time; its outbox is kept", thread.name)
        self._threads.clear()

    def beat(self) -> None:
        """Let the sinks know that scans can be judged; called by the thread that judges."""
        for sink in self._sinks:
            self._tell(sink, sink.beat)

    def provisional(self, verdict: ProvisionalVerdict) -> None:
        """Let the sinks know what is said of a run that goes on; called by the thread that judges."""
        for sink in self._sinks:
            self._tell(sink, lambda sink=sink: sink.provisional(verdict))

    def _tell(self, sink: Sink, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            # A mistake of a sink must not end the thread that judges all runs.
            logger.exception("sink %s failed", sink.name)

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
                    self._wait_for_change(0.0 if self._stopping.is_set() else _IDLE_S)
                else:
                    self._stopping.wait(pause)
                    pause = min(2 * pause, self._retry_longest_s)
        finally:
            sink.close()

    def _deliver(self, sink: Sink) -> bool:
        """Offer all that waits; one outbox that is held up holds up no other. Return False where one was."""
        taken = [outbox.deliver(sink, self._offer_to(sink)) for outbox in self._outboxes]
        return all(taken)

    def _offer_to(self, sink: Sink) -> Offer:
        return lambda run_uid, publish: self._try(sink.name, run_uid, publish)

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
