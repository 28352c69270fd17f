"""Prometheus metrics of live diffraction patterns, by the naming rule of `braggwatch.services.metrics.prometheus`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from braggwatch.callbacks.sadp.records import PatternResult, PatternRunEnding, PatternRunResult, SetAside
from braggwatch.models.verdict import Outcome

_BUCKETS_SECONDS = (0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""10 ms to 30 s: 33 ms is the time between two patterns at 30 a second."""
OUTCOMES = (Outcome.CLASSIFIED, Outcome.UNSURE, Outcome.OUT_OF_DISTRIBUTION, Outcome.INVALID, Outcome.ERROR)
"""How the judgement of one pattern can end."""


class PatternMetrics:
    """The series of diffraction patterns in a registry that somebody else owns."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._judged = Counter(
            "braggwatch_sadp_patterns", "Diffraction patterns judged, by outcome.", ("outcome",), registry=registry
        )
        self._set_aside = Counter(
            "braggwatch_sadp_patterns_set_aside",
            "Diffraction patterns that say nothing of their particle, by reason.",
            ("reason",),
            registry=registry,
        )
        self._lost = Counter(
            "braggwatch_sadp_patterns_lost",
            "Diffraction patterns that a run's stop document counts and that never arrived.",
            registry=registry,
        )
        self._runs = Counter(
            "braggwatch_sadp_runs", "Runs of diffraction patterns, by how they ended.", ("ending",), registry=registry
        )
        self._latency = Histogram(
            "braggwatch_sadp_pattern_latency_seconds",
            "Arrival of a diffraction pattern's document to its stored verdict.",
            buckets=_BUCKETS_SECONDS,
            registry=registry,
        )
        self._model = Gauge(
            "braggwatch_sadp_model_loaded", "1 where diffraction patterns can be judged.", registry=registry
        )
        for outcome in OUTCOMES:
            self._judged.labels(outcome.value)
        for reason in SetAside:
            self._set_aside.labels(reason.value)
        for ending in PatternRunEnding:
            self._runs.labels(ending.value)

    def judged(self, result: PatternResult, latency_s: float) -> None:
        """Record one pattern."""
        self._judged.labels(result.outcome.value).inc()
        if result.set_aside is not None:
            self._set_aside.labels(result.set_aside.value).inc()
        self._latency.observe(latency_s)

    def run_finished(self, result: PatternRunResult) -> None:
        """Record the end of one run."""
        self._runs.labels(result.ending.value).inc()
        self._lost.inc(result.lost)

    def model_loaded(self, is_loaded: bool) -> None:
        """State whether there is a model."""
        self._model.set(is_loaded)
