"""Diffraction patterns through the running service: proxy, RunEngine, store, metrics, feedback, replay."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zmq
from event_model import DocumentNames, schema_validators
from typer.testing import CliRunner

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.modalities import ModalityCallback
from braggwatch.callbacks.sadp.judging import NoPatternModel, PatternModel
from braggwatch.callbacks.sadp.pattern_callback import PatternCallback
from braggwatch.callbacks.sadp.records import ParticleState, PatternResult, SetAside
from braggwatch.services.cli import app
from braggwatch.services.feedback.publisher import DerivedRunPublisher
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.live.sink import Sink, SinkError
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.recording.recorder import Recorder
from braggwatch.services.recording.recordings import RecordingWriter, read_recording
from braggwatch.services.recording.replay import ReadyPublisher, ReplayOptions, Serializer, replay
from braggwatch.services.sadp.live.derived_run import closing, opening, pattern_event
from braggwatch.services.sadp.live.modality import PatternModality
from braggwatch.services.sadp.live.pattern_desk import PatternDesk
from braggwatch.services.sadp.live.pattern_model import load_pattern_model, warm_up_patterns
from braggwatch.services.sadp.live.pattern_recovery import end_unfinished
from braggwatch.services.sadp.live.pattern_store import PatternStore
from braggwatch.services.settings import PublisherSettings
from braggwatch.services.storage.result_store import ResultStore
from braggwatch.services.stream.codec import decode
from braggwatch.services.stream.stream_settings import StreamSettings
from support.patterns import QuickJudge, net, noisy, pattern_run


@pytest.fixture
def store(tmp_path: Path):
    with ResultStore(tmp_path / "results.sqlite", sinks=("zmq", "list")) as opened:
        yield opened


class Running:
    """A service for both kinds, its desk and its metrics."""

    def __init__(self, quick, address: str, store: ResultStore, *, model=None, sinks=(), prefix="raw") -> None:
        self.store = store
        self.metrics = Metrics()
        chosen = model or PatternModel(QuickJudge(), 0.9)
        patterns = PatternModality(
            PatternStore.of(store),
            store.epoch,
            lambda on_report: PatternCallback(chosen, on_report, AssemblySettings(grace_s=0.5)),
            metrics=self.metrics,
        )
        self.desk = patterns.desk

        settings = quick.make_settings(address)
        settings = settings.model_copy(update={"stream": settings.stream.model_copy(update={"prefix": prefix})})
        curves = quick.make_curves(store, metrics=self.metrics)
        self.service = quick.make_service(
            settings, store, modalities=[curves, patterns], sinks=sinks, metrics=self.metrics
        )

    def __enter__(self) -> Running:
        self.service.start()
        assert self.service.wait_ready(20.0)
        return self

    def __exit__(self, *exception) -> None:
        self.service.stop()

    def series(self, start: str) -> dict[str, float]:
        lines = self.metrics.exposition().decode().splitlines()
        return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if line.startswith(start))}


def facts(patterns: list[PatternResult]) -> list[dict[str, Any]]:
    """Records without what the clock and the run's name make of them."""
    return [p.model_dump(exclude={"judged_at", "latency_s", "run_uid", "run_started_at"}) for p in patterns]


class ListSink(Sink):
    """Keeps what it is given; fails as often as it is told to."""

    name = "list"

    def __init__(self, failures: int = 0) -> None:
        self.results, self.patterns, self.runs = [], [], []
        self.failures = failures

    def publish(self, result) -> None:
        self.results.append(result)

    def publish_pattern(self, result) -> None:
        if self.failures:
            self.failures -= 1
            raise SinkError("down")
        self.patterns.append(result)

    def publish_pattern_run(self, result, particles) -> None:
        self.runs.append((result, particles))

    def close(self) -> None:
        pass


def test_a_run_engines_patterns_at_thirty_a_second_are_all_judged(quick, shared_proxy, store, eventually) -> None:
    bluesky = pytest.importorskip("bluesky")
    from braggwatch.sim.beamline.diffraction_camera import DiffractionCamera, visit_zones
    from braggwatch.sim.beamline.microscope import CameraSpec, SimulatedMicroscope
    from braggwatch.sim.sadp.table import structures

    silver = next(row for row in structures() if row.space_group == 225 and row.formula in {"Ag", "Al", "Au"}).build()
    microscope = SimulatedMicroscope(silver, CameraSpec(size_px=128))
    zones = [(0, 0, 1), (0, 1, 1), (1, 1, 2)]
    camera = DiffractionCamera(microscope, frames=[frame for _, _, frame in microscope.expose_all(zones, 20)])
    publisher = ReadyPublisher(shared_proxy.in_address, prefix=b"raw", serializer=Serializer.MSGPACK)
    try:
        with Running(quick, shared_proxy.out_address, store) as running:
            publisher.wait_for_subscriber(20.0)
            engine = bluesky.RunEngine({}, context_managers=[])
            engine.subscribe(publisher)
            began = time.monotonic()
            (uid,) = engine(visit_zones(camera, zones, 20, period_s=1 / 30, md={"sample_name": "foil"}))
            assert time.monotonic() - began >= 59 / 30
            run = eventually(lambda: PatternStore.of(store).run(uid), 60.0, "the run's record")
            assert (run.ending, run.expected, run.judged, run.lost) == ("complete", 60, 60, 0)
            assert PatternStore.of(store).count(uid) == 60
            patterns = PatternStore.of(store).patterns(uid, "particle 1", 100)
            assert [pattern.seq_num for pattern in patterns] == list(range(1, 61))
            assert patterns[-1].crystal.visits == 3
            state = PatternStore.of(store).particle(uid, "particle 1")
            assert state.final
            assert state.zones == tuple(zones)
            assert state.last == patterns[-1]
            told = running.series("braggwatch_sadp_patterns_total")
            assert sum(told.values()) == 60
            assert running.series("braggwatch_sadp_pattern_latency_seconds_count") == {
                "braggwatch_sadp_pattern_latency_seconds_count": 60.0
            }
            assert running.series("braggwatch_sadp_patterns_lost_total")["braggwatch_sadp_patterns_lost_total"] == 0
            assert running.service.receiver_stats.lost == 0
            picture = running.desk.picture(uid, "particle 1")
            assert picture is not None
            assert picture.seq_num == 60
    finally:
        publisher.close()


def test_rocking_curves_are_judged_as_without_patterns_beside_them(
    quick, shared_proxy, make_publisher, make_run, store, eventually
) -> None:
    curves = [make_run(seed=seed, scan_id=seed) for seed in range(3)]
    patterns = [pattern_run([noisy(net(), n) for n in range(8)], start={"scan_id": 10 + k}) for k in range(3)]
    alone = []
    quick_only = quick.make_callback(lambda report: alone.append(report.result))
    for run in curves:
        for name, document in run:
            quick_only(name, document)
    publisher = make_publisher(shared_proxy)
    with Running(quick, shared_proxy.out_address, store) as running:
        # document by document, six runs at once
        for step in range(max(map(len, [*curves, *patterns]))):
            for run in [*curves, *patterns]:
                if step < len(run):
                    publisher(*run[step])
        eventually(lambda: all(store.get(run.uid) for run in curves), what="curves")
        eventually(lambda: all(PatternStore.of(store).run(run.uid) for run in patterns), what="patterns")
        beside = [store.get(run.uid) for run in curves]
        assert [result.verdict for result in beside] == [result.verdict for result in alone]
        assert [result.frames_received for result in beside] == [8, 8, 8]
        assert all(store.get(run.uid) is None for run in patterns)
        assert [PatternStore.of(store).run(run.uid).usable for run in patterns] == [8, 8, 8]
        assert running.service.receiver_stats.lost == 0


def test_both_kinds_in_one_run_even_under_one_data_key(quick, make_run) -> None:
    curve = make_run(seed=4)
    results, reports = [], []
    alone = []
    only = quick.make_callback(lambda report: alone.append(report.result))
    for name, document in curve:
        only(name, document)
    both = ModalityCallback(
        [
            quick.make_callback(lambda report: results.append(report.result)),
            PatternCallback(PatternModel(QuickJudge(), 0.9), reports.append),
        ]
    )
    # The patterns' stream has the very data key of the rocking curves' detector.
    beside = pattern_run([noisy(net(), n) for n in range(5)], name="tem", detector="det_image")
    (_, start), *rest, (_, stop) = curve
    uid = start["uid"]
    foreign = [(name, {**doc, "run_start": uid} if name == "descriptor" else doc) for name, doc in beside[1:-1]]
    both("start", start)
    for name, document in [*foreign[:3], *rest[:5], *foreign[3:], *rest[5:]]:
        both(name, document)
    both("stop", {**stop, "num_events": {**stop["num_events"], "tem": 5}})
    assert [result.verdict for result in results] == [result.verdict for result in alone]
    run = reports[-1].result
    assert (run.run_uid, run.expected, run.judged, run.usable, run.lost) == (uid, 5, 5, 5, 0)


def test_names_that_are_no_text_cost_no_record_of_a_pattern(store) -> None:
    desk = PatternDesk(PatternStore.of(store), ResultBroker[ParticleState](store.epoch))
    run = pattern_run(
        [noisy(net(), n) for n in range(2)],
        particles=["caf\udce9", "half \ud83d"],
        visits=["\udce9"] * 2,
        start={"sample_name": "caf\udce9"},
    )
    judge(desk, run)
    assert PatternStore.of(store).run(run.uid).judged == 2
    assert [state.particle for state in PatternStore.of(store).particles_of(run.uid)] == ["caf?", "half ?"]
    (pattern,) = PatternStore.of(store).patterns(run.uid, "caf?", 10)
    assert (pattern.visit, PatternStore.of(store).run(run.uid).sample) == ("?", "caf?")
    assert desk.picture(run.uid, "half ?") is not None


def test_a_run_of_patterns_alone_is_no_run_without_detector(quick) -> None:
    reports = []
    both = ModalityCallback(
        [
            quick.make_callback(lambda report: pytest.fail("no rocking curve was sent")),
            PatternCallback(PatternModel(QuickJudge(), 0.9), reports.append),
        ]
    )
    for pair in pattern_run([noisy(net(), n) for n in range(3)]):
        both(*pair)
    assert reports[-1].result.judged == 3
    assert (both.counters.ignored_runs, both.counters.without_detector) == (1, 0)


def test_a_replay_gives_the_same_records_through_the_same_path(
    quick, shared_proxy, make_publisher, store, tmp_path: Path, eventually
) -> None:
    frames = [noisy(net(), 0), np.zeros((128, 128), np.uint16), noisy(net(30.0), 1), noisy(net(), 2)]
    live = pattern_run(frames, particles=["a", "a", "b", "a"], visits=[1, 1, 1, 2], zones=["001", "001", "011", "111"])
    path = tmp_path / "session.bwrec"
    stop = threading.Event()
    publisher = make_publisher(shared_proxy)
    with Running(quick, shared_proxy.out_address, store):
        with RecordingWriter(path, source="test") as writer:
            recorder = Recorder(StreamSettings(address=shared_proxy.out_address, prefix="raw"), writer)
            recording = threading.Thread(target=lambda: recorder.record(stop, runs=1, connect_timeout_s=20.0))
            recording.start()
            # The recorder has to be subscribed before the run begins.
            time.sleep(1.0)
            for pair in live:
                publisher(*pair)
            eventually(lambda: PatternStore.of(store).run(live.uid), what="live run")
            recording.join(20.0)
        again = ReadyPublisher(shared_proxy.in_address, prefix=b"raw", serializer=Serializer.MSGPACK)
        again.wait_for_subscriber(20.0)
        report = replay(read_recording(path), again, ReplayOptions(new_uids=True))
        again.close()
        (uid,) = report.runs
        eventually(lambda: PatternStore.of(store).run(uid), what="replayed run")
    for particle in ("a", "b"):
        first = PatternStore.of(store).patterns(live.uid, particle, 10)
        assert len(first) > 0
        assert facts(first) == facts(PatternStore.of(store).patterns(uid, particle, 10))
    ignored = {"run_uid", "started_at", "ended_at"}
    assert PatternStore.of(store).run(uid).model_dump(exclude=ignored) == PatternStore.of(store).run(
        live.uid
    ).model_dump(exclude=ignored)


def test_feedback_comes_live_in_order_and_again_after_an_outage(
    quick, shared_proxy, make_publisher, store, eventually
) -> None:
    sink = ListSink(failures=1)
    run = pattern_run([noisy(net(), n) for n in range(6)], particles=list("ababab"))
    with Running(quick, shared_proxy.out_address, store, sinks=(sink,)):
        publisher = make_publisher(shared_proxy)
        for pair in run[:-1]:
            publisher(*pair)
        eventually(lambda: len(sink.patterns) == 6, what="patterns told before the run's end")
        assert sink.runs == []
        publisher(*run[-1])
        eventually(lambda: sink.runs, what="the run's end")
    assert [pattern.number for pattern in sink.patterns] == [1, 2, 3, 4, 5, 6]
    result, particles = sink.runs[0]
    assert result.run_uid == run.uid
    assert [state.particle for state in particles] == ["a", "b"]


def test_a_sink_goes_on_after_a_restart_where_it_was(store) -> None:
    desk = PatternDesk(PatternStore.of(store), ResultBroker(1))
    assert PatternStore.of(store).undelivered("list") == []
    judge(desk, pattern_run([net()] * 3))
    entries = PatternStore.of(store).undelivered("list")
    PatternStore.of(store).mark_delivered("list", entries[1].id)
    assert [entry.id for entry in PatternStore.of(store).undelivered("list")] == [e.id for e in entries[2:]]


def judge(desk: PatternDesk, documents) -> None:
    callback = PatternCallback(PatternModel(QuickJudge(), 0.9), desk.take)
    for name, document in documents:
        callback(name, document)
    desk.flush(force=True)


def test_the_derived_run_is_a_sound_one_that_nobody_judges_again(store) -> None:
    desk = PatternDesk(PatternStore.of(store), ResultBroker(1))
    raw = pattern_run([noisy(net(), 0), np.zeros((128, 128), np.uint16)], particles=["a", "b"])
    judge(desk, raw)
    patterns = [p for name in "ab" for p in PatternStore.of(store).patterns(raw.uid, name, 10)]
    documents: list[tuple[str, Any]] = [*opening(patterns[0]), *map(pattern_event, patterns)]
    documents += closing(PatternStore.of(store).run(raw.uid), PatternStore.of(store).particles_of(raw.uid))
    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)
    keys = {doc["uid"]: set(doc["data_keys"]) for name, doc in documents if name == "descriptor"}
    events = [doc for name, doc in documents if name == "event"]
    assert all(set(event["data"]) == keys[event["descriptor"]] for event in events)
    assert Counter(len(keys[event["descriptor"]]) for event in events) == {len(k): 2 for k in keys.values()}
    assert documents[0][1]["original_run_uid"] == raw.uid
    assert documents[-1][1]["num_events"] == {"primary": 2, "particles": 2}
    assert events[1]["data"]["set_aside"] == "blank"
    again = []
    callback = PatternCallback(PatternModel(QuickJudge(), 0.9), again.append)
    for name, document in documents:
        callback(name, document)
    assert again == []


def test_the_derived_run_reaches_a_subscriber_of_the_proxy(
    quick, shared_proxy, make_publisher, store, eventually
) -> None:
    settings = PublisherSettings(enabled=True, address=shared_proxy.in_address, prefix="verdicts")
    sink = DerivedRunPublisher(settings, store.epoch)
    publisher = make_publisher(shared_proxy)
    got: list[tuple[str, dict[str, Any]]] = []
    with (
        zmq.Context() as context,
        context.socket(zmq.SUB) as listener,
        Running(quick, shared_proxy.out_address, store, sinks=(sink,)),
    ):
        listener.linger = 0
        listener.subscribe(b"verdicts ")
        listener.subscribe(b"there ")
        listener.connect(shared_proxy.out_address)

        def subscribed() -> bool:
            publisher._socket.send(b"there x")
            return bool(listener.poll(20))

        eventually(subscribed, 20.0, "subscription")
        for pair in pattern_run([noisy(net(), n) for n in range(3)]):
            publisher(*pair)

        def ended() -> bool:
            while listener.poll(20):
                message = listener.recv()
                if message.startswith(b"verdicts "):
                    got.append(decode(b"verdicts", message))
            return any(name == "stop" for name, _ in got)

        eventually(ended, 20.0, "derived run")
    assert [name for name, _ in got] == [
        "start", "descriptor", "event", "event", "event", "descriptor", "event", "stop",
    ]  # fmt: skip
    assert [doc["data"]["patterns"] for name, doc in got if name == "event"] == [1, 2, 3, 3]


def test_a_disk_that_refuses_delays_records_and_loses_none(store) -> None:
    desk = PatternDesk(PatternStore.of(store), ResultBroker(1))
    run = pattern_run([noisy(net(), n) for n in range(4)])
    callback = PatternCallback(PatternModel(QuickJudge(), 0.9), desk.take)
    for pair in run[:3]:
        callback(*pair)
    store._database.execute("PRAGMA query_only = ON")
    for pair in run[3:]:
        callback(*pair)
    desk.flush(force=True)
    assert desk.pending > 0
    assert PatternStore.of(store).count(run.uid) < 4
    store._database.execute("PRAGMA query_only = OFF")
    desk.flush()
    assert desk.pending == 0
    assert PatternStore.of(store).count(run.uid) == 4
    assert PatternStore.of(store).particle(run.uid, "foil").final


def test_a_killed_service_ends_its_open_runs_when_it_is_back(tmp_path: Path) -> None:
    run, whole = pattern_run([noisy(net(), 0), np.zeros((128, 128), np.uint16)]), pattern_run([net()])
    with ResultStore(tmp_path / "killed.sqlite") as store:
        desk = PatternDesk(PatternStore.of(store), ResultBroker(1))
        judge(desk, [*whole, *run[:-1]])
        state = PatternStore.of(store).particle(run.uid, "foil")
        assert state is not None
        assert not state.final
    with ResultStore(tmp_path / "killed.sqlite") as store:
        assert end_unfinished(PatternStore.of(store)) == 1
        result = PatternStore.of(store).run(run.uid)
        assert result is not None
        assert (result.ending, result.judged, result.usable, result.set_aside) == ("timeout", 2, 1, {"blank": 1})
        state, other = PatternStore.of(store).particle(run.uid, "foil"), PatternStore.of(store).run(whole.uid)
        assert state is not None
        assert state.final
        assert other is not None
        assert other.ending == "complete"
        assert end_unfinished(PatternStore.of(store)) == 0


def test_without_a_bundle_the_reason_says_what_to_do_and_curves_go_on(
    quick, shared_proxy, make_publisher, make_run, store, tmp_path: Path, eventually
) -> None:
    model = load_pattern_model("sadp", tmp_path, 1, "auto")
    assert isinstance(model, NoPatternModel)
    assert "braggwatch sadp train" in model.reason
    assert "screening.sadp_bundle" in model.reason
    # Nobody asked for it: a beamline without electrons lacks nothing.
    assert warm_up_patterns(model, "sadp") is None
    asked = load_pattern_model("sadp-cubic/9.9.9", tmp_path, 1, "auto")
    assert "9.9.9" in (warm_up_patterns(asked, "sadp-cubic/9.9.9") or "")
    curve, patterns = make_run(seed=1), pattern_run([net()] * 2)
    with Running(quick, shared_proxy.out_address, store, model=model) as running:
        publisher = make_publisher(shared_proxy)
        for documents in (patterns[:2], curve, patterns[2:]):
            for pair in documents:
                publisher(*pair)
        eventually(lambda: store.get(curve.uid), what="curve")
        run = eventually(lambda: PatternStore.of(store).run(patterns.uid), what="patterns")
        assert store.get(curve.uid).verdict.label is not None
        assert run.set_aside == {SetAside.NO_MODEL: 2}
        told = running.series("braggwatch_sadp_patterns_set_aside_total")
        assert told['braggwatch_sadp_patterns_set_aside_total{reason="no_model"}'] == 2


def test_a_bundle_of_another_system_is_no_model(tmp_path: Path) -> None:
    model = load_pattern_model("production", None, 1, "auto")
    assert isinstance(model, NoPatternModel)
    assert "electron diffraction" in model.reason
    assert warm_up_patterns(model, "sadp") is not None


def test_a_folder_is_published_into_the_service_by_the_command(
    quick, shared_proxy, store, tmp_path: Path, eventually
) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    for n in range(3):
        tifffile.imwrite(folder / f"grain7_{n}.tif", noisy(net(), n))
    command = ["sadp", "watch", str(folder), "--to", shared_proxy.in_address, "--prefix", "raw", "--settle", "0.1"]
    command += ["--name-pattern", r"(?P<particle>grain\d+)_(?P<visit>\d+)", "--inv-nm-per-px", "0.1", "--json"]
    with Running(quick, shared_proxy.out_address, store):
        result = CliRunner().invoke(app, [*command, "--once"])
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert (report["files"], report["frames"], report["given_up"]) == (3, 3, {})
        (uid,) = report["runs"]
        eventually(lambda: PatternStore.of(store).run(uid), what="the run's record")
        assert PatternStore.of(store).particle(uid, "grain7").crystal.visits == 3
        again = CliRunner().invoke(app, [*command, "--once"])
        assert json.loads(again.stdout)["runs"] == []


def test_a_wrong_name_pattern_is_a_clear_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["sadp", "watch", str(tmp_path), "--name-pattern", "(?P<grain>x)", "--once"])
    assert result.exit_code == 3
    assert "particle, visit or zone" in result.output
