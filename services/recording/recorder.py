"""Record the documents that arrive over the wire, through the service's own receiver and decoder."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from braggwatch.services.recording.recordings import RecordedDocument, RecordingWriter
from braggwatch.services.stream.backlog import Backlog
from braggwatch.services.stream.receiver import Receiver
from braggwatch.services.stream.stream_settings import StreamSettings
from braggwatch.sim.errors import BraggwatchError

logger = logging.getLogger(__name__)

_WAIT_S = 0.2
_MAX_DOCUMENTS = 200_000


class RecorderReport(BaseModel):
    """What was recorded, and what was lost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: int
    runs_started: int
    runs_finished: int
    rejected: int = Field(description="Messages rejected by the decoder; not in the file.")
    lost: int = Field(description="Documents that must exist but never arrived; not in the file.")
    shed_runs: int = Field(description="Runs dropped because the disk was too slow; their stop documents say so.")


class NoProxyError(BraggwatchError, ConnectionError):
    """No proxy answered at the address."""


class Recorder:
    """Records until stopped, or until a given number of runs have ended.

    The recording contains only the documents: frames in external files stay references to those files.

    Parameters
    ----------
    settings
        Address and limits of the document stream.
    writer
        Open recording; the caller closes it.
    max_bytes
        Most bytes of documents that may wait for the disk.
    """

    def __init__(self, settings: StreamSettings, writer: RecordingWriter, *, max_bytes: int = 2_000_000_000) -> None:
        self._address = settings.address
        self._writer = writer
        self._backlog = Backlog(_MAX_DOCUMENTS, max_bytes)
        self._receiver = Receiver(settings, self._backlog)

    def record(
        self,
        stop: threading.Event,
        *,
        runs: int | None = None,
        connect_timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
        progress: Callable[[RecorderReport], None] | None = None,
    ) -> RecorderReport:
        """Record until an end condition is met.

        Parameters
        ----------
        stop
            When set, ends the recording after everything received has been written.
        runs
            End after this many stop documents; None for no limit.
        connect_timeout_s
            Longest wait for the proxy, in seconds; None waits for ever.
        idle_timeout_s
            End after this many seconds without a document; None for no limit.
        progress
            Called about five times a second, or once per document, with the report so far.

        Raises
        ------
        NoProxyError
            If no proxy answered within ``connect_timeout_s``.
        """
        self._receiver.start()
        try:
            self._wait_for_proxy(stop, connect_timeout_s)
            return self._drain(stop, runs, idle_timeout_s, progress)
        finally:
            self._receiver.stop()

    def _wait_for_proxy(self, stop: threading.Event, timeout_s: float | None) -> None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._receiver.wait_connected(_WAIT_S) and not stop.is_set():
            if deadline is not None and time.monotonic() > deadline:
                raise NoProxyError(
                    f"no proxy answered at {self._address} within {timeout_s:g} s: is the proxy running?"
                )

    def _drain(
        self,
        stop: threading.Event,
        runs: int | None,
        idle_timeout_s: float | None,
        progress: Callable[[RecorderReport], None] | None,
    ) -> RecorderReport:
        started = finished = 0
        first: float | None = None
        last_at = time.monotonic()
        while True:
            item = self._backlog.get(_WAIT_S)
            if progress is not None:
                progress(self._report(started, finished))
            if item is None:
                idle = idle_timeout_s is not None and time.monotonic() - last_at > idle_timeout_s
                if stop.is_set() or idle:
                    break
                continue
            last_at = time.monotonic()
            first = item.received_at if first is None else first
            self._writer.write(RecordedDocument(max(item.received_at - first, 0.0), item.name, dict(item.document)))
            started += item.name == "start"
            finished += item.name == "stop"
            if runs is not None and finished >= runs:
                break
        return self._report(started, finished)

    def _report(self, started: int, finished: int) -> RecorderReport:
        stats = self._receiver.stats
        return RecorderReport(
            documents=self._writer.documents,
            runs_started=started,
            runs_finished=finished,
            rejected=sum(stats.rejected.values()),
            lost=stats.lost,
            shed_runs=stats.shed_runs,
        )
