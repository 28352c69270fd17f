"""What the pipeline tells about itself, as a narrow interface: the pipeline knows no metrics library.

Names of the exported series and their labels belong to the implementation; no method takes a uid, scan or sample,
so none can become a label.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.sadp.records import PatternResult, PatternRunResult
from braggwatch.models.verdict import ModelIdentity
from braggwatch.services.stream.stream_metrics import StreamMetrics

HOUSEKEEPING_STEPS: Final = ("beat", "runs", "records", "store", "stream", "metrics", "flush")
"""The chores that the worker does between documents, and ``flush`` at the end."""


class ServiceMetrics(StreamMetrics, Protocol):
    """Counts and measurements of one running service, its stream's among them.

    Every method is thread-safe, quick, and never raises.

    Methods do nothing by themselves: an implementation that derives from it takes up what it can tell.
    """

    def queue_capacity(self, documents: int, size_bytes: int) -> None:
        """State the queue's bounds."""

    def runs_open(self, count: int) -> None:
        """State how many runs have started and not ended."""

    def assembly_counters(self, counters: dict[str, int]) -> None:
        """State the callback's running totals: frames_expected, frames_received, late, duplicates, evictions, …."""

    def run_finished(self, result: ScreeningResult) -> None:
        """Record one final result: outcome, class, confidence, OOD score, latency and stage durations."""

    def provisional_made(self, provisional: ProvisionalVerdict) -> None:
        """Record one verdict on a run that goes on."""

    def provisional_settled(self, kept: bool) -> None:
        """Count one run whose provisional class, the last before its end, its record kept or did not."""

    def pattern_judged(self, result: PatternResult, latency_s: float) -> None:
        """Record one diffraction pattern: outcome, reason, and seconds from its document's arrival to its record."""

    def pattern_run_finished(self, result: PatternRunResult) -> None:
        """Record the end of one run of diffraction patterns."""

    def pattern_model_loaded(self, is_loaded: bool) -> None:
        """State whether diffraction patterns can be judged."""

    def feedback_published(self, sink: str, succeeded: bool) -> None:
        """Count one attempt to hand a result to a sink."""

    def store_pending(self, count: int) -> None:
        """State how many results wait in memory for a writable store."""

    def expect_classes(self, classes: Iterable[str]) -> None:
        """Let the series of each class that the model may name begin at zero."""

    def backend(self, identity: ModelIdentity) -> None:
        """State which model judges rocking curves."""

    def fallback(self, is_active: bool) -> None:
        """State whether the CPU stands in for an accelerator."""

    def housekeeping_failed(self, step: str) -> None:
        """Count one chore between documents that failed; ``step`` is one of `HOUSEKEEPING_STEPS`."""

    def ready(self, is_ready: bool, degraded: bool) -> None:
        """State whether the service is ready, and whether it runs degraded."""


class NoMetrics(ServiceMetrics):
    """Records nothing: for use without an exporter, and in tests."""
