"""What the receiving side tells about itself, as a narrow interface: the stream knows no metrics library."""

from __future__ import annotations

from typing import Protocol


class StreamMetrics(Protocol):
    """Counts and measurements of one stream of documents. Every method is thread-safe, quick, and never raises.

    Methods do nothing by themselves: an implementation that derives from it takes up what it can tell.
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
        """Count one fresh socket; ``cause`` is a `ResetCause` value."""

    def connected(self, is_connected: bool) -> None:
        """State whether the stream is connected."""

    def shed(self, runs: int, documents: int) -> None:
        """Count whole runs set aside under overload, and documents dropped, then or when they came later."""

    def queue_depth(self, documents: int, size_bytes: int) -> None:
        """State what waits between receiver and worker."""

    def stage(self, name: str, seconds: float) -> None:
        """Record how long a stage took (``decode``, ``publish``, …) in seconds, monotonic clock."""


class NoStreamMetrics(StreamMetrics):
    """Records nothing: for a recording, and in tests."""
