"""A run's documents may be late, doubled, shuffled, lost or wrong: the record says so, and the next run is fine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braggwatch.callbacks.cxdp.run.region import brightest_block, centred_region
from braggwatch.callbacks.cxdp.run.volume import InconsistentFrame, Volume
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings, RegionOfInterest
from braggwatch.models.verdict import Outcome

ANYTIME = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@ANYTIME
@given(data=st.data())
def test_order_and_duplicates_of_events_change_nothing(data, scan_of, bench_of):
    scan, bench = scan_of(9), bench_of()
    start, descriptor, *events, stop = scan.inline()
    doubled = events + data.draw(st.lists(st.sampled_from(events), max_size=6))
    shuffled = data.draw(st.permutations([*doubled, descriptor]))
    bench.feed([start, *shuffled, stop])
    bench.wait(0.1)
    np.testing.assert_array_equal(bench.curve.frames, scan.frames)
    np.testing.assert_array_equal(bench.curve.angles_deg, scan.angles)
    np.testing.assert_array_equal(bench.curve.monitor, scan.monitor)
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED
    counters = bench.callback.counters
    assert counters.duplicates == len(doubled) - len(events)
    assert counters.frames_expected == counters.frames_received == 9


@ANYTIME
@given(lost=st.sets(st.integers(0, 30), min_size=1, max_size=31), data=st.data())
def test_lost_frames_are_counted_and_named(lost, data, scan_of, bench_of):
    scan, bench = scan_of(31), bench_of()
    start, descriptor, *events, stop = scan.inline()
    kept = [event for i, event in enumerate(events) if i not in lost]
    bench.feed([start, descriptor, *data.draw(st.permutations(kept)), stop])
    assert not bench.reports
    bench.wait(30)
    result = bench.result
    assert (result.frames_expected, result.frames_received) == (31, 31 - len(lost))
    if len(lost) == 31:
        assert result.verdict.outcome is Outcome.INVALID
        return
    assert result.verdict.outcome is Outcome.PARTIAL
    assert f"{len(lost)} of 31 frames missing" in result.verdict.reason
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(bench.reports[0].rocking_curve[:, 1])), sorted(lost))
    assert np.isnan(bench.reports[0].rocking_curve[sorted(lost), 0]).all()
    if result.verdict.label is not None:
        assert len(lost) <= 6
        assert not lost & {13, 14, 15, 16, 17}
        np.testing.assert_array_equal(np.flatnonzero(~bench.curve.present), sorted(lost))
        assert np.isnan(bench.curve.angles_deg[sorted(lost)]).all()
        assert not bench.curve.frames[sorted(lost)].any()
    assert bench.callback.held_bytes == 0


def test_a_class_needs_the_frames_near_the_peak(scan, bench_of):
    start, descriptor, *events, stop = scan.inline()
    for missing, label in ((10, None), (9, None), (0, "screw"), (20, "screw")):
        bench = bench_of()
        bench.feed([start, descriptor, *events[:missing], *events[missing + 1 :], stop]).wait(3)
        assert bench.result.verdict.outcome is Outcome.PARTIAL
        assert bench.result.verdict.label == label
        assert ("near the peak" in bench.result.verdict.reason) == (label is None)


def test_events_after_the_stop_are_waited_for(scan, bench):
    documents = scan.inline()
    late = documents[10:15]
    bench.feed([*documents[:10], *documents[15:]])
    assert not bench.reports
    bench.wait(1.0).feed(late)
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED
    bench.feed(late).wait(60)
    assert bench.callback.counters.late == len(late)
    assert len(bench.reports) == 1


def test_further_documents_end_the_grace_period_too(scan_of, bench):
    documents = scan_of(21, "a").inline()
    bench.feed([*documents[:10], *documents[11:]])
    bench.now += 3
    bench.feed(scan_of(21, "b").inline()[:1])
    assert bench.result.verdict.outcome is Outcome.PARTIAL


def test_a_point_taken_again_replaces_the_first(scan, bench):
    documents = scan.inline()
    again = scan.event(4, {"det": scan.frames[4] + 1, **scan.readings(4), "th": 0.5}, retake=1)
    old = scan.event(5, {"det": scan.frames[5] + 9, **scan.readings(5)}, retake=-1)
    bench.feed([*documents[:-1], again, old, documents[-1]])
    np.testing.assert_array_equal(bench.curve.frames[4], scan.frames[4] + 1)
    np.testing.assert_array_equal(bench.curve.frames[5], scan.frames[5])
    assert bench.curve.angles_deg[4] == 0.5


@pytest.mark.parametrize("change", ["shape", "dtype"])
def test_a_frame_of_another_kind_makes_the_run_invalid(change, scan, bench):
    documents = scan.inline()
    frame = scan.frames[5]
    documents[7][1]["data"]["det"] = frame[:-1] if change == "shape" else frame.astype(float)
    bench.feed(documents)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert change in bench.result.verdict.reason
    assert bench.callback.held_bytes == 0


def test_no_stop_document_times_out_and_frees_the_memory(scan, bench):
    bench.feed(scan.inline()[:-1])
    assert bench.callback.held_bytes >= scan.frames.nbytes
    bench.wait(599)
    assert not bench.reports
    bench.wait(2)
    assert bench.result.verdict.outcome is Outcome.TIMEOUT
    assert (bench.callback.held_bytes, bench.callback.open_runs) == (0, 0)


@pytest.mark.parametrize("status", ["abort", "fail"])
def test_an_aborted_run_has_no_class(status, scan, bench):
    documents = scan.inline()
    bench.feed([*documents[:-1], scan.stop(status, reason="beam dump")])
    assert bench.result.verdict.outcome is Outcome.ABORTED
    assert "beam dump" in bench.result.verdict.reason
    assert bench.result.frames_received == 21


def test_a_lost_start_is_joined_late(scan, bench):
    bench.feed(scan.inline()[1:]).wait(3)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "joined late" in bench.result.verdict.reason
    assert bench.callback.counters.joined_late == 1


@pytest.mark.parametrize("promise", [{}, {"num_events": {"primary": 21}}, {"num_events": {}}])
def test_a_run_known_only_by_its_stop_is_joined_late(promise, scan, bench):
    name, stop = scan.stop()
    del stop["num_events"]
    bench.feed([(name, stop | promise)])
    assert not bench.reports
    bench.wait(3)
    verdict = bench.result.verdict
    assert verdict.outcome is Outcome.INVALID
    assert verdict.reason.startswith("joined late: ")
    assert verdict.label is None
    assert bench.callback.counters.joined_late == 1
    bench.feed([(name, stop)]).wait(3)
    assert len(bench.reports) == 1
    assert bench.callback.counters.late == 1
    assert bench.callback.open_runs == 0


def test_a_stop_that_came_before_its_start_waits_for_the_rest(scan, bench):
    start, *rest, stop = scan.inline()
    bench.feed([stop, start, *rest])
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED
    assert bench.callback.counters.joined_late == 0


def test_a_run_joined_late_that_has_no_detector_is_left_alone(scan_of, bench):
    plain = scan_of(3, "alignment")
    data = [plain.event(i, {"th": 1.0}) for i in range(3)]
    bench.feed([plain.descriptor(keys=("th",)), *data, plain.stop()]).wait(60)
    assert not bench.reports
    assert bench.callback.counters.ignored_runs == 1


def test_a_run_without_the_detector_is_told_of_until_a_run_has_its_record(
    scan, scan_of, bench, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "braggwatch.callbacks")
    plain = scan_of(3, "count")
    keys = plain.descriptor(keys=("eiger_image", "I0"))
    bench.feed([plain.start(), keys, *(plain.event(i, {"I0": 1.0}) for i in range(3)), plain.stop()])
    counters = bench.callback.counters
    assert not bench.reports
    assert (counters.ignored_runs, counters.without_detector) == (1, 1)
    told = counters.newest_unrecorded
    assert "run count (scan 7) gets no record: no key 'det', the detector_field of the preset 'test'" in told
    assert "this run has 'I0', 'eiger_image' in stream 'primary'" in told
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert told in caplog.text
    bench.feed(scan.inline())
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED
    assert bench.callback.counters.newest_unrecorded is None
    assert bench.callback.counters.without_detector == 1


def test_a_flood_of_runs_without_the_detector_is_no_flood_of_log(scan_of, bench, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "braggwatch.callbacks")
    for number in range(50):
        plain = scan_of(3, f"count-{number}")
        bench.feed([plain.start(), plain.descriptor(keys=("I0",)), plain.stop()], step_s=0.001)
    assert bench.callback.counters.without_detector == 50
    assert len(caplog.records) == 1


def test_a_run_without_any_descriptor_is_told_of_too(scan_of, bench):
    plain = scan_of(3, "move")
    bench.feed([plain.start(), plain.stop(num_events={})])
    assert "no descriptor came, though 3 points were announced" in bench.callback.counters.newest_unrecorded


def test_stops_of_unknown_runs_push_out_no_running_scan(scan_of, bench_of):
    bench = bench_of(max_open_runs=4)
    start, descriptor, *events, stop = scan_of(21, "real").inline()
    bench.feed([start, descriptor, *events])
    for number in range(50):
        bench.feed([scan_of(3, f"unknown-{number}").stop()], step_s=0.001)
        assert bench.callback.open_runs <= 4
    bench.feed([stop]).wait(3)
    outcomes = {report.result.run_uid: report.result.verdict.outcome for report in bench.reports}
    assert outcomes.pop("real") is Outcome.CLASSIFIED
    assert len(outcomes) == 50
    assert set(outcomes.values()) == {Outcome.INVALID}


def test_an_evicted_run_that_never_showed_a_detector_gets_no_record(scan_of, bench_of):
    bench = bench_of(max_open_runs=1)
    plain = scan_of(3, "alignment")
    bench.feed([plain.start(), *scan_of(3, "next").inline(), plain.stop()]).wait(60)
    assert [report.result.run_uid for report in bench.reports] == ["next"]


def test_a_lost_descriptor_is_noticed(scan, bench):
    documents = scan.inline()
    bench.feed([documents[0], *documents[2:]]).wait(3)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "descriptor" in bench.result.verdict.reason
    assert bench.callback.counters.late == 21


def test_a_late_descriptor_takes_its_events(scan, bench):
    start, descriptor, *events, stop = scan.inline()
    bench.feed([start, *events, descriptor, stop])
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED


def test_a_plan_that_ends_early_is_partial_at_once(scan, bench):
    documents = scan.inline()
    bench.feed([*documents[:20], scan.stop(num_events={"primary": 18})])
    assert bench.result.verdict.outcome is Outcome.PARTIAL
    assert bench.result.completeness == pytest.approx(18 / 21)
    assert bench.result.verdict.label == "screw"


def test_an_unstated_number_of_points_grows_the_volume(scan_of, bench):
    scan = scan_of(150)
    documents = scan.inline()
    del documents[0][1]["num_points"]
    bench.feed(documents)
    np.testing.assert_array_equal(bench.curve.frames, scan.frames)


def test_interleaved_runs_equal_serial_ones(scan_of, bench_of):
    scans = [scan_of(21, f"run-{i}", seed=i) for i in range(8)]
    serial = {}
    for scan in scans:
        bench = bench_of().feed(scan.inline())
        serial[scan.uid] = bench.curve
    bench = bench_of()
    for documents in zip(*(scan.inline() for scan in scans), strict=True):
        bench.feed(list(documents))
    assert len(bench.reports) == 8
    for curve in bench.preprocessor.curves:
        np.testing.assert_array_equal(curve.frames, serial[curve.run_uid].frames)
        np.testing.assert_array_equal(curve.angles_deg, serial[curve.run_uid].angles_deg)


def test_a_thousand_open_runs_are_capped(scan_of, bench_of):
    bench = bench_of(max_open_runs=16)
    scan = scan_of(3)
    for i in range(1000):
        scan.uid = f"run-{i}"
        bench.feed(scan.inline()[:3], step_s=0.001)
        assert bench.callback.open_runs <= 16
    assert bench.callback.counters.evictions == 1000 - 16
    assert len({r.result.run_uid for r in bench.reports}) == 1000 - 16
    assert all(r.result.verdict.outcome is Outcome.INVALID for r in bench.reports)
    bench.callback.flush()
    assert bench.callback.open_runs == 0
    assert len(bench.reports) == 1000


def test_bytes_are_capped_over_all_runs(scan_of, bench_of):
    scan = scan_of(21)
    bench = bench_of(max_total_bytes=3 * scan.frames.nbytes + 100)
    for i in range(6):
        scan.uid = f"run-{i}"
        bench.feed(scan.inline()[:-1], step_s=0.001)
        assert bench.callback.held_bytes <= 3 * scan.frames.nbytes + 100
    assert bench.callback.counters.evictions == 3
    assert [r.result.run_uid for r in bench.reports] == ["run-0", "run-1", "run-2"]


def test_runs_without_the_detector_and_derived_runs_are_left_alone(scan_of, bench):
    plain = scan_of(3, "alignment")
    data = [plain.event(i, {"th": 1.0}) for i in range(3)]
    bench.feed([plain.start(), plain.descriptor(keys=("th",)), *data, plain.stop()])
    derived = scan_of(3, "derived")
    documents = derived.inline()
    documents[0][1]["original_run_uid"] = "run-0"
    bench.feed(documents).wait(1000)
    assert not bench.reports
    counters = bench.callback.counters
    assert (counters.ignored_runs, counters.skipped_runs, counters.late) == (1, 1, 0)


def test_many_events_of_a_lost_descriptor_are_bounded(scan, bench_of):
    bench = bench_of(max_orphans=10)
    events = [scan.event(i, {"det": scan.frames[0]}, name="lost") for i in range(100)]
    bench.feed(events)
    assert bench.callback.counters.late == 90
    bench.wait(10)
    assert bench.callback.counters.late == 100


def test_absurd_sequence_numbers_do_not_allocate(scan, bench):
    documents = scan.inline()
    documents[5][1]["seq_num"] = 10**9
    bench.feed(documents).wait(60)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "limit" in bench.result.verdict.reason


def sparse_frame(index: int, count: int, peak: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    frame = np.zeros(shape, np.uint32)
    rows, columns = np.mgrid[-20:21, -20:21]
    rock = np.exp(-(((index - count // 2) / (count / 10)) ** 2)) + 1e-3
    frame[peak[0] - 20 : peak[0] + 21, peak[1] - 20 : peak[1] + 21] = 1e5 * rock * np.exp(-(rows**2 + columns**2) / 30)
    frame[3, 7] = 2**32 - 1
    frame[100, 200] = 4_000_000
    return frame


def test_a_large_detector_fits_into_two_gigabytes():
    shape, peak, count = (2167, 2070), (1500, 400), 256
    volume = Volume(AssemblySettings(), count, None)
    most = 0
    for index in range(count):
        volume.put(index, sparse_frame(index, count, peak, shape))
        most = max(most, volume.nbytes)
    sums = volume.rocking_sums(count)
    finished = volume.finish(count)
    assert finished is not None
    frames, present, origin = finished
    usable = np.where(frames == 2**32 - 1, 0, frames)
    np.testing.assert_array_equal(sums, usable.sum(axis=(1, 2), dtype=np.float64))
    assert most < 1_000_000_000
    assert present.all()
    assert frames.shape == (256, 512, 512)
    whole = sparse_frame(128, count, peak, shape)
    np.testing.assert_array_equal(frames[128], whole[origin[0] : origin[0] + 512, origin[1] : origin[1] + 512])
    assert frames[128].sum(dtype=np.int64) == whole.sum(dtype=np.int64) - (2**32 - 1) - 4_000_000


def test_a_stated_region_is_kept(scan, bench_of):
    region = {"row_start": 4, "row_stop": 20, "column_start": 2, "column_stop": 18}
    bench = bench_of(region=region).feed(scan.inline())
    assert bench.curve.crop_origin == (4, 2)
    np.testing.assert_array_equal(bench.curve.frames, scan.frames[:, 4:20, 2:18])


def test_a_peak_that_leaves_the_region_gives_up_the_frames_before():
    settings_ = AssemblySettings(max_run_bytes=600_000, region_edge_px=64, region_search_frames=2)
    volume = Volume(settings_, 30, None)
    for index in range(30):
        frame = np.zeros((300, 300), np.uint16)
        at = (50, 50) if index < 5 else (220, 240)
        frame[at[0] : at[0] + 4, at[1] : at[1] + 4] = 10 if index < 5 else 1000
        volume.put(index, frame)
    sums = volume.rocking_sums(32)
    finished = volume.finish(30)
    assert finished is not None
    frames, present, _ = finished
    assert np.isnan(sums[[*range(5), 30, 31]]).all()
    assert (sums[5:30] == 16000).all()
    assert volume.discarded == 5
    np.testing.assert_array_equal(np.flatnonzero(~present), range(5))
    assert (frames[5:].sum(axis=(1, 2)) == 16000).all()
    assert not frames[:5].any()


def test_growing_past_the_limit_crops_what_is_there():
    volume = Volume(AssemblySettings(max_run_bytes=2_000_000, region_edge_px=64), None, None)
    for index in range(150):
        frame = np.zeros((100, 100), np.uint16)
        frame[60:64, 30:34] = index
        volume.put(index, frame)
        assert volume.nbytes <= 2_000_000
    np.testing.assert_array_equal(volume.rocking_sums(150), 16.0 * np.arange(150))
    finished = volume.finish(None)
    assert finished is not None
    frames, present, _ = finished
    assert present.all()
    np.testing.assert_array_equal(frames.sum(axis=(1, 2)), 16 * np.arange(150))


def test_a_region_outside_the_frame_is_refused():
    region = RegionOfInterest(row_start=0, row_stop=99, column_start=0, column_stop=9)
    volume = Volume(AssemblySettings(region=region), 5, None)
    with pytest.raises(InconsistentFrame, match="leaves the frame"):
        volume.put(0, np.zeros((50, 50)))


@given(
    row=st.integers(10, 180), column=st.integers(10, 180), dtype=st.sampled_from(["u1", "u2", "u4", "i4", "f4", "f8"])
)
@settings(max_examples=40, deadline=None)
def test_the_brightest_block_is_the_peak_and_no_hot_pixel(row, column, dtype):
    frame = np.zeros((200, 190), dtype)
    frame[row - 4 : row + 5, column - 4 : column + 5] = 100
    frame[5, 5] = 250
    if dtype[0] == "f":
        frame[0, :50] = np.nan
        frame[1, :50] = np.inf
    (found_row, found_column), counts = brightest_block(frame, None)
    assert abs(found_row - row) <= 16
    assert abs(found_column - column) <= 16
    assert counts > 0


@given(peak=st.tuples(st.integers(0, 99), st.integers(0, 79)), edge=st.integers(1, 150), frame=st.just((100, 80)))
def test_a_region_never_leaves_the_frame(peak, edge, frame):
    region = centred_region(peak, (edge, edge), frame)
    assert 0 <= region.row_start <= peak[0] < region.row_stop <= 100
    assert 0 <= region.column_start <= peak[1] < region.column_stop <= 80
    assert region.holds_centrally(peak, frame)
