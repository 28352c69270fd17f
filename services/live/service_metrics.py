"""The interface through which the pipeline reports metrics, independent of any metrics library.

The implementation chooses names and labels of the exported series; no method takes a uid, scan or sample, so none can
become a label.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.sadp.records import PatternResult, PatternRunResult
from braggwatch.models.verdict import ModelIdentity
from braggwatch.services.stream.stream_metrics import StreamMetrics

HOUSEKEEPING_STEPS: Final = ("beat", "runs", "records", "store", "stream", "metrics", "flush")
"""The maintenance steps of the worker between documents, and ``flush`` at the end."""


class ServiceMetrics(StreamMetrics, Protocol):
    """Counts and measurements of one running service, its stream's among them.

    Every method is thread-safe, quick, and never raises.

    The methods do nothing here; an implementation overrides those it exports.
    """

    def queue_capacity(self, documents: int, size_bytes: int) -> None:
        """Set the queue's limits."""

    def runs_open(self, count: int) -> None:
        """Set the number of runs that have started and not ended."""

    def assembly_counters(self, counters: dict[str, int]) -> None:
        """Set the callback's running totals: frames_expected, frames_received, late, duplicates, evictions, …."""

    def run_finished(self, result: ScreeningResult) -> None:
        """Record one final result: outcome, class, confidence, OOD score, latency and stage durations."""

    def run_unrecorded(self, cause: str) -> None:
        """Count one run that ended without a record, by a `Cause`."""

    def provisional_made(self, provisional: ProvisionalVerdict) -> None:
        """Record one provisional verdict."""

    def provisional_settled(self, kept: bool) -> None:
        """Count one ended run that had a provisional class: whether its record has the same class."""

    def pattern_judged(self, result: PatternResult, latency_s: float) -> None:
        """Record one diffraction pattern: outcome, reason, and seconds from document arrival to record."""

    def pattern_run_finished(self, result: PatternRunResult) -> None:
        """Record the end of one run of diffraction patterns."""

    def pattern_model_loaded(self, is_loaded: bool) -> None:
        """Set whether diffraction patterns can be classified."""

    def feedback_published(self, sink: str, succeeded: bool) -> None:
        """Count one attempt to deliver a result to a sink."""

    def store_pending(self, count: int) -> None:
        """Set how many results wait in memory for a writable store."""

    def expect_classes(self, classes: Iterable[str]) -> None:
        """Let the series of each class that the model may name begin at zero."""

    def backend(self, identity: ModelIdentity) -> None:
        """Set which model classifies rocking curves."""

    def fallback(self, is_active: bool) -> None:
        """Set whether the CPU has taken over from an accelerator."""

    def housekeeping_failed(self, step: str) -> None:
        """Count one failed maintenance step; ``step`` is one of `HOUSEKEEPING_STEPS`."""

    def ready(self, is_ready: bool, degraded: bool) -> None:
        """Set whether the service is ready, and whether it is degraded."""


class NoMetrics(ServiceMetrics):
    """Records nothing; for use without an exporter, and in tests."""
