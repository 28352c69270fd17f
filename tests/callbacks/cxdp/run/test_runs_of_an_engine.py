"""Runs as a RunEngine makes them beside the plain scan: each is judged from its own frames, or named."""

# Soft devices have what a RunEngine uses of bluesky's protocols, not all of them.
# pyright: reportArgumentType=false
from __future__ import annotations

import time

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky.preprocessors import SupplementalData
from event_model import DocumentNames

from braggwatch.callbacks import AssemblySettings, RecentVerdicts, ScreeningCallback, wait_for_verdict
from braggwatch.models.verdict import Outcome
from support.soft_devices import FileDetector, SoftDetector, SoftSignal

_NAMES = {name.name: name for name in DocumentNames}
BASELINE = {"energy": 9.0, "delta": 32.0}


@pytest.fixture
def engine(run_engine, bench_of, preset_with):
    """A RunEngine with the geometry's values in the baseline, and what a bench makes of its documents."""
    bench = bench_of(preset_with(monitor_field=None))
    run_engine.subscribe(bench.callback)
    baseline = [SoftSignal(name, value) for name, value in BASELINE.items()]
    run_engine.preprocessors.append(SupplementalData(baseline=baseline))
    return run_engine, bench


def outcome_and_reason(bench):
    verdict = bench.result.verdict
    return verdict.outcome, verdict.reason or ""


def assert_judged(bench, frames):
    assert outcome_and_reason(bench) == (Outcome.CLASSIFIED, "")
    np.testing.assert_array_equal(bench.curve.frames, frames)


@pytest.mark.parametrize("name", ["dark", "align"])
def test_frames_of_a_stream_before_the_scan_are_not_the_scan(name, engine, scan):
    """As bluesky-darkframes takes them, and as an alignment does, which reads the circle too."""
    run_engine, bench = engine
    th = SoftSignal("th")
    detector = SoftDetector("det", scan.frames, scan.angles, th)

    def beforehand():
        for angle in (0.0, 0.1, 0.2):
            yield from bps.mv(th, angle)
            yield from bps.trigger_and_read([detector] if name == "dark" else [detector, th], name=name)

    def plan():
        return (yield from bpp.plan_mutator(bp.list_scan([detector], th, scan.angles.tolist()), after_start))

    def after_start(msg):
        return (None, beforehand()) if msg.command == "open_run" else (None, None)

    run_engine(plan())
    assert_judged(bench, scan.frames)


def test_a_scan_that_is_called_otherwise_comes_after_its_alignment(engine, scan):
    run_engine, bench = engine
    th = SoftSignal("th")
    detector = SoftDetector("det", scan.frames, scan.angles, th)

    @bpp.run_decorator(md={})
    def plan():
        for name, angles in (("align", scan.angles[::4]), ("rock", scan.angles)):
            for angle in angles.tolist():
                yield from bps.mv(th, angle)
                yield from bps.trigger_and_read([detector, th], name=name)

    run_engine(plan())
    assert_judged(bench, scan.frames)


def test_two_streams_of_which_either_may_be_the_curve_get_no_class(engine, scan):
    run_engine, bench = engine
    th = SoftSignal("th")
    detector = SoftDetector("det", scan.frames, scan.angles, th)

    @bpp.run_decorator(md={})
    def plan():
        for name in ("first", "second"):
            for angle in scan.angles.tolist():
                yield from bps.mv(th, angle)
                yield from bps.trigger_and_read([detector, th], name=name)

    run_engine(plan())
    outcome, reason = outcome_and_reason(bench)
    assert outcome is Outcome.INVALID
    assert "'second' (21 events) and 'first' (21)" in reason


@pytest.mark.parametrize("snake", [False, True])
def test_a_grid_over_two_particles_is_no_curve(snake, engine, scan_of):
    run_engine, bench = engine
    scans = [scan_of(seed=1), scan_of(seed=2)]
    th = SoftSignal("th")
    detector = SoftDetector("det", scans[0].frames, scans[0].angles, th)

    def to(place: float) -> None:
        detector.frames = scans[int(place > 1)].frames

    x = SoftSignal("sample_x", on_set=to)
    run_engine(bp.grid_scan([detector], x, 0, 5, 2, th, -0.3, 0.3, 21, snake_axes=snake))
    outcome, reason = outcome_and_reason(bench)
    assert outcome is Outcome.INVALID
    assert "'sample_x' moved from 0 to 5" in reason
    assert "a run of its own" in reason


def test_two_passes_over_the_range_are_no_curve_whatever_moved(engine, scan):
    run_engine, bench = engine
    th = SoftSignal("th")
    detector = SoftDetector("det", scan.frames, scan.angles, th)
    run_engine(bp.list_scan([detector], th, [*scan.angles.tolist(), *scan.angles.tolist()]))
    outcome, reason = outcome_and_reason(bench)
    assert outcome is Outcome.INVALID
    assert "goes over its range 2 times" in reason


@pytest.mark.parametrize("unit", [None, "um", "mm"])
def test_a_sample_that_stands_still_but_for_noise_is_one_curve(unit, engine, scan):
    run_engine, bench = engine
    th, rng = SoftSignal("th"), np.random.default_rng(0)
    noise = 0.005 if unit != "mm" else 5e-6
    x = SoftSignal("sample_x", 12.0, **({} if unit is None else {"units": unit}))
    detector = SoftDetector("det", scan.frames, scan.angles, th)
    th.on_set = lambda _: x.set(12.0 + noise * rng.normal())
    run_engine(bp.list_scan([detector, x], th, scan.angles.tolist()))
    assert_judged(bench, scan.frames)


@pytest.mark.parametrize(("unit", "place"), [("mm", 0.003), ("um", 3.0), (None, 3.0)])
def test_a_sample_that_moved_while_it_was_rocked_is_named(unit, place, engine, scan):
    run_engine, bench = engine
    th, x = SoftSignal("th"), SoftSignal("sample_x", 0.0, **({} if unit is None else {"units": unit}))
    detector = SoftDetector("det", scan.frames, scan.angles, th)
    th.on_set = lambda angle: x.set(place if angle > 0 else 0.0)
    run_engine(bp.list_scan([detector, x], th, scan.angles.tolist()))
    outcome, reason = outcome_and_reason(bench)
    assert outcome is Outcome.INVALID
    assert "the sample moved" in reason


def test_reversed_rocking_is_one_curve(engine, scan):
    run_engine, bench = engine
    th = SoftSignal("th")
    detector = SoftDetector("det", scan.frames, scan.angles, th)
    run_engine(bp.list_scan([detector], th, scan.angles[::-1].tolist()))
    assert_judged(bench, scan.frames[::-1])


@pytest.mark.parametrize("at", [None, 0, 9])
def test_a_value_in_the_detectors_configuration_that_moves_is_named(at, engine, scan, preset_with, bench_of):
    run_engine, _ = engine
    bench = bench_of(
        preset_with(monitor_field=None, distance_m={"signal": "detector_distance", "scale": 1.0}),
    )
    run_engine.subscribe(bench.callback)
    th = SoftSignal("th")
    detector = SoftDetector("det", scan.frames, scan.angles, th)
    detector.configuration["detector_distance"] = 1.0

    @bpp.run_decorator(md={"num_points": 21})
    def plan():
        yield from bps.declare_stream(detector, th, name="primary")
        for index, angle in enumerate(scan.angles.tolist()):
            if index == at:
                yield from bps.configure(detector, {"detector_distance": 1.3})
            yield from bps.mv(th, angle)
            yield from bps.trigger_and_read([detector, th])

    run_engine(plan())
    if at == 9:
        outcome, reason = outcome_and_reason(bench)
        assert outcome is Outcome.INVALID
        assert "'detector_distance') moved during the scan, 1 to 1.3" in reason
    else:
        assert_judged(bench, scan.frames)
        assert bench.curve.geometry.distance_m == (1.0 if at is None else 1.3)


def test_a_detector_staged_once_serves_several_runs(engine, scan_of, tmp_path):
    """One file and one Resource, told in the first run; the later runs' datums refer to it."""
    run_engine, bench = engine
    scans = [scan_of(seed=seed) for seed in range(3)]
    th = SoftSignal("th")
    frames = np.concatenate([scan.frames for scan in scans])
    detector = FileDetector("det", frames, scans[0].angles, th, path=tmp_path / "all.h5", swmr=True)

    @bpp.stage_decorator([detector])
    def particles():
        for _ in scans:
            yield from one()

    @bpp.run_decorator(md={"num_points": 21})
    def one():
        for angle in scans[0].angles.tolist():
            yield from bps.mv(th, angle)
            yield from bps.trigger_and_read([detector, th])

    run_engine(particles())
    assert [report.result.verdict.outcome for report in bench.reports] == [Outcome.CLASSIFIED] * 3
    for curve, scan in zip(bench.preprocessor.curves, scans, strict=True):
        np.testing.assert_array_equal(curve.frames, scan.frames)
    assert bench.callback.counters.late == 0


def test_a_plan_gets_its_verdict_though_the_file_is_closed_after_the_run(
    run_engine, bench_of, preset_with, scan, tmp_path
):
    """Plans unstage last: no document comes between the file's end and the question."""
    fakes, verdicts = bench_of(), RecentVerdicts()
    settings = AssemblySettings(file_retry_s=0.1)
    run_engine.subscribe(
        ScreeningCallback(preset_with(monitor_field=None), fakes.preprocessor, fakes.classifier, verdicts.put, settings)
    )
    baseline = [SoftSignal(name, value) for name, value in BASELINE.items()]
    run_engine.preprocessors.append(SupplementalData(baseline=baseline))
    th = SoftSignal("th")
    detector = FileDetector("det", scan.frames, scan.angles, th, path=tmp_path / "scan.h5")
    got = []

    def plan():
        uid = yield from bp.list_scan([detector], th, scan.angles.tolist())
        got.append((yield from wait_for_verdict(uid, verdicts, timeout_s=20.0)))

    run_engine(plan())
    assert [(verdict.outcome, verdict.label) for verdict in got] == [("classified", "screw")]
    np.testing.assert_array_equal(fakes.curve.frames, scan.frames)


def test_what_lacks_at_the_stop_is_told_though_no_document_follows(run_engine, bench_of, preset_with, scan, tmp_path):
    """A file that never becomes readable: the record comes when the wait is over, in an engine that stands idle."""
    fakes, verdicts = bench_of(), RecentVerdicts()
    settings = AssemblySettings(file_retry_s=0.1, file_grace_s=0.3)
    run_engine.subscribe(
        ScreeningCallback(preset_with(monitor_field=None), fakes.preprocessor, fakes.classifier, verdicts.put, settings)
    )
    for name, doc in scan.streamed(tmp_path / "never.h5"):
        run_engine.loop.call_soon_threadsafe(run_engine.dispatcher.process, _NAMES[name], doc)
    deadline = time.monotonic() + 20.0
    while (record := verdicts.get(scan.uid)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert record is not None
    assert record.verdict.outcome is Outcome.INVALID
    assert "never.h5" in (record.verdict.reason or "")
