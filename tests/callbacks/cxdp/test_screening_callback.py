"""The callback in a RunEngine: it never raises, every run gets one record, and failures are outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plans as bp
from bluesky.preprocessors import SupplementalData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braggwatch.models.verdict import Outcome, Verdict


def test_the_record_says_what_the_documents_said(scan, bench):
    documents = scan.inline()
    for _, doc in documents[2:-1]:
        doc["data"] |= {"sample_x": 1.5, "sample_y": -2.5}
    documents[1][1]["data_keys"] |= {
        k: {"source": "", "dtype": "number", "shape": []} for k in ("sample_x", "sample_y")
    }
    bench.feed(documents)
    result = bench.result
    assert (result.run_uid, result.scan_id, result.sample, result.truth) == ("run-1", 7, "P10", "screw")
    assert result.position == {"x": 1.5, "y": -2.5}
    assert result.started_at == 1000.0
    assert set(result.stage_seconds) == {"preprocess", "classify"}
    assert result.verdict.label == "screw"
    assert bench.reports[0].model_input.intensity.shape == (64, 64, 64)
    expected = np.stack([scan.angles, scan.frames.sum(axis=(1, 2))], axis=1)
    np.testing.assert_array_equal(bench.reports[0].rocking_curve, expected)
    json.loads(result.model_dump_json())


@pytest.mark.parametrize("where", ["preprocessor", "classifier", "nan"])
def test_a_failure_is_an_outcome_and_the_next_run_is_fine(where, scan_of, bench):
    good = bench.classifier.answer
    if where == "preprocessor":
        bench.preprocessor.error = RuntimeError("kernel died")
    elif where == "classifier":
        bench.classifier.answer = ValueError("kernel died")
    else:
        bench.classifier.answer = lambda: Verdict(
            outcome=Outcome.UNSURE, reason="?", confidence=float("nan"), probabilities={"screw": float("nan")}
        )
    bench.feed(scan_of(uid="a").inline())
    bench.preprocessor.error, bench.classifier.answer = None, good
    bench.feed(scan_of(uid="b").inline())
    first, second = (report.result for report in bench.reports)
    assert first.verdict.outcome is Outcome.ERROR
    assert "kernel died" in first.verdict.reason or where == "nan"
    assert second.verdict.outcome is Outcome.CLASSIFIED


def test_a_model_input_that_is_not_finite_is_not_classified(scan, bench):
    bench.preprocessor.fill = float("nan")
    bench.feed(scan.inline())
    assert bench.result.verdict.outcome is Outcome.ERROR


def test_bad_quality_is_invalid_with_its_reason(scan, bench):
    bench.preprocessor.invalid_reason = "the peak is saturated"
    bench.feed(scan.inline())
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert bench.result.verdict.reason == "the peak is saturated"
    assert bench.result.quality is not None


def test_a_partial_run_keeps_what_the_model_set_aside(scan, bench):
    bench.classifier.answer = Verdict(outcome=Outcome.UNSURE, reason="too close", probabilities={"screw": 0.5})
    documents = scan.inline()
    bench.feed([*documents[:2], *documents[3:]]).wait(3)
    assert bench.result.verdict.outcome is Outcome.PARTIAL
    assert bench.result.verdict.label is None
    assert "1 of 21" in bench.result.verdict.reason
    assert "unsure: too close" in bench.result.verdict.reason


def test_a_report_that_is_not_taken_does_not_reach_the_plan(scan, bench, caplog: pytest.LogCaptureFixture):
    def broken(report):
        raise OSError("disk full")

    bench.callback._on_report = broken
    bench.feed(scan.inline())
    assert bench.callback.report_failures == 1


@pytest.mark.parametrize(
    ("name", "doc", "reason"),
    [
        ("greeting", {}, "unknown_name"),
        ("start", {"uid": "a"}, "schema"),
        ("start", {"uid": "a", "time": float("nan")}, "schema"),
        ("start", None, "schema"),
        ("descriptor", {"uid": "d", "run_start": "a", "time": 0.0, "data_keys": 3}, "schema"),
        ("event", {"uid": "e", "descriptor": "d", "seq_num": 0, "time": 0.0, "data": {}}, "schema"),
        ("event", {"uid": "e", "descriptor": "d", "seq_num": True, "time": 0.0, "data": {}}, "schema"),
        ("event", {"uid": "e", "descriptor": "d", "seq_num": 1, "time": "noon", "data": {}}, "schema"),
        ("event", {"uid": "e", "descriptor": "d", "seq_num": 1, "time": 0.0, "data": []}, "schema"),
        ("event_page", {"descriptor": "d", "seq_num": [1, 2], "uid": ["a"], "time": [0, 0], "data": {}}, "schema"),
        ("event_page", {"descriptor": "d", "seq_num": [1], "uid": ["a"], "time": [0], "data": {"det": []}}, "schema"),
        ("stream_datum", {"uid": "s", "descriptor": "d", "stream_resource": "r"}, "schema"),
        ("resource", {"spec": "AD_HDF5"}, "schema"),
        ("stop", {"uid": "s", "time": 0.0, "run_start": "a", "exit_status": "perhaps"}, "schema"),
    ],
)
def test_bad_documents_are_rejected_with_a_reason(name, doc, reason, scan, bench):
    bench.feed([(name, doc)])
    assert bench.callback.counters.rejected == {reason: 1}
    bench.feed(scan.inline())
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(np.zeros(3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_no_corrupted_document_stops_the_screening(
    data, scan_of, bench_of, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Any field of any document of any route may hold anything: the run may be lost, the next one may not."""
    scan, bench = scan_of(4), bench_of()
    path = tmp_path / "scan.h5"
    if not path.exists():
        scan.write(path)
    make = data.draw(st.sampled_from([scan.inline, lambda: scan.resource_datum(path), lambda: scan.streamed(path)]))
    documents = make()
    _, doc = documents[data.draw(st.integers(0, len(documents) - 1))]
    doc[data.draw(st.sampled_from(sorted(doc)))] = data.draw(ANY)
    bench.feed(documents).wait(1000)
    assert not [r for r in caplog.records if "could not be handled" in r.message]
    assert bench.callback.open_runs == 0
    assert len(bench.reports) <= 2
    for report in bench.reports:
        json.loads(report.result.model_dump_json())
    bench.reports.clear()
    bench.feed(scan_of(4, "next").inline())
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED


def test_it_subscribes_to_a_run_engine(run_engine: RunEngine, preset_with, bench_of, frames_of):
    """Classic ophyd devices: the frame is an array in the event, the geometry is read in the baseline."""
    from ophyd import Component, Device, Signal
    from ophyd.sim import SynAxis

    frames = frames_of(11)

    class Camera(Device):
        image = Component(Signal, value=frames[0], kind="hinted")

        def trigger(self):
            self.image.put(frames[round((th.position + 0.5) * 10)])
            return super().trigger()

    th = SynAxis(name="th")
    delta, energy = Signal(name="delta", value=32.0), Signal(name="energy", value=9.0)
    camera: Any = Camera(name="det")  # ophyd's annotations don't fit the protocols of Bluesky
    bench = bench_of(preset_with(detector_field="det_image", monitor_field=None))
    run_engine.preprocessors.append(SupplementalData(baseline=[delta, energy]))
    run_engine.subscribe(bench.callback)
    run_engine(bp.scan([camera], th, -0.5, 0.5, 11, md={"sample_name": "P10"}))
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED, bench.result.verdict.reason
    np.testing.assert_array_equal(bench.curve.frames, frames)
    np.testing.assert_allclose(bench.curve.angles_deg, np.linspace(-0.5, 0.5, 11))
    assert bench.curve.geometry.energy_keV == 9.0
    origins = {origin.field: origin.origin for origin in bench.result.geometry_origins}
    assert origins["energy_keV"] == "baseline:energy"
