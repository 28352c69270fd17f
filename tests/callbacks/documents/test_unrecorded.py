"""No run vanishes: each one that ends has its record, or it is said why it has none, with what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ophyd.sim import hw

from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.callbacks.documents.contents_book import ContentsBook
from braggwatch.callbacks.documents.counters import MutableCounters
from braggwatch.callbacks.documents.unrecorded import Cause, RunFate, UnrecordedRuns
from braggwatch.callbacks.modalities import ModalityCallback
from braggwatch.callbacks.plans.verdict_plans import NO_RECORD, wait_for_verdict
from braggwatch.callbacks.plans.verdict_source import RecentVerdicts

HARDWARE = hw()
det, motor = HARDWARE.det, HARDWARE.motor


def named(name: str, **more: object) -> dict[str, object]:
    return {"source": "sim", "dtype": "array", "shape": [516, 516], "object_name": name} | more


def other_detector(scan):
    """A run as the stock RunEngine sends it, with frames under another key than the preset's."""
    kind, descriptor = scan.descriptor(keys=("th", "I0"))
    descriptor["data_keys"]["eiger_image"] = named("eiger")
    events = [scan.event(i, {"eiger_image": np.zeros((516, 516), "<u2"), "th": 0.1, "I0": 1.0}) for i in range(3)]
    return [scan.start(motors=["th"]), (kind, descriptor), *events, scan.stop()]


def test_a_run_of_another_detector_says_what_it_has_and_what_to_do(scan_of, bench, caplog):
    bench.feed(other_detector(scan_of(3, "other")))
    (run,) = bench.unrecorded
    assert not bench.reports
    assert (run.run_uid, run.scan_id, run.cause) == ("other", 7, Cause.NO_DETECTOR)
    assert run.reason.startswith("no key 'det', the detector_field of the preset 'test'; this run has")
    assert "'eiger_image' (516 × 516)" in run.reason
    assert "'I0', 'th' in stream 'primary'" in run.reason
    assert "set detector_field to it or choose its preset (--geometry)" in run.reason
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert run.contents.motors == ("th",)
    (stream,) = run.contents.streams
    assert (stream.name, stream.events) == ("primary", 3)
    assert next(key for key in stream.keys if key.name == "eiger_image").dtype == "uint16"


def test_a_run_with_its_record_is_none_of_them(scan, bench):
    bench.feed(scan.inline()).wait(1000)
    bench.callback.flush()
    assert not bench.unrecorded
    assert not bench.callback.counters.unrecorded


def test_a_raw_run_marked_as_derived_is_told_of(scan, bench):
    documents = scan.inline()
    documents[0][1]["original_run_uid"] = "yesterday"
    bench.feed(documents)
    (run,) = bench.unrecorded
    assert run.cause is Cause.DERIVED
    assert "original_run_uid ('yesterday')" in run.reason
    assert "'det' (24 × 20)" in run.reason
    assert "take that key out of its metadata" in run.reason


def test_a_derived_run_without_frames_is_only_counted(scan_of, bench):
    plain = scan_of(3, "verdict")
    start = plain.start(original_run_uid="raw")
    bench.feed([start, plain.descriptor(keys=("confidence",)), plain.event(0, {"confidence": 1.0}), plain.stop()])
    assert not bench.unrecorded
    assert bench.callback.counters.unrecorded == {"derived": 1}
    assert bench.callback.counters.newest_unrecorded is None


@pytest.mark.parametrize("status", ["success", "fail"])
def test_start_and_stop_alone_are_told_of(status, scan, bench):
    bench.feed([scan.start(), scan.stop(status, num_events={}, reason="the motor stalled")])
    (run,) = bench.unrecorded
    assert run.cause is Cause.NO_DATA
    assert "no descriptor came, though 21 points were announced" in run.reason
    assert f"ended with {status}: the motor stalled" in run.reason


def test_descriptors_lost_and_a_stop_that_counts_nothing(scan, bench):
    start, _, *events, (name, stop) = scan.inline()
    del stop["num_events"]
    bench.feed([start, *events, (name, stop)])
    (run,) = bench.unrecorded
    assert run.cause is Cause.NO_DATA
    assert "lost on the way" in run.reason


def test_a_descriptor_that_is_refused_is_named_with_its_run(scan, bench, caplog):
    documents = scan.inline()
    documents[1][1]["data_keys"]["det"]["shape"] = "24 by 20"
    del documents[-1][1]["num_events"]
    bench.feed(documents)
    (run,) = bench.unrecorded
    assert run.cause is Cause.REFUSED
    assert "1 of its documents was refused: descriptor: '24 by 20' is not of type" in run.reason
    assert "document of run run-1 rejected (schema): descriptor" in caplog.text


def test_a_run_whose_uid_is_a_number_is_named_too(scan, bench):
    documents = scan.inline()
    documents[0][1]["uid"] = documents[1][1]["run_start"] = documents[-1][1]["run_start"] = 17
    bench.feed(documents)
    (run,) = bench.unrecorded
    assert (run.run_uid, run.cause) == ("17", Cause.REFUSED)
    assert "3 of its documents were refused: start: 17 is not of type 'string'" in run.reason


def test_a_run_without_a_stop_is_told_of_once_it_is_silent(scan_of, bench):
    bench.feed(other_detector(scan_of(3, "other"))[:-1]).wait(599)
    assert not bench.unrecorded
    bench.wait(2)
    assert [run.contents.exit_status for run in bench.unrecorded] == [None]


def test_a_run_evicted_before_it_showed_anything_is_told_of_at_its_stop(scan_of, bench_of):
    bench = bench_of(max_open_runs=1)
    plain = scan_of(3, "alignment")
    bench.feed([plain.start(), *scan_of(3, "next").inline()])
    assert not bench.unrecorded
    bench.feed([plain.stop()])
    assert [(run.run_uid, run.cause) for run in bench.unrecorded] == [("alignment", Cause.NO_ROOM)]


def test_of_several_kinds_one_record_is_enough_and_each_run_is_told_of_once(scan, scan_of, bench, preset):
    class Claimant(ScreeningCallback):
        def claims(self, start: Mapping[str, Any] | None, descriptor: Mapping[str, Any]) -> frozenset[str]:
            return frozenset(key for key in descriptor["data_keys"] if key == "eiger_image")

    told = []
    other = Claimant(
        preset.model_copy(update={"detector_field": "eiger_image"}),
        bench.preprocessor,
        bench.classifier,
        bench.reports.append,
    )
    both = ModalityCallback([bench.callback, other], on_unrecorded=told.append)
    plain = scan_of(3, "count")
    for documents in (
        scan.inline(),
        other_detector(scan_of(3, "other")),
        [plain.start(), plain.descriptor(keys=("I0",)), plain.event(0, {"I0": 1.0}), plain.stop(num_events={})],
    ):
        for pair in documents:
            both(*pair)
    both.expire(1e9)
    assert {report.result.run_uid for report in bench.reports} == {"run-1", "other"}
    assert [run.run_uid for run in told] == ["count"]
    assert both.counters.unrecorded == {"no_detector": 1}


def test_a_plan_that_waits_is_told_at_once(run_engine, bench_with_verdicts):
    bench, verdicts = bench_with_verdicts
    run_engine.subscribe(bench)
    said = []

    def plan():
        uid = yield from bp.scan([det], motor, -1, 1, 3)
        said.append((yield from wait_for_verdict(uid, verdicts, 60.0)))

        @bpp.run_decorator(md={"num_points": 5})
        def nothing():
            yield from bps.null()

        uid = yield from nothing()
        said.append((yield from wait_for_verdict(str(uid), verdicts, 0.1)))

    run_engine(plan())
    assert said[0].outcome == NO_RECORD
    assert not said[0].answered
    assert "no key 'det_image'" in said[0].reason
    assert "'motor'" in said[0].reason


@pytest.fixture
def bench_with_verdicts(preset, bench):
    verdicts = RecentVerdicts()
    callback = ScreeningCallback(
        preset.model_copy(update={"detector_field": "det_image"}),
        bench.preprocessor,
        bench.classifier,
        verdicts.put,
        on_unrecorded=verdicts.put_unrecorded,
    )
    return callback, verdicts


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("uid", "run_start", "descriptor", "name", "data_keys", "configuration", "shape", "data", "det")
FIELDS = st.sampled_from(NAMES)
DOCUMENT = st.dictionaries(FIELDS, ANYTHING | st.dictionaries(FIELDS, ANYTHING, max_size=3), max_size=6)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "descriptor", "event", "stream_datum", "stop", "other"]), DOCUMENT),
        max_size=8,
    )
)
def test_nothing_in_a_refused_document_can_do_harm(documents):
    book = ContentsBook(most_runs=2)
    for name, doc in documents:
        book.take(name, doc, "it is wrong")
        for uid in book.runs:
            assert book.contents(uid).in_words
    assert len(book.runs) <= 2


def test_more_runs_than_are_remembered_are_told_of_all_the_same():
    told = []
    runs = UnrecordedRuns(lambda _: RunFate.UNKNOWN, lambda _: None, told.append, MutableCounters(), 600.0)
    for number in range(1100):
        runs.take("start", {"uid": f"run-{number}"}, "it lacks a time", 0.0)
    assert [run.run_uid for run in told] == [f"run-{number}" for number in range(1100 - 1024)]
    runs.flush(1.0)
    assert len(told) == 1100
