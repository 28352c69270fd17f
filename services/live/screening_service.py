"""The running service: a receiver fills a queue, one worker judges, results are stored and then told."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from braggwatch.callbacks.cxdp.records import LiveRecord, ScreeningReport
from braggwatch.callbacks.documents.counters import AssemblyCounters
from braggwatch.services.cxdp.live.provisional_board import ProvisionalBoard
from braggwatch.services.feedback.dispatch import FeedbackDispatcher
from braggwatch.services.feedback.sink import Sink
from braggwatch.services.live.health import HOUSEKEEPING, Health
from braggwatch.services.live.result_broker import EventBroker
from braggwatch.services.live.service_metrics import NoMetrics, ServiceMetrics
from braggwatch.services.sadp.live.pattern_desk import PatternDesk
from braggwatch.services.settings import Settings
from braggwatch.services.storage.result_store import ResultStore
from braggwatch.services.stream.backlog import Backlog, QueuedDocument
from braggwatch.services.stream.receiver import Receiver, ReceiverStats

logger = logging.getLogger(__name__)

_MODEL: Final = "model"
_STORE: Final = "store"
_STREAM: Final = "stream"
_RUNS: Final = "runs"
_FAILURE_LOG_EVERY_S: Final = 60.0


class DocumentCallback(Protocol):
    """The part of `braggwatch.callbacks.modalities.ModalityCallback` that the worker drives."""

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document; never raises."""
        ...

    def expire(self, now_monotonic: float) -> None:
        """Report runs whose deadline is over."""
        ...

    def flush(self) -> None:
        """End and report every open run."""
        ...

    @property
    def open_runs(self) -> int:
        """Runs that have begun and not ended."""
        ...

    @property
    def counters(self) -> AssemblyCounters:
        """Running totals."""
        ...


class ScreeningService:
    """Screens a document stream until it is stopped.

    Parameters
    ----------
    make_callback
        Given where to report, makes the callback that judges; called once, at `start`.
    warm_up
        Called by the worker before the service is ready: compiles kernels, and runs the model once for real. What it
        raises makes the service not ready, with the reason; documents are then still received, and their runs get
        the callback's own error outcome. What it returns is a shortcoming in words: the service is ready, and degraded.
    patterns
        Takes the reports of diffraction patterns, where the callback makes any; the worker tells it when to store.
    board
        Is told of each record, where runs are judged on their way.
    on_beat
        Called at each turn of the worker's loop, e.g. to feed a supervisor's watchdog.
    """

    def __init__(
        self,
        settings: Settings,
        make_callback: Callable[[Callable[[ScreeningReport], None]], DocumentCallback],
        store: ResultStore,
        broker: EventBroker[LiveRecord],
        *,
        sinks: Sequence[Sink] = (),
        metrics: ServiceMetrics | None = None,
        health: Health | None = None,
        warm_up: Callable[[], str | None] | None = None,
        on_beat: Callable[[], None] | None = None,
        tap: Callable[[bytes], None] | None = None,
        patterns: PatternDesk | None = None,
        board: ProvisionalBoard | None = None,
    ) -> None:
        self._patterns = patterns
        self._board = board
        self._settings = settings
        self._make_callback = make_callback
        self._store = store
        self._broker = broker
        self._metrics: ServiceMetrics = metrics or NoMetrics()
        self.health = health or Health(on_change=self._metrics.ready)
        self._warm_up = warm_up
        self._on_beat = on_beat
        self._backlog = Backlog(settings.queue.max_documents, settings.queue.max_bytes)
        self._receiver = Receiver(settings.stream, self._backlog, self._metrics, tap)
        self._dispatcher = FeedbackDispatcher(
            store,
            sinks,
            self._metrics,
            retry_first_s=settings.feedback.retry_first_s,
            retry_longest_s=settings.feedback.retry_longest_s,
        )
        self._worker: threading.Thread | None = None
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._waited_s = 0.0
        self._rejected: Counter[str] = Counter()
        self._next_tick = 0.0
        self._next_retry = 0.0
        self._failure_logged_at: dict[str, float] = {}

    @property
    def receiver_stats(self) -> ReceiverStats:
        """What the receiver has seen so far."""
        return self._receiver.stats

    @property
    def is_behind(self) -> bool:
        """True while documents wait to be handled."""
        return self._backlog.stats.documents > 0

    @property
    def alive(self) -> bool:
        """True while both threads run."""
        return self._receiver.alive and self._worker is not None and self._worker.is_alive()

    def start(self) -> None:
        """Begin to receive, warm up, and judge; returns at once, `health` says when it is ready.

        Raises
        ------
        SettingsError
            Where the stream's address or keys can't be used.
        """
        self._metrics.queue_capacity(self._settings.queue.max_documents, self._settings.queue.max_bytes)
        callback = self._make_callback(self._on_report)
        # Receiving begins before the warm-up ends: its documents wait in the queue.
        self._receiver.start()
        self._dispatcher.start()
        self._worker = threading.Thread(target=self._work, args=(callback,), name="braggwatch-screening", daemon=True)
        self._worker.start()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the service is ready; False where it is not in time, `health` then says why."""
        deadline = time.monotonic() + timeout_s
        while not self.health.report().ready:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def stop(self) -> None:
        """Stop receiving, judge what is queued until the deadline, end open runs, deliver, and return.

        The store and the broker stay open: they belong to the caller.
        """
        self.health.stopping()
        self._receiver.stop()
        self._deadline = time.monotonic() + self._settings.screening.stop_deadline_s
        self._stopping.set()
        self._backlog.close()
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        self._dispatcher.stop()

    def _work(self, callback: DocumentCallback) -> None:
        self._prepare()
        interval_s = self._settings.screening.expire_interval_s
        while True:
            item = self._backlog.get(0.0 if self._stopping.is_set() else interval_s)
            if item is not None:
                self._handle(callback, item)
            now = time.monotonic()
            if now >= self._next_tick:
                self._next_tick = now + interval_s
                self._tick(callback, now)
            if self._stopping.is_set() and (item is None or now >= self._deadline):
                break
        left = self._backlog.stats.documents
        if left:
            logger.warning("%d queued documents were not judged before the deadline", left)
        self._waited_s = 0.0
        failed = self._attempt("flush", callback.flush)
        self._tick(callback, time.monotonic(), failed)

    def _prepare(self) -> None:
        if self._warm_up is None:
            self.health.ok(_MODEL)
            return
        try:
            shortcoming = self._warm_up()
        except Exception as error:
            # Whatever a runtime raises, an operator must read it on the page rather than find a dead process.
            logger.exception("warm-up failed")
            self.health.failed(_MODEL, f"{type(error).__name__}: {error}"[:300])
            return
        if shortcoming is None:
            self.health.ok(_MODEL)
        else:
            self.health.degraded(_MODEL, shortcoming)

    def _handle(self, callback: DocumentCallback, item: QueuedDocument) -> None:
        self._waited_s = time.monotonic() - item.received_at
        if self._patterns is not None:
            self._patterns.document_arrived = item.received_at
        try:
            callback(item.name, item.document)
        except Exception:
            # The callback promises not to raise; one broken promise must not cost the runs that follow.
            logger.exception("document %s of run %s could not be handled", item.name, item.run_uid)
            self._metrics.document_rejected("callback_error")
        self._waited_s = 0.0
        if self._patterns is not None:
            self._patterns.document_arrived = None
            self._flush_patterns(self._patterns, force=self._backlog.stats.documents == 0)

    def _store_patterns(self) -> None:
        if self._patterns is not None:
            self._flush_patterns(self._patterns, force=True)

    def _flush_patterns(self, patterns: PatternDesk, *, force: bool) -> None:
        try:
            patterns.flush(force=force)
        except Exception:
            # A record that can't be told must not end the thread that judges all runs.
            logger.exception("records of diffraction patterns could not be stored or told")
            self._metrics.document_rejected("callback_error")

    def _tick(self, callback: DocumentCallback, now: float, failed: str | None = None) -> None:
        """Do what is to be done between documents; a chore that fails holds up neither the others nor the runs."""
        chores: dict[str, Callable[[], None]] = {
            "beat": self._beat,
            "runs": lambda: callback.expire(now),
            "patterns": self._store_patterns,
            "store": lambda: self._retry_store(now),
            "stream": self._tell_stream,
            "metrics": lambda: self._tell_counters(callback),
        }
        failures = [failed, *(self._attempt(step, chore) for step, chore in chores.items())]
        words = "; ".join(failure for failure in failures if failure is not None)
        if words:
            self.health.degraded(HOUSEKEEPING, words)
        else:
            self.health.ok(HOUSEKEEPING)

    def _beat(self) -> None:
        self.health.beat()
        if self._on_beat is not None:
            self._on_beat()

    def _attempt(self, step: str, chore: Callable[[], None]) -> str | None:
        """Do one chore; return what went wrong in words, None where nothing did."""
        try:
            chore()
        except Exception as error:
            # Whatever it is, it must not end the thread that judges all runs: all that are open would be lost.
            self._metrics.housekeeping_failed(step)
            now = time.monotonic()
            if now - self._failure_logged_at.get(step, float("-inf")) >= _FAILURE_LOG_EVERY_S:
                self._failure_logged_at[step] = now
                logger.exception("housekeeping (%s) failed; it is tried again", step)
            return f"{step}: {type(error).__name__}: {error}"[:300]
        return None

    def _tell_counters(self, callback: DocumentCallback) -> None:
        counters = callback.counters
        self._metrics.runs_open(callback.open_runs)
        self._metrics.assembly_counters(_totals(counters))
        self.health.remark(_RUNS, counters.newest_without_detector)
        for reason, count in counters.rejected.items():
            for _ in range(count - self._rejected[reason]):
                self._metrics.document_rejected(reason)
            self._rejected[reason] = count

    def _retry_store(self, now: float) -> None:
        if now < self._next_retry:
            return
        self._next_retry = now + self._settings.store.retry_interval_s
        waiting = self._store.retry_pending() + (self._patterns.pending if self._patterns is not None else 0)
        self._metrics.store_pending(waiting)
        if waiting:
            self.health.degraded(_STORE, f"the disk refuses results, {waiting} wait in memory")
        else:
            self.health.ok(_STORE)

    def _tell_stream(self) -> None:
        if self._stopping.is_set():
            return
        stats = self._receiver.stats
        if not self._receiver.alive:
            self.health.failed(_STREAM, "the receiving thread has ended")
        elif stats.connected:
            self.health.ok(_STREAM)
        else:
            self.health.failed(_STREAM, stats.problem or "not connected")

    def _on_report(self, report: ScreeningReport) -> None:
        """Store, then tell: in this order, so that nothing is known that could be forgotten."""
        result = report.result
        waited = self._waited_s
        stages = {**result.stage_seconds, "queue": waited}
        result = result.model_copy(update={"latency_s": result.latency_s + waited, "stage_seconds": stages})
        is_new = self._store.put(replace(report, result=result))
        if self._board is not None:
            self._board.settle(result)
        if not is_new:
            logger.info("run %s has its record already; %s not published", result.run_uid, result.verdict.headline)
            return
        self._broker.publish(result)
        self._metrics.run_finished(result)
        logger.info("run %s: %s", result.run_uid, result.verdict.headline)


def _totals(counters: AssemblyCounters) -> dict[str, int]:
    return {
        "frames_expected": counters.frames_expected,
        "frames_received": counters.frames_received,
        "late": counters.late,
        "duplicates": counters.duplicates,
        "evictions": counters.evictions,
        "joined_late": counters.joined_late,
        "without_detector": counters.without_detector,
    }
