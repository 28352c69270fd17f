"""What Prometheus sees."""

from __future__ import annotations

import inspect
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.live.service_metrics import ServiceMetrics
from braggwatch.services.metrics.prometheus import Metrics

PROMTOOL = shutil.which("promtool")


def result(label: str = "screw", runtime: str = "onnxruntime-cpu") -> ScreeningResult:
    verdict = Verdict(
        outcome=Outcome.CLASSIFIED,
        label=label,
        probabilities={label: 1.0},
        confidence=0.97,
        ood_score=15.0,
        ood_threshold=10.0,
        model=ModelIdentity(name="cxdp-fcc", version="1.0.0", sha256="ab" * 32, runtime=runtime),
    )
    return ScreeningResult(
        run_uid="run-1",
        scan_id=1,
        revision=1,
        verdict=verdict,
        frames_expected=61,
        frames_received=61,
        quality=None,
        sample="secret sample",
        started_at=1.0,
        finished_at=2.0,
        latency_s=0.3,
        stage_seconds={"classify": 0.02},
    )


def busy() -> Metrics:
    """Metrics on which every method was called."""
    metrics = Metrics()
    metrics.document_received("event", 131_072)
    metrics.document_rejected("not_allowed")
    metrics.stream_gap("sequence")
    metrics.documents_lost(4)
    metrics.socket_reset("silence")
    metrics.connected(True)
    metrics.shed(1, 61)
    metrics.queue_depth(3, 4096)
    metrics.queue_capacity(1000, 10**9)
    metrics.runs_open(2)
    metrics.assembly_counters({"frames_expected": 61, "frames_received": 60, "late": 1, "without_detector": 2})
    metrics.run_finished(result())
    metrics.stage("decode", 0.001)
    metrics.feedback_published("zmq", succeeded=True)
    metrics.store_pending(0)
    metrics.housekeeping_failed("runs")
    metrics.ready(True, False)
    metrics.fallback(False)
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"braggwatch_{name}", labels)


@pytest.mark.parametrize("name", [name for name in vars(ServiceMetrics) if not name.startswith("_")])
def test_nothing_that_the_pipeline_tells_is_forgotten(name):
    """A method that the exporter doesn't take up would do nothing, and nobody would miss its series."""
    told, taken = getattr(ServiceMetrics, name), getattr(Metrics, name)
    assert taken is not told
    assert list(inspect.signature(taken).parameters) == list(inspect.signature(told).parameters)


def test_what_the_pipeline_tells_is_exported():
    metrics = Metrics()
    metrics.runs_open(3)
    assert value(metrics, "runs_open") == 3


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say(tmp_path: Path):
    metrics = busy()
    metrics.watch_disk("store", tmp_path)
    checked = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=metrics.exposition(), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_run_is_counted_with_its_class_and_latency():
    metrics = busy()
    assert value(metrics, "runs_total", outcome="classified") == 1
    assert value(metrics, "predictions_total", **{"class": "screw"}) == 1
    assert value(metrics, "run_latency_seconds_count") == 1
    assert value(metrics, "stage_duration_seconds_count", stage="classify") == 1
    assert value(metrics, "ood_score_ratio_sum") == pytest.approx(1.5)


def test_every_outcome_exists_from_the_start():
    metrics = Metrics()
    for outcome in Outcome:
        assert value(metrics, "runs_total", outcome=outcome.value) == 0


def test_no_series_names_a_run_or_a_sample():
    text = busy().exposition().decode()
    assert "run-1" not in text
    assert "secret" not in text
    labels = {key for family in text_string_to_metric_families(text) for s in family.samples for key in s.labels}
    assert not labels & {"uid", "run_uid", "scan", "scan_id", "sample"}


def test_buckets_reach_from_5_ms_to_a_minute():
    text = Metrics().exposition().decode()
    assert 'braggwatch_run_latency_seconds_bucket{le="0.005"}' in text
    assert 'braggwatch_run_latency_seconds_bucket{le="60.0"}' in text


def test_a_new_model_replaces_the_old_one():
    metrics = Metrics()
    metrics.run_finished(result())
    metrics.run_finished(result(runtime="onnxruntime-cuda"))
    samples = [
        line for line in metrics.exposition().decode().splitlines() if line.startswith("braggwatch_backend_info{")
    ]
    assert len(samples) == 1
    assert "onnxruntime-cuda" in samples[0]


@given(st.lists(st.integers(0, 1000), max_size=20))
def test_running_totals_become_a_counter_that_never_falls(totals):
    metrics = Metrics()
    expected, before = 0, 0
    for total in totals:
        metrics.assembly_counters({"frames_received": total})
        expected += total - before if total >= before else total
        before = total
    assert value(metrics, "frames_received_total") == expected


@given(st.integers(-1000, 1000))
def test_counters_take_any_number_without_raising(count):
    metrics = Metrics()
    metrics.documents_lost(count)
    metrics.shed(count, count)
    assert value(metrics, "documents_lost_total") == max(count, 0)
    assert value(metrics, "runs_shed_total") == max(count, 0)
    assert value(metrics, "documents_shed_total") == max(count, 0)


def test_free_space_is_read_at_each_scrape(tmp_path: Path):
    metrics = Metrics()
    metrics.watch_disk("store", tmp_path)
    metrics.watch_disk("gone", tmp_path / "gone")
    assert (value(metrics, "disk_free_bytes", volume="store") or 0) > 0
    assert value(metrics, "disk_free_bytes", volume="gone") != value(metrics, "disk_free_bytes", volume="gone")
