"""The running service: a receiver fills a queue, one worker classifies, results are stored and then published."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from braggwatch.callbacks.documents.counters import AssemblyCounters
from braggwatch.callbacks.modalities import ModalityCallback
from braggwatch.services.live.feedback_dispatch import FeedbackDispatcher
from braggwatch.services.live.health import HOUSEKEEPING, Health
from braggwatch.services.live.instruments import Instruments
from braggwatch.services.live.modality import Arrival, LiveModality, WorkerLinks
from braggwatch.services.settings import Settings
from braggwatch.services.stream.backlog import Backlog, QueuedDocument
from braggwatch.services.stream.receiver import Receiver, ReceiverStats

logger = logging.getLogger(__name__)

_MODEL: Final = "model"
_STORE: Final = "store"
_STREAM: Final = "stream"
_RUNS: Final = "runs"
_FAILURE_LOG_EVERY_S: Final = 60.0


class ScreeningService:
    """Screens a document stream until it is stopped.

    Parameters
    ----------
    modalities
        The modalities; each sees the whole stream and processes its own runs.
    feedback
        Delivers stored records to the sinks; started and stopped with the service.
    on_beat
        Called at each turn of the worker's loop, e.g. to feed a supervisor's watchdog.
    on_raw_message
        Called with each raw message from the socket, in the receiving thread.
    """

    def __init__(
        self,
        settings: Settings,
        modalities: Sequence[LiveModality],
        feedback: FeedbackDispatcher,
        instruments: Instruments | None = None,
        *,
        on_beat: Callable[[], None] | None = None,
        on_raw_message: Callable[[bytes], None] | None = None,
    ) -> None:
        instruments = instruments or Instruments.of()
        self._settings = settings
        self._modalities = tuple(modalities)
        self._feedback = feedback
        self._metrics = instruments.metrics
        self._fallbacks = instruments.fallbacks
        self._unrecorded = instruments.unrecorded
        self.health: Health = instruments.health
        self._on_beat = on_beat
        self._backlog = Backlog(settings.queue.max_documents, settings.queue.max_bytes)
        self._receiver = Receiver(settings.stream, self._backlog, self._metrics, on_raw_message)
        self._worker: threading.Thread | None = None
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._rejected: Counter[str] = Counter()
        self._without_record: Counter[str] = Counter()
        self._next_tick = 0.0
        self._next_retry = 0.0
        self._failure_logged_at: dict[str, float] = {}

    @property
    def receiver_stats(self) -> ReceiverStats:
        """Counts of the receiver so far."""
        return self._receiver.stats

    @property
    def is_behind(self) -> bool:
        """Whether documents wait to be handled."""
        return self._backlog.stats.documents > 0

    @property
    def alive(self) -> bool:
        """Whether both threads run."""
        return self._receiver.alive and self._worker is not None and self._worker.is_alive()

    def start(self) -> None:
        """Start to receive, warm up and classify. Returns at once; `health` says when the service is ready.

        Raises
        ------
        SettingsError
            If the stream's address or keys can't be used.
        """
        self._metrics.queue_capacity(self._settings.queue.max_documents, self._settings.queue.max_bytes)
        links = WorkerLinks(is_behind=lambda: self.is_behind, on_provisional=self._feedback.provisional)
        callback = ModalityCallback(
            [modality.open_stream(links) for modality in self._modalities],
            self._settings.assembly,
            on_unrecorded=self._unrecorded.put,
        )
        # Receiving starts before the warm-up ends; documents wait in the queue.
        self._receiver.start()
        self._feedback.start()
        self._worker = threading.Thread(target=self._work, args=(callback,), name="braggwatch-screening", daemon=True)
        self._worker.start()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the service is ready; False if the time is up, `health` then says why."""
        deadline = time.monotonic() + timeout_s
        while not self.health.report().ready:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def stop(self) -> None:
        """Stop receiving, process the queue until the deadline, end open runs, deliver, and return.

        The store and the modalities stay open: they belong to the caller.
        """
        self.health.stopping()
        self._receiver.stop()
        self._deadline = time.monotonic() + self._settings.screening.stop_deadline_s
        self._stopping.set()
        self._backlog.close()
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        self._feedback.stop()

    def _work(self, callback: ModalityCallback) -> None:
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
            logger.warning("%d queued documents were not processed before the deadline", left)
        failed = self._attempt("flush", callback.flush)
        self._tick(callback, time.monotonic(), failed)

    def _prepare(self) -> None:
        shortcomings: list[str] = []
        failures: list[str] = []
        for modality in self._modalities:
            try:
                shortcomings += modality.prepare()
            except Exception as error:
                # Whatever a runtime raises, the page must show it: a dead process would not say why.
                logger.exception("warm-up failed")
                failures.append(f"{type(error).__name__}: {error}"[:300])
        if failures:
            self.health.failed(_MODEL, "; ".join(failures))
        elif shortcomings := [*self._fallbacks.reasons, *shortcomings]:
            self.health.degraded(_MODEL, "; ".join(shortcomings))
        else:
            self.health.ok(_MODEL)

    def _handle(self, callback: ModalityCallback, item: QueuedDocument) -> None:
        arrival = Arrival(item.received_at, begun_at=time.monotonic())
        try:
            callback(item.name, item.document)
        except Exception:
            # The callback should not raise; if it does, the runs that follow must not be lost.
            logger.exception("document %s of run %s could not be handled", item.name, item.run_uid)
            self._metrics.document_rejected("callback_error")
        self._flush(arrival, force=self._backlog.stats.documents == 0)

    def _flush(self, arrival: Arrival | None, *, force: bool) -> None:
        for modality in self._modalities:
            try:
                modality.flush(arrival, force=force)
            except Exception:
                # A record that can't be stored or published must not end the worker thread.
                logger.exception("records of %s could not be stored or published", modality.name)
                self._metrics.document_rejected("callback_error")

    def _tick(self, callback: ModalityCallback, now: float, failed: str | None = None) -> None:
        """Do the maintenance between documents; a step that fails stops neither the other steps nor the runs."""
        chores: dict[str, Callable[[], None]] = {
            "beat": self._beat,
            "runs": lambda: callback.expire(now),
            "records": lambda: self._flush(None, force=True),
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
        self._feedback.beat()

    def _attempt(self, step: str, chore: Callable[[], None]) -> str | None:
        """Run one maintenance step; return the error message, None if it succeeded."""
        try:
            chore()
        except Exception as error:
            # No error here may end the worker thread: all open runs would be lost.
            self._metrics.housekeeping_failed(step)
            now = time.monotonic()
            if now - self._failure_logged_at.get(step, float("-inf")) >= _FAILURE_LOG_EVERY_S:
                self._failure_logged_at[step] = now
                logger.exception("housekeeping (%s) failed; retrying", step)
            return f"{step}: {type(error).__name__}: {error}"[:300]
        return None

    def _tell_counters(self, callback: ModalityCallback) -> None:
        counters = callback.counters
        self._metrics.runs_open(callback.open_runs)
        self._metrics.assembly_counters(_totals(counters))
        self.health.remark(_RUNS, counters.newest_unrecorded)
        _count_on(counters.rejected, self._rejected, self._metrics.document_rejected)
        _count_on(counters.unrecorded, self._without_record, self._metrics.run_unrecorded)

    def _retry_store(self, now: float) -> None:
        if now < self._next_retry:
            return
        self._next_retry = now + self._settings.store.retry_interval_s
        waiting = sum(modality.retry() for modality in self._modalities)
        self._metrics.store_pending(waiting)
        if waiting:
            self.health.degraded(_STORE, f"results can't be written to disk, {waiting} wait in memory")
        else:
            self.health.ok(_STORE)

    def _tell_stream(self) -> None:
        if self._stopping.is_set():
            return
        stats = self._receiver.stats
        if not self._receiver.alive:
            self.health.failed(_STREAM, "the receiving thread has stopped")
        elif stats.connected:
            self.health.ok(_STREAM)
        else:
            self.health.failed(_STREAM, stats.problem or "not connected")


def _count_on(totals: Mapping[str, int], counted: Counter[str], count_one: Callable[[str], None]) -> None:
    """Count what has come on top of what was counted before, by kind."""
    for kind, total in totals.items():
        for _ in range(total - counted[kind]):
            count_one(kind)
        counted[kind] = total


def _totals(counters: AssemblyCounters) -> dict[str, int]:
    return {
        "frames_expected": counters.frames_expected,
        "frames_received": counters.frames_received,
        "frames_contradicted": counters.frames_contradicted,
        "late": counters.late,
        "duplicates": counters.duplicates,
        "evictions": counters.evictions,
        "joined_late": counters.joined_late,
        "without_detector": counters.without_detector,
    }
