"""Loss is seen whatever way frames travel, counted once and truly, and by what the documents say alone."""

from __future__ import annotations

import copy
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.callbacks.documents.run_references import RunReferences
from braggwatch.services.stream.loss import LossLedger
from braggwatch.services.stream.scan_numbers import ScanNumbers
from braggwatch.services.stream.sequence_gaps import SequenceGaps

NUM = 40


@pytest.fixture(scope="module")
def fly_scan(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, Any]]]:
    """Documents of a real fly scan: RunEngine and ophyd-async detector, one stream_datum for each frame or so."""
    from bluesky import RunEngine

    from braggwatch.sim.beamline.assembly import build_beamline
    from braggwatch.sim.beamline.diffractometer import DiffractometerSettings
    from braggwatch.sim.beamline.plans import fly_rocking_curve
    from braggwatch.sim.beamline.sample import SimulatedSample
    from braggwatch.sim.geometry import load_preset

    sample = SimulatedSample.grid(1, rows=1, columns=1, points_across=8)
    settings = DiffractometerSettings(frame_shape=(16, 16))
    folder: Path = tmp_path_factory.mktemp("frames")
    beamline = build_beamline(sample, load_preset("simulated"), folder, settings=settings)
    documents: list[tuple[str, dict[str, Any]]] = []
    engine = RunEngine()
    engine.subscribe(lambda name, document: documents.append((name, copy.deepcopy(document))))
    centre = beamline.world.bragg_angle_deg
    engine(fly_rocking_curve(beamline, centre - 0.1, centre + 0.1, NUM, dwell_s=0.01, flush_period_s=0.03))
    return documents


def ledger_of(documents) -> LossLedger:
    ledger, references = LossLedger(grace_s=1.0), RunReferences()
    for name, document in documents:
        ledger.observe(references.run_of(name, document), name, document, 0.0)
    return ledger


def test_a_whole_fly_scan_has_no_loss(fly_scan: list[tuple[str, dict[str, Any]]]):
    assert sum(name == "stream_datum" for name, _ in fly_scan) >= 6
    assert ledger_of(fly_scan).settle(5.0) == []


def test_lost_ranges_of_a_fly_scan_are_frames(fly_scan: list[tuple[str, dict[str, Any]]]):
    resources = {doc["data_key"]: doc["uid"] for name, doc in fly_scan if name == "stream_resource"}
    of_frames = [
        doc for name, doc in fly_scan if name == "stream_datum" and doc["stream_resource"] == resources["det_image"]
    ]
    assert len(of_frames) >= 3
    for gone in (of_frames[0], of_frames[1], of_frames[-1]):
        ledger = ledger_of(pair for pair in fly_scan if pair[1] is not gone)
        assert ledger.settle(0.5) == []
        (loss,) = ledger.settle(1.5)
        assert loss.frames == gone["seq_nums"]["stop"] - gone["seq_nums"]["start"]
        assert loss.documents == 1
        assert ledger.jumps == (gone is not of_frames[-1])
        assert ledger.settle(9.0) == []


def test_a_fly_scan_that_lost_every_range_lost_every_frame(fly_scan: list[tuple[str, dict[str, Any]]]):
    ledger = ledger_of(pair for pair in fly_scan if pair[0] != "stream_datum")
    (loss,) = ledger.settle(5.0)
    assert loss.frames == NUM
    assert loss.documents == 2


def test_late_and_doubled_ranges_are_no_loss(fly_scan: list[tuple[str, dict[str, Any]]]):
    ranges = [pair for pair in fly_scan if pair[0] == "stream_datum"]
    others = [pair for pair in fly_scan if pair[0] != "stream_datum"]
    assert ledger_of([*others, *reversed(ranges), *ranges]).settle(5.0) == []


def test_a_stream_that_lost_all_its_events_is_loss():
    ledger = LossLedger(grace_s=1.0)
    key = {"dtype": "number", "shape": [], "source": "test"}
    ledger.observe("r", "start", {"uid": "r"}, 0.0)
    ledger.observe("r", "descriptor", {"uid": "d", "name": "primary", "data_keys": {"th": key}}, 0.0)
    ledger.observe("r", "stop", {"run_start": "r", "num_events": {"primary": 12}}, 0.0)
    (loss,) = ledger.settle(2.0)
    assert (loss.documents, loss.frames) == (12, 0)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 8)), max_size=30), st.integers(0, 80))
def test_gaps_are_exactly_what_was_not_seen(ranges, promised):
    gaps, seen = SequenceGaps(), set()
    for start, length in ranges:
        jumped = gaps.see(start, start + length, 0.0)
        assert jumped == (start > max(seen, default=0) + 1)
        seen |= set(range(start, start + length))
    gaps.promise(promised, 0.0)
    missing = set(range(1, max(max(seen, default=0), promised) + 1)) - seen
    found = [number for gap in gaps.overdue(1.0, 0.5) for number in range(gap.start, gap.stop)]
    assert sorted(found) == sorted(missing)
    assert gaps.overdue(9.0, 0.5) == []


def test_absurd_ranges_take_no_memory_and_say_nothing():
    gaps = SequenceGaps()
    for start, stop in ((10**15, 10**15 + 1), (5, 5), (7, 3), (-4, 2), (0, 4)):
        assert not gaps.see(start, stop, 0.0)
    gaps.promise(10**15, 0.0)
    assert gaps.highest == 0
    assert gaps.overdue(5.0, 1.0) == []


class Runs:
    """Start and stop documents of runs that come through."""

    def __init__(self) -> None:
        self.numbers = ScanNumbers()

    def run(self, scan_id: object, **extra) -> int:
        uid = f"run-{scan_id}-{len(self.numbers._started)}"
        lost = self.numbers.observe("start", {"uid": uid, "scan_id": scan_id} | extra)
        self.stop(uid)
        return lost

    def stop(self, uid: str) -> None:
        assert self.numbers.observe("stop", {"run_start": uid}) == 0


def test_runs_lost_whole_show_in_the_next_scan_id():
    runs = Runs()
    assert [runs.run(scan_id) for scan_id in (7, 8, 12, 13)] == [0, 0, 3, 0]


def test_a_run_that_only_lost_its_start_is_not_lost_whole():
    runs = Runs()
    runs.stop("before we came")
    assert runs.run(7) == 0
    runs.stop("run 8")
    assert runs.run(9) == 0
    runs.stop("run 11")
    assert runs.run(12) == 1


def test_numbers_set_back_or_far_ahead_are_no_loss():
    runs = Runs()
    assert [runs.run(scan_id) for scan_id in (500, 1, 2, 9000, 9001, 3)] == [0] * 6


def test_interleaved_publishers_are_told_apart():
    runs = Runs()
    assert [runs.run(scan_id) for scan_id in (10, 3000, 11, 3001, 12, 3004, 13)] == [0, 0, 0, 0, 0, 2, 0]


def test_doubled_starts_derived_runs_and_odd_numbers_say_nothing():
    runs = Runs()
    assert runs.run(7) == 0
    for _ in range(2):
        runs.numbers.observe("start", {"uid": "again", "scan_id": 8})
    assert runs.run(9) == 0
    assert runs.run(40, original_run_uid="x") == 0
    for odd in (None, "12", True, 11.0, [3]):
        assert runs.run(odd) == 0
    assert runs.run(10) == 0


def test_many_series_take_no_memory():
    runs = Runs()
    for n in range(500):
        assert runs.run(1000 * n) == 0
    assert len(runs.numbers._last) <= 64


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["start", "stop", "settle"])), max_size=60))
def test_open_runs_are_those_that_started_and_have_not_stopped(steps):
    ledger, known = LossLedger(grace_s=1.0, max_runs=3), {}
    for now, (run, name) in enumerate(steps):
        if name == "settle":
            ledger.settle(float(now))
            known = {uid: stopped for uid, stopped in known.items() if stopped is None or now - stopped < 1}
            continue
        ledger.observe(run, name, {"uid": run}, float(now))
        if name == "start":
            known.setdefault(run, None)
            if len(known) > 3:
                known.pop(next(iter(known)))
        elif run in known:
            del known[run]
            known[run] = now
        assert ledger.open_runs == sum(stopped is None for stopped in known.values())


@pytest.fixture
def eager_threads():
    """Threads that take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_another_thread_may_ask_for_the_open_runs_while_runs_come_and_go(eager_threads):
    ledger, seen, failures = LossLedger(grace_s=0.0), [], []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                seen.append(ledger.open_runs)
            except RuntimeError as error:
                failures.append(error)

    reader = threading.Thread(target=ask)
    reader.start()
    for number in range(3000):
        ledger.observe(f"run {number}", "start", {}, 0.0)
    over.set()
    reader.join()
    assert failures == []
    assert set(seen) <= set(range(1002)), "the thousand that are followed, and one that takes the place of another"
    assert ledger.open_runs == 1000
