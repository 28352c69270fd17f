"""Receives documents on a thread of its own, and notices refusals, loss and deafness."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import zmq

from braggwatch.callbacks.documents.run_references import RunReferences
from braggwatch.services.stream.backlog import Backlog, QueuedDocument
from braggwatch.services.stream.codec import DecoderLimits, RejectedMessage, RejectReason, decode
from braggwatch.services.stream.loss import LossLedger
from braggwatch.services.stream.scan_numbers import ScanNumbers
from braggwatch.services.stream.stream_metrics import NoStreamMetrics, StreamMetrics
from braggwatch.services.stream.stream_settings import StreamSettings
from braggwatch.services.stream.subscriber import Subscriber
from braggwatch.services.stream.watchdog import ConnectionWatch, ResetCause

logger = logging.getLogger(__name__)

_POLL_MS: Final = 50
_BATCH: Final = 500
_SETTLE_S: Final = 0.25
_OVERLAP_S: Final = 1.0
_LOG_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ReceiverStats:
    """What a receiver has seen so far.

    Attributes
    ----------
    gaps
        Interruptions: jumps in seq_num, and connections lost.
    lost
        Documents that must exist and never came, after the grace for reordering.
    lost_frames
        Frames in files that lost stream_datum would have announced.
    lost_runs
        Runs of which no document came, by jumps in scan_id.
    last_document_at
        Wall clock, seconds since the epoch; None before the first.
    problem
        Why the stream isn't connected, in words; None where it is.
    """

    received: int
    rejected: Mapping[RejectReason, int]
    resets: Mapping[ResetCause, int]
    gaps: int
    lost: int
    lost_frames: int
    lost_runs: int
    shed_runs: int
    open_runs: int
    last_document_at: float | None
    connected: bool
    problem: str | None


class Receiver:
    """Fills a `Backlog` from a proxy until it is stopped.

    Parameters
    ----------
    on_raw_message
        Called with each accepted message's raw frame, e.g. to record the stream; runs in the receiving thread.

    Raises
    ------
    SettingsError
        From `start`, where the address or a key can't be used.
    """

    def __init__(
        self,
        settings: StreamSettings,
        backlog: Backlog,
        metrics: StreamMetrics | None = None,
        on_raw_message: Callable[[bytes], None] | None = None,
    ) -> None:
        self._settings = settings
        self._backlog = backlog
        self._metrics: StreamMetrics = metrics or NoStreamMetrics()
        self._on_raw_message = on_raw_message
        self._limits = DecoderLimits(
            max_message_bytes=settings.max_message_bytes, max_depth=settings.max_depth, max_nodes=settings.max_nodes
        )
        self._prefix = settings.prefix.encode()
        self._watch = ConnectionWatch(settings.reconnect_grace_s, settings.silence_s)
        self._references = RunReferences()
        self._ledger = LossLedger(settings.gap_grace_s)
        self._scan_numbers = ScanNumbers()
        self._rejected: Counter[RejectReason] = Counter()
        self._resets: Counter[ResetCause] = Counter()
        self._logged_at: dict[RejectReason, float] = {}
        self._received = self._gaps = self._lost = self._lost_frames = self._lost_runs = 0
        self._shed_documents = 0
        self._last_document_at: float | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._current: Subscriber | None = None
        self._retiring: tuple[Subscriber, float] | None = None
        self._thread: threading.Thread | None = None
        self._connected = threading.Event()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Connect and begin to receive; returns at once, connected or not."""
        self._context = zmq.Context()
        try:
            self._current = Subscriber(self._context, self._settings)
        except Exception:
            self._context.term()
            raise
        self._thread = threading.Thread(target=self._run, name="braggwatch-receiver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop receiving and close the sockets."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the proxy has answered; False where it did not in time."""
        return self._connected.wait(timeout_s)

    @property
    def alive(self) -> bool:
        """True while the receiving thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stats(self) -> ReceiverStats:
        """Counts at this moment."""
        return ReceiverStats(
            received=self._received,
            rejected=dict(self._rejected),
            resets=dict(self._resets),
            gaps=self._gaps,
            lost=self._lost,
            lost_frames=self._lost_frames,
            lost_runs=self._lost_runs,
            shed_runs=self._backlog.stats.shed_runs,
            open_runs=self._ledger.open_runs,
            last_document_at=self._last_document_at,
            connected=self._watch.connected,
            problem=self._watch.problem,
        )

    def _run(self) -> None:
        settle_at = time.monotonic()
        try:
            while not self._stopping.is_set():
                self._receive()
                now = time.monotonic()
                if now >= settle_at:
                    settle_at = now + _SETTLE_S
                    self._settle(now)
                cause = self._watch.due(now, run_is_open=self._ledger.open_runs > 0)
                if cause is not None:
                    self._replace(cause, now)
        finally:
            self._close()

    def _receive(self) -> None:
        assert self._current is not None  # noqa: S101 (set before the thread starts)
        poller = zmq.Poller()
        for waited_for in (self._current.socket, self._current.monitor, self._retiring and self._retiring[0].socket):
            if waited_for is not None:
                poller.register(waited_for, zmq.POLLIN)
        poller.poll(_POLL_MS)
        for event in self._current.events():
            self._on_event(event)
        for message in self._current.messages(_BATCH):
            self._on_message(message)
        if self._retiring is not None:
            retiring, until = self._retiring
            for message in retiring.messages(_BATCH):
                self._on_message(message)
            if time.monotonic() >= until:
                retiring.close()
                self._retiring = None

    def _on_event(self, event: int) -> None:
        was = self._watch.connected
        if self._watch.on_event(event, time.monotonic()):
            self._gap("disconnected")
            logger.warning("stream %s: connection lost, documents may be missing", self._settings.address)
        if self._watch.connected and not was:
            logger.info("stream %s: connected", self._settings.address)
            self._connected.set()
        elif was and not self._watch.connected:
            self._connected.clear()
        if was is not self._watch.connected:
            self._metrics.connected(self._watch.connected)

    def _on_message(self, parts: list[bytes]) -> None:
        started = time.monotonic()
        self._watch.on_message(started)
        try:
            if len(parts) != 1:
                raise RejectedMessage(RejectReason.PARTS, f"{len(parts)} frames")
            name, document = decode(
                self._prefix,
                parts[0],
                payload_format=self._settings.payload_format,
                limits=self._limits,
                enum_modules=self._settings.enum_modules,
            )
        except RejectedMessage as rejected:
            self._reject(rejected, started)
            return
        self._metrics.stage("decode", time.monotonic() - started)
        self._accept(name, document, parts[0], started)

    def _accept(self, name: str, document: Mapping[str, object], frame: bytes, now: float) -> None:
        self._received += 1
        self._last_document_at = time.time()
        self._metrics.document_received(name, len(frame))
        run_uid = self._references.run_of(name, document)
        if self._ledger.observe(run_uid, name, document, now):
            self._gap("sequence")
        if lost_runs := self._scan_numbers.observe(name, document):
            self._lost_runs += lost_runs
            self._metrics.runs_lost(lost_runs)
        self._record(frame)
        given_up = self._backlog.put(QueuedDocument(name, document, run_uid, len(frame), now))
        # A run that was given up goes on: its documents are dropped as they come.
        dropped = self._backlog.stats.shed_documents
        if given_up or dropped > self._shed_documents:
            self._metrics.shed(given_up, dropped - self._shed_documents)
            self._shed_documents = dropped

    def _record(self, frame: bytes) -> None:
        if self._on_raw_message is None:
            return
        try:
            self._on_raw_message(frame)
        except OSError:
            logger.exception("the recording of the stream ends here; screening goes on")
            self._on_raw_message = None

    def _reject(self, rejected: RejectedMessage, now: float) -> None:
        self._rejected[rejected.reason] += 1
        self._metrics.document_rejected(rejected.reason.value)
        # One line a second for each reason: a flood of garbage must not become a flood of log.
        if now - self._logged_at.get(rejected.reason, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            self._logged_at[rejected.reason] = now
            logger.warning("message refused, %s (%d so far)", rejected, self._rejected[rejected.reason])

    def _gap(self, cause: str) -> None:
        self._gaps += 1
        self._metrics.stream_gap(cause)

    def _settle(self, now: float) -> None:
        for loss in self._ledger.settle(now):
            self._lost += loss.documents
            self._lost_frames += loss.frames
            self._metrics.documents_lost(loss.documents)
            if loss.frames:
                self._metrics.stream_frames_lost(loss.frames)
        stats = self._backlog.stats
        self._metrics.queue_depth(stats.documents, stats.size_bytes)

    def _replace(self, cause: ResetCause, now: float) -> None:
        """Connect a fresh socket; after mere silence the old one is heard out, lest something falls in between."""
        assert self._context is not None  # noqa: S101
        assert self._current is not None  # noqa: S101
        self._resets[cause] += 1
        self._metrics.socket_reset(cause.value)
        logger.warning("stream %s: fresh socket after %s", self._settings.address, cause.value)
        if self._retiring is not None:
            self._retiring[0].close()
            self._retiring = None
        if cause is ResetCause.SILENCE:
            self._retiring = (self._current, now + _OVERLAP_S)
        else:
            # What was received before the fault is still good.
            for message in self._current.messages(self._settings.receive_high_water_mark):
                self._on_message(message)
            self._current.close()
        self._current = Subscriber(self._context, self._settings)
        self._watch.replaced(cause, now)

    def _close(self) -> None:
        if self._retiring is not None:
            self._retiring[0].close()
        if self._current is not None:
            self._current.close()
        if self._context is not None:
            self._context.term()
        self._metrics.connected(False)
        self._connected.clear()
