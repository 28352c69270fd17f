"""The interface through which the receiving side reports metrics, independent of any metrics library."""

from __future__ import annotations

from typing import Protocol


class StreamMetrics(Protocol):
    """Counts and measurements of one stream of documents. Every method is thread-safe, quick, and never raises.

    The methods do nothing here; an implementation overrides those it exports.
    """

    def document_received(self, name: str, size_bytes: int) -> None:
        """Count one accepted document of kind ``name`` and its size on the wire."""

    def document_rejected(self, reason: str) -> None:
        """Count one message that was refused; ``reason`` is a `RejectReason` value or ``callback_error``."""

    def stream_gap(self, cause: str) -> None:
        """Count one interruption: ``sequence`` (a jump in seq_num) or ``disconnected``."""

    def documents_lost(self, count: int) -> None:
        """Count documents known to exist that never arrived."""

    def stream_frames_lost(self, count: int) -> None:
        """Count frames in files whose stream_datum documents never arrived."""

    def runs_lost(self, count: int) -> None:
        """Count runs of which no document arrived, as jumps in scan_id tell."""

    def socket_reset(self, cause: str) -> None:
        """Count one socket replacement; ``cause`` is a `ResetCause` value."""

    def connected(self, is_connected: bool) -> None:
        """State whether the stream is connected."""

    def shed(self, runs: int, documents: int) -> None:
        """Count whole runs dropped under overload, and their documents dropped then or later."""

    def queue_depth(self, documents: int, size_bytes: int) -> None:
        """Set the documents and bytes waiting between receiver and worker."""

    def stage(self, name: str, seconds: float) -> None:
        """Record how long a stage took (``decode``, ``publish``, …) in seconds, monotonic clock."""


class NoStreamMetrics(StreamMetrics):
    """Records nothing: for a recording, and in tests."""
