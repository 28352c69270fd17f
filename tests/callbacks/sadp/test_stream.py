"""Diffraction patterns as a live stream: judged one by one, summed up for each particle, and nothing breaks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import event_model
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.sadp.declaration import read_zone
from braggwatch.callbacks.sadp.judging import NoPatternModel, PatternModel
from braggwatch.callbacks.sadp.limits import PatternLimits
from braggwatch.callbacks.sadp.pattern_callback import PatternCallback
from braggwatch.callbacks.sadp.records import PatternReport, PatternResult, PatternRunReport, SetAside
from braggwatch.callbacks.sadp.running import RunningCrystal
from braggwatch.models.sadp.crystal import combine
from support.patterns import GROUPS, QuickJudge, net, noisy, pattern_run, small_table

GOOD = net()


class Listener:
    """A callback with a clock to turn, and what it has reported."""

    def __init__(self, model=None, limits: PatternLimits | None = None, **assembly: object) -> None:
        self.reports: list[PatternReport | PatternRunReport] = []
        self.now = 100.0
        self.callback = PatternCallback(
            model or PatternModel(QuickJudge(), 0.9),
            self.reports.append,
            AssemblySettings.model_validate({"grace_s": 1.0} | assembly),
            limits,
            clock=lambda: self.now,
        )

    def send(self, documents) -> Listener:
        for name, document in documents:
            self.callback(name, document)
        return self

    @property
    def patterns(self):
        return [report.result for report in self.reports if isinstance(report, PatternReport)]

    @property
    def runs(self):
        return [report for report in self.reports if isinstance(report, PatternRunReport)]


@pytest.fixture
def listener() -> Listener:
    return Listener()


def facts(pattern: PatternResult) -> dict[str, Any]:
    """A record without what the clock and the run's name make of it."""
    return pattern.model_dump(exclude={"judged_at", "latency_s", "run_uid", "run_started_at"})


def test_each_pattern_is_judged_as_its_event_arrives(listener: Listener) -> None:
    documents = pattern_run([noisy(GOOD, 0), noisy(GOOD, 1)])
    for count, (name, document) in enumerate(documents[:4]):
        listener.callback(name, document)
        assert len(listener.patterns) == max(0, count - 1)
    assert listener.runs == []
    listener.callback(*documents[4])
    (run,) = listener.runs
    assert (run.result.ending, run.result.expected, run.result.judged, run.result.lost) == ("complete", 2, 2, 0)
    assert listener.callback.open_runs == 0


def test_the_record_says_what_was_seen_and_of_what(listener: Listener) -> None:
    listener.send(pattern_run([GOOD], particles=["grain 7"], visits=[3], zones=["0 -1 1"]))
    (pattern,) = listener.patterns
    assert (pattern.particle, pattern.visit, pattern.stated_zone) == ("grain 7", "3", (0, 1, 1))
    assert pattern.spots == 24
    assert pattern.set_aside is None
    assert pattern.model == QuickJudge.identity
    # a net of 22 px at 0.1 1/nm a pixel
    assert pattern.largest_spacing_nm == pytest.approx(1 / 2.2, rel=0.01)
    assert listener.runs[0].particles[0].zones == ((0, 1, 1),)


def test_a_zone_once_seen_is_not_proposed_again(listener: Listener) -> None:
    listener.send(pattern_run([GOOD, GOOD], zones=["0 1 2", "1 1 1"], visits=[1, 2]))
    zones = [zone for zone, _ in listener.runs[0].particles[0].next_zones]
    assert set(zones) == {(0, 0, 1), (0, 1, 1)}


rows = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.sampled_from([None, "a", "b"]),
        st.lists(st.floats(0.01, 1.0), min_size=len(GROUPS), max_size=len(GROUPS)),
    ),
    max_size=12,
)


@given(rows)
@settings(deadline=None, max_examples=60)
def test_running_odds_are_those_of_all_patterns_at_once(given_rows) -> None:
    crystal = RunningCrystal(small_table(), 0.9)
    standing: dict[int, tuple[object, np.ndarray]] = {}
    for seq_num, visit, weights in given_rows:
        row = np.array(weights) / sum(weights)
        crystal.put(("primary", seq_num), visit, dict(zip(GROUPS, row, strict=True)))
        standing.pop(seq_num, None)
        standing[seq_num] = (visit if visit is not None else seq_num, row)
    visits: dict[object, list[np.ndarray]] = {}
    for key, row in standing.values():
        visits.setdefault(key, []).append(row)
    means = np.array([np.mean(one, axis=0) for one in visits.values()]).reshape(-1, len(GROUPS))
    # one class for each group: then class probabilities are group probabilities, and `combine` is the oracle
    table = small_table().model_copy(
        update={
            "members": tuple(m.model_copy(update={"class_index": GROUPS.index(m.group)}) for m in small_table().members)
        }
    )
    expected = combine(means, table)
    found = crystal.so_far()
    assert (found.patterns, found.visits) == (len(standing), len(visits))
    assert [found.product[name] for name in GROUPS] == pytest.approx(expected.product, abs=1e-9)
    assert [found.mean[name] for name in GROUPS] == pytest.approx(expected.mean, abs=1e-9)


def test_many_frames_of_one_visit_are_one_piece_of_evidence(listener: Listener) -> None:
    one = Listener().send(pattern_run([GOOD], visits=["a"])).patterns[-1].crystal
    many = listener.send(pattern_run([GOOD] * 5, visits=["a"] * 5)).patterns[-1].crystal
    assert (many.patterns, many.visits) == (5, 1)
    assert many.product == pytest.approx(one.product)
    apart = Listener().send(pattern_run([GOOD] * 5)).patterns[-1].crystal
    assert apart.visits == 5
    assert max(apart.product.values()) > max(one.product.values())


def with_nan(frame: np.ndarray) -> np.ndarray:
    broken = frame.astype(np.float32)
    broken[:60] = np.nan
    return broken


def saturated(frame: np.ndarray) -> np.ndarray:
    full = frame.copy()
    full[:40] = 65535
    return full


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda f: np.zeros_like(f), SetAside.BLANK, "every pixel"),
        (lambda f: np.full_like(f, 65535), SetAside.SATURATED, "100%"),
        (saturated, SetAside.SATURATED, "at 65535 counts"),
        (with_nan, SetAside.NOT_FINITE, "not finite"),
        (lambda f: f[:100], SetAside.SHAPE, "(100, 128)"),
        (lambda f: np.array([["a"]]), SetAside.SHAPE, "real numbers"),
        (lambda f: np.zeros((0, 128), np.uint16), SetAside.SHAPE, "shape"),
        (lambda f: None, SetAside.UNREADABLE, "no frame"),
        (lambda f: noisy(np.full((128, 128), 50), 1), SetAside.TOO_FEW_SPOTS, "too few"),
    ],
)
def test_a_bad_frame_is_set_aside_with_its_reason_and_the_next_is_judged(
    listener: Listener, make: Callable[[NDArray[Any]], object], kind: SetAside, words: str
) -> None:
    listener.send(pattern_run([GOOD, make(GOOD), GOOD]))
    first, bad, last = listener.patterns
    assert bad.set_aside is kind
    assert words in (bad.reason or "")
    assert bad.label is None
    assert bad.crystal == first.crystal
    assert last.set_aside is None
    assert listener.runs[0].result.set_aside == {kind: 1}


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"modality": "sadp"}, "state inv_nm_per_px"),
        ({"modality": "sadp", "inv_nm_per_px": 0.0}, "above zero"),
        ({"modality": "sadp", "inv_nm_per_px": "0.1"}, "neither a number"),
        ({"modality": "sadp", "inv_nm_per_px": float("nan")}, "neither a number"),
    ],
)
def test_without_a_calibration_no_pattern_is_judged(listener: Listener, declared: dict[str, Any], words: str) -> None:
    listener.send(pattern_run([GOOD], data_key=declared))
    (pattern,) = listener.patterns
    assert pattern.set_aside is SetAside.CALIBRATION
    assert words in (pattern.reason or "")


def test_a_calibration_declared_unknown_is_enough_for_the_space_group(listener: Listener) -> None:
    listener.send(pattern_run([GOOD], data_key={"modality": "sadp", "inv_nm_per_px": None}))
    (pattern,) = listener.patterns
    assert pattern.set_aside is None
    assert pattern.largest_spacing_nm is None


def test_a_plan_may_declare_a_detector_that_can_not(listener: Listener) -> None:
    plan = {"sadp": {"detector": "camera", "inv_nm_per_px": 0.2, "particle": 12}}
    listener.send(pattern_run([GOOD], data_key={}, start=plan))
    (pattern,) = listener.patterns
    assert (pattern.particle, pattern.inv_nm_per_px) == ("12", 0.2)
    other = Listener().send(pattern_run([GOOD], data_key={}))
    assert other.reports == []
    both = Listener().send(pattern_run([GOOD], start=plan))
    assert both.patterns[0].inv_nm_per_px == 0.1


def test_without_a_particle_the_sample_names_it(listener: Listener) -> None:
    listener.send(pattern_run([GOOD]))
    assert listener.patterns[0].particle == "foil"


def test_particles_of_one_run_are_kept_apart(listener: Listener) -> None:
    frames = [GOOD, net(30.0), GOOD, net(30.0)]
    listener.send(pattern_run(frames, particles=["a", "b", "a", "b"]))
    alone = Listener().send(pattern_run([GOOD, GOOD], particles=["a", "a"]))
    of_a = [pattern for pattern in listener.patterns if pattern.particle == "a"]
    assert [one.crystal for one in of_a] == [one.crystal for one in alone.patterns]
    assert [state.particle for state in listener.runs[0].particles] == ["a", "b"]


def test_interleaved_runs_equal_serial_ones() -> None:
    runs = [pattern_run([noisy(net(s), n) for n in range(3)]) for s in (18.0, 22.0, 30.0)]
    serial = [facts(p) for run in runs for p in Listener().send(run).patterns]
    mixed = Listener()
    for step in range(len(runs[0])):
        for run in runs:
            mixed.callback(*run[step])
    found = [facts(p) for run in runs for p in mixed.patterns if p.run_uid == run.uid]
    assert found == serial
    assert len(mixed.runs) == 3


def test_order_and_repeats_do_not_matter(listener: Listener) -> None:
    documents = pattern_run([noisy(GOOD, n) for n in range(3)], visits=[1, 1, 2])
    start, descriptor, *events, stop = documents
    listener.send(
        [start, events[1], descriptor, events[0], events[0], events[2], descriptor, stop, stop, events[1], start]
    )
    listener.now += 1000.0
    listener.callback.expire(listener.now)
    assert sorted(pattern.seq_num for pattern in listener.patterns) == [1, 2, 3]
    assert len(listener.runs) == 1
    assert listener.runs[0].result.ending == "complete"
    expected = Listener().send(documents).patterns[-1].crystal.product
    assert listener.runs[0].particles[0].crystal.product == pytest.approx(expected)


def test_a_rewound_plan_replaces_what_a_pattern_said(listener: Listener) -> None:
    documents = pattern_run([GOOD, net(30.0)])
    start, descriptor, first, second, stop = documents
    again = ("event", {**first[1], "uid": "again", "time": first[1]["time"] + 5.0, "data": {"camera": net(30.0)}})
    listener.send([start, descriptor, first, second, again, stop])
    state = listener.runs[0].particles[0]
    assert state.crystal.patterns == 2
    twice = Listener().send(pattern_run([net(30.0), net(30.0)])).runs[0].particles[0]
    assert state.crystal.product == pytest.approx(twice.crystal.product)


def test_lost_patterns_are_counted(listener: Listener) -> None:
    documents = pattern_run([GOOD] * 4)
    listener.send(documents[:3] + documents[-1:])
    assert listener.runs == []
    listener.now += 2.0
    listener.callback.expire(listener.now)
    result = listener.runs[0].result
    assert (result.ending, result.expected, result.judged, result.lost) == ("partial", 4, 1, 3)


def test_an_aborted_run_says_so_and_keeps_what_it_has(listener: Listener) -> None:
    listener.send(pattern_run([GOOD], exit_status="abort"))
    assert listener.runs[0].result.ending == "aborted"
    assert listener.runs[0].particles[0].crystal.patterns == 1


def test_a_silent_run_times_out_and_a_service_that_stops_ends_its_runs(listener: Listener) -> None:
    listener.send(pattern_run([GOOD])[:-1])
    listener.now += 601.0
    listener.callback.expire(listener.now)
    assert listener.runs[0].result.ending == "timeout"
    other = Listener().send(pattern_run([GOOD])[:-1])
    other.callback.flush()
    assert other.runs[0].result.ending == "timeout"


def test_a_run_joined_late_is_judged_and_is_partial(listener: Listener) -> None:
    listener.send(pattern_run([GOOD], data_key={"modality": "sadp", "inv_nm_per_px": 0.1})[1:])
    assert listener.patterns[0].set_aside is None
    assert "joined late" in (listener.runs[0].result.reason or "")


def test_frames_in_files_are_read_and_joined(listener: Listener, tmp_path: Path) -> None:
    frames = np.stack([noisy(GOOD, n) for n in range(3)])
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["entry/data/data"] = frames
    run = event_model.compose_run(metadata={"scan_id": 1})
    keys = {
        "camera": {
            "source": "test", "dtype": "array", "shape": [1, 128, 128], "external": "STREAM:", "modality": "sadp",
            "inv_nm_per_px": 0.1,
        },
        "particle": {"source": "test", "dtype": "string", "shape": []},
    }  # fmt: skip
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    assert run.compose_stream_resource is not None
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{tmp_path}/frames.h5",
        data_key="camera",
        parameters={"dataset": "/entry/data/data", "chunk_shape": (1, 128, 128)},
    )
    documents: list[tuple[str, Any]] = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    documents.append(("stream_resource", resource.stream_resource_doc))
    for n in range(3):
        datum = resource.compose_stream_datum(
            indices={"start": n, "stop": n + 1},
            seq_nums={"start": n + 1, "stop": n + 2},
            descriptor=stream.descriptor_doc,
        )
        event = stream.compose_event(data={"particle": f"p{n}"}, timestamps={"particle": 1.0}, validate=False)
        documents += [("stream_datum", datum), ("event", dict(event))]
    documents.append(("stop", run.compose_stop()))
    listener.send(documents)
    inline = Listener().send(pattern_run(list(frames), particles=["p0", "p1", "p2"]))
    assert [p.groups for p in listener.patterns] == [p.groups for p in inline.patterns]
    assert [p.particle for p in listener.patterns] == ["p0", "p1", "p2"]
    assert listener.runs[0].result.ending == "complete"


def test_a_file_that_never_comes_is_told(listener: Listener) -> None:
    documents = pattern_run(["nowhere"])
    listener.send(documents)
    listener.now += 60.0
    listener.callback.expire(listener.now)
    (pattern,) = listener.patterns
    assert pattern.set_aside is SetAside.UNREADABLE
    assert listener.runs[0].result.judged == 1


def test_without_a_model_patterns_are_counted_and_the_reason_says_what_to_do() -> None:
    listener = Listener(NoPatternModel("no bundle goes by 'sadp': train one"))
    listener.send(pattern_run([GOOD]))
    (pattern,) = listener.patterns
    assert pattern.set_aside is SetAside.NO_MODEL
    assert "train one" in (pattern.reason or "")
    assert listener.runs[0].result.judged == 1


def test_a_judge_that_fails_costs_one_pattern() -> None:
    class Failing(QuickJudge):
        calls = 0

        def classify(self, measured):
            self.calls += 1
            if self.calls == 2:
                raise ZeroDivisionError("broken")
            return super().classify(measured)

    listener = Listener(PatternModel(Failing(), 0.9)).send(pattern_run([GOOD] * 3))
    assert [pattern.set_aside for pattern in listener.patterns] == [None, SetAside.ERROR, None]
    assert "ZeroDivisionError" in (listener.patterns[1].reason or "")


def test_limits_set_aside_what_is_too_much() -> None:
    listener = Listener(limits=PatternLimits(max_patterns=2)).send(pattern_run([GOOD] * 3))
    assert [pattern.set_aside for pattern in listener.patterns] == [None, None, SetAside.LIMIT]
    many = Listener(limits=PatternLimits(max_particles=1)).send(pattern_run([GOOD] * 2, particles=["a", "b"]))
    assert [pattern.set_aside for pattern in many.patterns] == [None, SetAside.LIMIT]
    assert "1 particles" in (many.patterns[1].reason or "")


@pytest.mark.parametrize("size", [255, 256])
def test_large_frames_may_be_binned_and_mean_the_same(size: int) -> None:
    large = noisy(np.kron(GOOD, np.ones((2, 2), np.uint16))[:size, :size], 1)
    whole = Listener().send(pattern_run([large])).patterns[0]
    listener = Listener(limits=PatternLimits(bin_above_px=128)).send(pattern_run([large]))
    (pattern,) = listener.patterns
    report = listener.reports[0]
    assert isinstance(report, PatternReport)
    assert report.binning == 2
    assert report.frame is not None
    assert max(report.frame.shape) <= 128
    assert (pattern.spots, pattern.set_aside, pattern.groups) == (24, None, whole.groups)
    assert pattern.largest_spacing_nm == pytest.approx(whole.largest_spacing_nm, rel=0.01)
    small = Listener(limits=PatternLimits(bin_above_px=128)).send(pattern_run([GOOD]))
    assert isinstance(small.reports[0], PatternReport)
    assert small.reports[0].binning == 1


def test_a_derived_run_is_never_judged(listener: Listener) -> None:
    listener.send(pattern_run([GOOD], start={"original_run_uid": "raw"}))
    assert listener.reports == []


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=8), st.lists, max_leaves=5))
def test_a_stated_zone_is_read_or_left(value) -> None:
    zone = read_zone(value)
    assert zone is None or (len(zone) == 3 and list(zone) == sorted(zone) and zone[2] > 0)


@pytest.mark.parametrize(
    ("value", "zone"),
    [([0, 3, 1], (0, 1, 3)), ("[013]", (0, 1, 3)), ("1-10", (0, 1, 1)), ("1, -1, 2", (1, 1, 2)), ("0 0 0", None)],
)
def test_zones_as_people_write_them(value, zone) -> None:
    assert read_zone(value) == zone
    assert read_zone(np.array(value) if isinstance(value, list) else value) == zone
