"""Prometheus metrics of one Braggwatch process, in its own registry.

Naming rule: ``braggwatch_<what>_<base unit>``, counters end in ``_total``; units are seconds, bytes and ratios (0 to 1)
and nothing scaled. Labels are closed sets known at start (outcome, class, reason, cause, stage, sink, document kind):
never a uid, scan or sample, so the number of series cannot grow with the beamtime. Labelled counters whose set is
known start at zero, so that ``increase()`` sees the first event; the classes are the model's. The tests check this with
``promtool check metrics``.

One process, one registry: prometheus_client's multi-process mode loses exemplars and keeps counting a worker that
crashed; a GPU worker reports to its parent instead.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.documents.unrecorded import Cause
from braggwatch.callbacks.sadp.records import PatternResult, PatternRunResult
from braggwatch.models.verdict import ModelIdentity, Outcome
from braggwatch.services.live.service_metrics import HOUSEKEEPING_STEPS
from braggwatch.services.metrics.gpu_metrics import GpuCollector, GpuMonitor
from braggwatch.services.metrics.pattern_metrics import PatternMetrics
from braggwatch.services.stream.codec import DOCUMENT_NAMES
from braggwatch.services.stream.rejection import RejectReason
from braggwatch.services.stream.watchdog import ResetCause

DURATION_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""5 ms to 60 s: from one stage on a fast machine to an unacceptably slow run."""

STAGES = ("decode", "queue", "preprocess", "classify", "publish", "provisional")
_RATIO_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_OOD_BUCKETS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 4.0, 8.0)

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """Current values for the page's header.

    Attributes
    ----------
    last_document_at
        Wall clock of the newest accepted document in seconds since the epoch; None before the first.
    last_latency_s
        Time from last document to verdict for the newest run, seconds; None before the first.
    """

    is_connected: bool = False
    last_document_at: float | None = None
    last_latency_s: float | None = None
    documents_lost: int = 0
    documents_rejected: int = 0
    runs_shed: int = 0
    runs_open: int = 0
    store_pending: int = 0
    queue_documents: int = 0
    fallback_active: bool = False
    model: ModelIdentity | None = None


class Metrics:
    """Implements `braggwatch.services.live.service_metrics.ServiceMetrics` with prometheus_client.

    Parameters
    ----------
    clock
        Wall clock in seconds since the epoch.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot = MetricsSnapshot()
        self._assembly_totals: dict[str, int] = {}
        self.registry = CollectorRegistry(auto_describe=True)
        self._define_stream()
        self._define_runs()
        self._define_service()
        self._patterns = PatternMetrics(self.registry)

    def _define_stream(self) -> None:
        self._received = self._counter("documents_received", "Documents accepted, by kind.", "name")
        self._received_bytes = self._counter("received_bytes", "Bytes of accepted documents on the wire.")
        self._rejected = self._counter("documents_rejected", "Messages refused, by reason.", "reason")
        self._gaps = self._counter("stream_gaps", "Interruptions of the document stream, by cause.", "cause")
        self._lost = self._counter("documents_lost", "Documents that must exist but never arrived.")
        self._frames_lost = self._counter(
            "stream_frames_lost", "Frames in files whose announcing documents never arrived."
        )
        self._runs_lost = self._counter("runs_lost", "Runs of which no document arrived, by jumps in scan_id.")
        self._resets = self._counter("socket_resets", "Socket replacements, by cause.", "cause")
        self._connected = self._gauge("connected", "1 if the document stream is connected.")
        self._last_document = self._gauge("last_document_timestamp_seconds", "Arrival time of the newest document.")
        self._runs_shed = self._counter("runs_shed", "Whole runs dropped under overload.")
        self._documents_shed = self._counter(
            "documents_shed", "Documents dropped under overload, of dropped runs or of no run."
        )
        self._queue = self._gauge("queue_documents", "Documents waiting between receiver and worker.")
        self._queue_bytes = self._gauge("queue_bytes", "Bytes waiting between receiver and worker.")
        self._capacity = self._gauge("queue_capacity_documents", "Limit of the queue in documents.")
        self._capacity_bytes = self._gauge("queue_capacity_bytes", "Limit of the queue in bytes.")
        for name in sorted(DOCUMENT_NAMES):
            self._received.labels(name)
        for reason in RejectReason:
            self._rejected.labels(reason.value)
        for cause in ResetCause:
            self._resets.labels(cause.value)
        for cause in ("sequence", "disconnected"):
            self._gaps.labels(cause)

    def _define_runs(self) -> None:
        self._runs = self._counter("runs", "Runs that ended with a record, by outcome.", "outcome")
        self._predictions = self._counter("predictions", "Runs that were given a class, by class.", "class")
        self._runs_open = self._gauge("runs_open", "Runs that started and have not ended.")
        self._frames_expected = self._counter("frames_expected", "Detector frames that runs announced.")
        self._frames_received = self._counter("frames_received", "Detector frames that arrived.")
        self._without_detector = self._counter(
            "runs_without_detector", "Runs without frames of the preset's detector: they get no record."
        )
        self._unrecorded = self._counter(
            "runs_unrecorded", "Runs that ended without a record, by cause; derived runs among them.", "cause"
        )
        self._assembly = self._counter("assembly_events", "Irregularities while assembling runs, by kind.", "kind")
        self._latency = self._histogram("run_latency_seconds", "Time from the last document of a run to its verdict.")
        self._stages = self._histogram("stage_duration_seconds", "Time spent in one stage.", label="stage")
        self._confidence = self._histogram("confidence_ratio", "Calibrated confidence of verdicts.", _RATIO_BUCKETS)
        self._ood = self._histogram("ood_score_ratio", "Out-of-distribution score over threshold.", _OOD_BUCKETS)
        self._provisional = self._counter("provisional_verdicts", "Provisional verdicts, by outcome.", "outcome")
        self._settled = self._counter(
            "provisional_settled", "Runs whose last provisional class was kept or changed by their record.", "kept"
        )
        for cause in Cause:
            self._unrecorded.labels(cause.value)
        for outcome in Outcome:
            self._runs.labels(outcome.value)
        for outcome in (Outcome.CLASSIFIED, Outcome.UNSURE, Outcome.OUT_OF_DISTRIBUTION):
            self._provisional.labels(outcome.value)
        for kept in ("yes", "no"):
            self._settled.labels(kept)
        for stage in STAGES:
            self._stages.labels(stage)

    def _define_service(self) -> None:
        self._feedback = self._counter(
            "feedback_publishes", "Attempts to deliver a result to a sink.", "sink", "result"
        )
        self._pending = self._gauge("store_pending_results", "Results waiting in memory for a writable store.")
        self._housekeeping = self._counter(
            "housekeeping_failures", "Maintenance steps between documents that failed.", "step"
        )
        for step in HOUSEKEEPING_STEPS:
            self._housekeeping.labels(step)
        self._ready = self._gauge("ready", "1 if a run that arrives now would be classified.")
        self._degraded = self._gauge("degraded", "1 if verdicts are correct but slower, e.g. on the CPU fallback.")
        self._fallback = self._gauge("fallback_active", "1 while the CPU replaces a failed accelerator.")
        self._backend = self._gauge("backend_info", "The model in use.", "model", "version", "sha256", "runtime")
        self._disk_free = self._gauge("disk_free_bytes", "Free space where a volume is kept.", "volume")
        build = self._gauge("build_info", "Versions of the running software.", "version", "python")
        build.labels(_version(), python_version()).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"braggwatch_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"braggwatch_{name}", text, labels, registry=self.registry)

    def _histogram(
        self,
        name: str,
        text: str,
        buckets: tuple[float, ...] = DURATION_BUCKETS_SECONDS,
        *,
        label: str | None = None,
    ) -> Histogram:
        labels = () if label is None else (label,)
        return Histogram(f"braggwatch_{name}", text, labels, buckets=buckets, registry=self.registry)

    def exposition(self) -> bytes:
        """Return the registry in Prometheus' text format (`METRICS_CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def snapshot(self) -> MetricsSnapshot:
        """Return the few current values that the page's header shows."""
        with self._lock:
            return self._snapshot

    def _note(self, **changes: object) -> None:
        with self._lock:
            self._snapshot = replace(self._snapshot, **changes)  # pyright: ignore[reportArgumentType]

    def document_received(self, name: str, size_bytes: int) -> None:
        """Count one accepted document of kind ``name`` and its size on the wire."""
        now = self._clock()
        self._received.labels(name).inc()
        self._received_bytes.inc(max(size_bytes, 0))
        self._last_document.set(now)
        self._note(last_document_at=now)

    def document_rejected(self, reason: str) -> None:
        """Count one message that was refused."""
        self._rejected.labels(reason).inc()
        with self._lock:
            self._snapshot = replace(self._snapshot, documents_rejected=self._snapshot.documents_rejected + 1)

    def stream_gap(self, cause: str) -> None:
        """Count one interruption: ``sequence`` or ``disconnected``."""
        self._gaps.labels(cause).inc()

    def documents_lost(self, count: int) -> None:
        """Count documents known to exist that never arrived; a negative count adds nothing."""
        count = max(count, 0)
        self._lost.inc(count)
        with self._lock:
            lost = self._snapshot.documents_lost + count
            self._snapshot = replace(self._snapshot, documents_lost=lost)

    def stream_frames_lost(self, count: int) -> None:
        """Count frames in files whose stream_datum documents never arrived; a negative count adds nothing."""
        self._frames_lost.inc(max(count, 0))

    def runs_lost(self, count: int) -> None:
        """Count runs of which no document arrived; a negative count adds nothing."""
        self._runs_lost.inc(max(count, 0))

    def socket_reset(self, cause: str) -> None:
        """Count one fresh socket."""
        self._resets.labels(cause).inc()

    def connected(self, is_connected: bool) -> None:
        """State whether the stream is connected."""
        self._connected.set(is_connected)
        self._note(is_connected=is_connected)

    def shed(self, runs: int, documents: int) -> None:
        """Count whole runs set aside under overload, and documents dropped; a negative count adds nothing."""
        runs = max(runs, 0)
        self._runs_shed.inc(runs)
        self._documents_shed.inc(max(documents, 0))
        with self._lock:
            self._snapshot = replace(self._snapshot, runs_shed=self._snapshot.runs_shed + runs)

    def queue_depth(self, documents: int, size_bytes: int) -> None:
        """State what waits between receiver and worker."""
        self._queue.set(documents)
        self._queue_bytes.set(size_bytes)
        self._note(queue_documents=documents)

    def queue_capacity(self, documents: int, size_bytes: int) -> None:
        """State the queue's bounds."""
        self._capacity.set(documents)
        self._capacity_bytes.set(size_bytes)

    def runs_open(self, count: int) -> None:
        """State how many runs have started and not ended."""
        self._runs_open.set(count)
        self._note(runs_open=count)

    def assembly_counters(self, counters: dict[str, int]) -> None:
        """Advance the counters to the callback's running totals; a total that fell is a callback that began anew."""
        for kind, total in counters.items():
            with self._lock:
                before = self._assembly_totals.get(kind, 0)
                self._assembly_totals[kind] = total
            grown = total - before if total >= before else total
            if kind == "frames_expected":
                self._frames_expected.inc(max(grown, 0))
            elif kind == "frames_received":
                self._frames_received.inc(max(grown, 0))
            elif kind == "without_detector":
                self._without_detector.inc(max(grown, 0))
            else:
                self._assembly.labels(kind).inc(max(grown, 0))

    def expect_classes(self, classes: Iterable[str]) -> None:
        """Let the series of each class that the model may name begin at zero."""
        for name in classes:
            self._predictions.labels(name)

    def run_finished(self, result: ScreeningResult) -> None:
        """Record one final result: outcome, class, confidence, OOD score, latency and stage durations."""
        verdict = result.verdict
        self._runs.labels(verdict.outcome.value).inc()
        if verdict.label is not None:
            self._predictions.labels(verdict.label).inc()
        if verdict.confidence is not None:
            self._confidence.observe(verdict.confidence)
        if verdict.ood_score is not None and verdict.ood_threshold:
            self._ood.observe(verdict.ood_score / verdict.ood_threshold)
        self._latency.observe(result.latency_s)
        for name, seconds in result.stage_seconds.items():
            self.stage(name, seconds)
        self._note(last_latency_s=result.latency_s)
        if verdict.model is not None:
            self.backend(verdict.model)

    def run_unrecorded(self, cause: str) -> None:
        """Count one run that ended without a record."""
        self._unrecorded.labels(cause).inc()

    def provisional_made(self, provisional: ProvisionalVerdict) -> None:
        """Record one verdict on a run that goes on, and what it took."""
        self._provisional.labels(provisional.verdict.outcome.value).inc()
        self.stage("provisional", provisional.seconds)

    def provisional_settled(self, kept: bool) -> None:
        """Count one run whose provisional class, the last before its end, its record kept or did not."""
        self._settled.labels("yes" if kept else "no").inc()

    def pattern_judged(self, result: PatternResult, latency_s: float) -> None:
        """Record one diffraction pattern: outcome, reason, and seconds from its document's arrival to its record."""
        self._patterns.judged(result, latency_s)

    def pattern_run_finished(self, result: PatternRunResult) -> None:
        """Record the end of one run of diffraction patterns."""
        self._patterns.run_finished(result)

    def pattern_model_loaded(self, is_loaded: bool) -> None:
        """State whether diffraction patterns can be judged."""
        self._patterns.model_loaded(is_loaded)

    def stage(self, name: str, seconds: float) -> None:
        """Record how long a stage took in seconds, monotonic clock."""
        self._stages.labels(name).observe(seconds)

    def feedback_published(self, sink: str, succeeded: bool) -> None:
        """Count one attempt to hand a result to a sink; both results exist from a sink's first attempt on."""
        for result in ("success", "failure"):
            self._feedback.labels(sink, result).inc(1 if (result == "success") is succeeded else 0)

    def store_pending(self, count: int) -> None:
        """State how many results wait in memory for a writable store."""
        self._pending.set(count)
        self._note(store_pending=count)

    def housekeeping_failed(self, step: str) -> None:
        """Count one chore between documents that failed."""
        self._housekeeping.labels(step).inc()

    def ready(self, is_ready: bool, degraded: bool) -> None:
        """State whether the service is ready, and whether it runs degraded."""
        self._ready.set(is_ready)
        self._degraded.set(degraded)

    def backend(self, identity: ModelIdentity) -> None:
        """State which model speaks; the series of the one before it ends."""
        if self.snapshot().model == identity:
            return
        self._backend.clear()
        self._backend.labels(identity.name, identity.version, identity.sha256, identity.runtime).set(1)
        self._note(model=identity)

    def fallback(self, is_active: bool) -> None:
        """State whether the CPU stands in for the accelerator."""
        self._fallback.set(is_active)
        self._note(fallback_active=is_active)

    def watch_disk(self, volume: str, path: Path) -> None:
        """Report the free space at ``path`` at each scrape, NaN where it can't be read."""
        self._disk_free.labels(volume).set_function(lambda: _free_bytes(path))

    def watch_gpus(self, monitor: GpuMonitor) -> None:
        """Report at each scrape what a monitor saw last of this machine's GPUs; nothing where it sees none."""
        self.registry.register(GpuCollector(monitor.latest))


def _free_bytes(path: Path) -> float:
    try:
        return float(shutil.disk_usage(path).free)
    except OSError:
        return float("nan")


def _version() -> str:
    try:
        return version("braggwatch")
    except PackageNotFoundError:
        return "unknown"
