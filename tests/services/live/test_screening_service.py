"""The service starts, says when it is ready, judges, tells, and stops without losing what it was given."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import threading
from pathlib import Path

import pytest

from braggwatch.callbacks.cxdp.preprocess.preprocessing import PreprocessingSettings
from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.models.verdict import Outcome, Verdict
from braggwatch.services.cxdp.live.derived_run import derived_run
from braggwatch.services.cxdp.preprocessing import preprocessing_settings
from braggwatch.services.live.health import HealthState
from braggwatch.services.live.result_broker import ResultBroker, SlowClientError
from braggwatch.services.live.service_metrics import NoMetrics, ServiceMetrics
from braggwatch.services.live.sink import Sink
from braggwatch.services.live.supervision import Notifier
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.settings import PreprocessingChoices, Settings, load_settings
from braggwatch.services.settings_error import SettingsError
from braggwatch.services.storage.result_store import ResultStore
from braggwatch.sim.geometry import load_preset


class RecordingSink(Sink):
    name = "recording"

    def __init__(self) -> None:
        self.got = []

    def publish(self, result) -> None:
        self.got.append(result)

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path):
    with ResultStore(tmp_path / "s.sqlite", sinks=("recording",)) as opened:
        yield opened


def test_a_run_is_stored_told_and_measured(quick, shared_proxy, make_publisher, make_run, store, metrics, eventually):
    sink = RecordingSink()
    service = quick.make_service(quick.make_settings(shared_proxy.out_address), store, sinks=(sink,), metrics=metrics)
    service.start()
    try:
        assert service.wait_ready(10.0)
        run = make_run(scan_id=5)
        run.send(make_publisher(shared_proxy))
        result = store.wait(run.uid, 10.0)
        assert result.verdict.outcome is Outcome.CLASSIFIED
        assert (result.scan_id, result.frames_expected, result.frames_received) == (5, 8, 8)
        assert "queue" in result.stage_seconds
        assert result.latency_s >= result.stage_seconds["queue"]
        eventually(lambda: sink.got == [result], what="sink told")
        eventually(lambda: metrics.counts.get(("run_finished", None)), what="metrics told")
        assert metrics.counts["document_received", "event"] >= 8
    finally:
        service.stop()
    assert not service.alive


def test_what_is_queued_at_the_stop_is_judged(quick, shared_proxy, make_publisher, make_run, store, eventually):
    service = quick.make_service(quick.make_settings(shared_proxy.out_address), store)
    service.start()
    assert service.wait_ready(10.0)
    publisher = make_publisher(shared_proxy)
    runs = [make_run(seed=seed) for seed in range(5)]
    for run in runs:
        run.send(publisher)
    open_run = make_run(seed=9)
    open_run.without("stop").send(publisher)
    wanted = sum(map(len, runs)) + len(open_run) - 1
    eventually(lambda: service.receiver_stats.received >= wanted, what="all received")
    service.stop()
    assert all(store.get(run.uid).verdict.outcome is Outcome.CLASSIFIED for run in runs)
    assert store.get(open_run.uid).verdict.label is None
    assert service.health.report().state is HealthState.STOPPING


def test_a_warm_up_that_fails_is_a_reason_not_to_be_ready(quick, shared_proxy, store, eventually):
    def fail() -> None:
        raise RuntimeError("no kernel image")

    curves = quick.make_curves(store, prepare=fail)
    service = quick.make_service(quick.make_settings(shared_proxy.out_address), store, modalities=[curves])
    service.start()
    try:
        eventually(lambda: any("no kernel image" in why for why in service.health.report().reasons), what="reason")
        assert not service.health.report().ready
    finally:
        service.stop()


def test_a_model_that_runs_on_less_than_there_is_is_ready_and_degraded(quick, shared_proxy, store, eventually):
    curves = quick.make_curves(store, prepare=lambda: ["a GPU is here, but onnxruntime-cpu runs the network"])
    service = quick.make_service(quick.make_settings(shared_proxy.out_address), store, modalities=[curves])
    service.start()
    try:
        eventually(lambda: service.health.report().ready, what="ready")
        report = service.health.report()
        assert report.state is HealthState.DEGRADED
        assert any("a GPU is here" in why for why in report.reasons)
    finally:
        service.stop()


def test_without_a_proxy_it_is_not_ready_and_says_why(quick, store, eventually):
    service = quick.make_service(quick.make_settings("tcp://127.0.0.1:9"), store)
    service.start()
    try:
        eventually(lambda: any("connected" in why for why in service.health.report().reasons), what="reason")
        assert not service.wait_ready(0.1)
    finally:
        service.stop()


def test_runs_of_another_detector_are_counted_and_told_of(
    quick, shared_proxy, make_publisher, make_run, store, eventually
):
    metrics = Metrics()
    service = quick.make_service(quick.make_settings(shared_proxy.out_address), store, metrics=metrics)
    service.start()
    try:
        assert service.wait_ready(10.0)
        publisher = make_publisher(shared_proxy)
        other = make_run()
        for name, document in other:
            for part in ("data_keys", "data", "timestamps"):
                if "det_image" in document.get(part, {}):
                    document[part]["eiger_image"] = document[part].pop("det_image")
            publisher(name, document)
        eventually(lambda: service.health.report().reasons, what="told")
        (reason,) = service.health.report().reasons
        assert "'det_image'" in reason
        assert "'eiger_image'" in reason
        assert other.uid in reason
        assert service.health.report().state is HealthState.READY
        assert metrics.registry.get_sample_value("braggwatch_runs_without_detector_total") == 1
        assert metrics.registry.get_sample_value("braggwatch_runs_unrecorded_total", {"cause": "no_detector"}) == 1
        assert store.get(other.uid) is None
        run = make_run(seed=1)
        run.send(publisher)
        assert store.wait(run.uid, 10.0) is not None
        eventually(lambda: not service.health.report().reasons, what="taken back")
    finally:
        service.stop()


def test_names_that_are_no_text_cost_no_record(quick, shared_proxy, make_publisher, make_run, store, eventually):
    sink = RecordingSink()
    service = quick.make_service(quick.make_settings(shared_proxy.out_address), store, sinks=(sink,))
    service.start()
    try:
        assert service.wait_ready(10.0)
        publisher = make_publisher(shared_proxy)
        names = {"café": "café", "caf\udce9": "caf?", "Au \ud83d": "Au ?"}
        for seed, (name, shown) in enumerate(names.items()):
            run = make_run(seed=seed, sample_name=name)
            run.send(publisher)
            record = store.wait(run.uid, 10.0)
            assert record.verdict.outcome is Outcome.CLASSIFIED
            assert record.sample == shown
            eventually(lambda record=record: record in sink.got, what="feedback told")
            assert json.dumps(list(derived_run(record, 1)), ensure_ascii=False).encode()
        aborted = make_run(seed=9)
        aborted[-1][1].update(exit_status="abort", reason="no file caf\udce9")
        aborted.send(publisher)
        assert "no file caf?" in store.wait(aborted.uid, 10.0).verdict.reason
    finally:
        service.stop()


@pytest.mark.parametrize("chore", ["expire", "counters", "beat"])
def test_a_chore_that_fails_ends_neither_the_service_nor_its_runs(
    chore, quick, shared_proxy, make_publisher, make_run, store, metrics, eventually
):
    broken = threading.Event()

    def fail_while_broken(name: str) -> None:
        if broken.is_set() and name == chore:
            raise RuntimeError("dictionary changed size during iteration")

    class Fragile:
        def __init__(self, on_report) -> None:
            self._callback = quick.make_callback(on_report)

        def __call__(self, name, doc) -> None:
            self._callback(name, doc)

        def __getattr__(self, name):
            fail_while_broken(name)
            return getattr(self._callback, name)

    service = quick.make_service(
        quick.make_settings(shared_proxy.out_address),
        store,
        modalities=[quick.make_curves(store, lambda on_report, *_: Fragile(on_report), metrics=metrics)],
        metrics=metrics,
        on_beat=lambda: fail_while_broken("beat"),
    )
    service.start()
    try:
        assert service.wait_ready(10.0)
        publisher = make_publisher(shared_proxy)
        across, later = make_run(seed=1), make_run(seed=2)
        across.without("stop").send(publisher)
        broken.set()
        eventually(lambda: service.health.report().state is HealthState.DEGRADED, what="degraded")
        assert any("dictionary changed size" in why for why in service.health.report().reasons)
        step = {"expire": "runs", "counters": "metrics"}.get(chore, chore)
        eventually(lambda: metrics.counts.get(("housekeeping_failed", step), 0) > 1, what="counted at each turn")
        publisher(*across[-1])
        later.send(publisher)
        assert store.wait(across.uid, 10.0).verdict.outcome is Outcome.CLASSIFIED
        assert store.wait(later.uid, 10.0).verdict.outcome is Outcome.CLASSIFIED
        broken.clear()
        eventually(lambda: service.health.report().state is HealthState.READY, what="ready again")
        assert service.alive
    finally:
        service.stop()


def test_row_26_a_disk_that_refuses_degrades_and_recovers(
    quick, shared_proxy, make_publisher, make_run, store, metrics, eventually
):
    sink = RecordingSink()
    service = quick.make_service(quick.make_settings(shared_proxy.out_address), store, sinks=(sink,), metrics=metrics)
    service.start()
    try:
        assert service.wait_ready(10.0)
        store._database.execute("PRAGMA query_only = ON")
        run = make_run()
        run.send(make_publisher(shared_proxy))
        eventually(lambda: [result.run_uid for result in sink.got] == [run.uid], what="feedback goes on")
        eventually(lambda: service.health.report().state is HealthState.DEGRADED, what="degraded")
        store._database.execute("PRAGMA query_only = OFF")
        eventually(lambda: store.id_of(run.uid), what="record written")
        eventually(lambda: service.health.report().state is HealthState.READY, what="ready again")
        assert len(sink.got) == 1
    finally:
        service.stop()


@pytest.mark.parametrize("name", [name for name in vars(ServiceMetrics) if not name.startswith("_")])
def test_without_an_exporter_whatever_is_told_is_taken_and_forgotten(name):
    silent = NoMetrics()
    arguments = [object()] * len(inspect.signature(getattr(silent, name)).parameters)
    assert getattr(silent, name)(*arguments) is None
    assert vars(silent) == {}


@pytest.fixture
def make_result(quick):
    """Make a result without a class."""

    def make(run_uid: str) -> ScreeningResult:
        return ScreeningResult(
            run_uid=run_uid,
            scan_id=None,
            revision=1,
            verdict=Verdict.without_class(Outcome.TIMEOUT, "silence"),
            frames_expected=None,
            frames_received=0,
            quality=None,
            started_at=1.0,
            finished_at=2.0,
            latency_s=0.0,
        )

    return make


async def first(events, count: int):
    """Take some events and let go."""
    taken = []
    try:
        async for event in events:
            taken.append(event)
            if len(taken) == count:
                break
    finally:
        await events.aclose()
    return taken


async def test_a_client_resumes_where_it_was(make_result):
    broker = ResultBroker(epoch=3)
    for run_uid in "abc":
        broker.publish(make_result(run_uid))
    missed = await first(broker.subscribe("3-1"), 2)
    assert [event.result.run_uid for event in missed] == ["b", "c"]
    assert [event.id for event in missed] == ["3-2", "3-3"]
    assert broker.clients == 0


@pytest.mark.parametrize("last", ["2-1", "3-99", "3-", "x", "3-\u0663", "3-" + "9" * 5000])
async def test_a_client_from_another_life_is_told_to_reload(make_result, last):
    broker = ResultBroker(epoch=3)
    broker.publish(make_result("a"))
    (event,) = await first(broker.subscribe(last), 1)
    assert event.is_reset


async def test_a_client_that_does_not_read_is_dropped_and_no_other(make_result):
    broker = ResultBroker(epoch=1, queue_size=2)
    slow, quick_client = broker.subscribe(), broker.subscribe()
    waiting = [asyncio.create_task(anext(slow)), asyncio.create_task(anext(quick_client))]
    await asyncio.sleep(0)
    broker.publish(make_result("a"))
    await asyncio.gather(*waiting)
    for run_uid in "bcde":
        broker.publish(make_result(run_uid))
        event = await anext(quick_client)
        assert event.result is not None
        assert event.result.run_uid == run_uid
    with pytest.raises(SlowClientError):
        await first(slow, 10)
    assert broker.dropped_clients == 1
    assert broker.clients == 1
    broker.close()
    with pytest.raises(StopAsyncIteration):
        await anext(quick_client)


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "site.toml"
    path.write_text('[stream]\naddress = "beamline:5578"\nprefix = "raw"\n[assembly]\ngrace_s = 3.0\n')
    monkeypatch.setenv("BRAGGWATCH_STREAM__ADDRESS", "tcp://elsewhere:1")
    settings = load_settings(path)
    assert settings.stream.address == "tcp://elsewhere:1"
    assert settings.stream.prefix == "raw"
    assert settings.assembly.grace_s == 3.0


def test_an_address_without_transport_is_tcp(tmp_path: Path):
    path = tmp_path / "site.toml"
    path.write_text('[stream]\naddress = "beamline:5578"\n')
    assert load_settings(path).stream.address == "tcp://beamline:5578"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[stream]\nadress = 'x'\n", "stream.adress"),
        ("[stream]\nprefix = 'a b'\n[queue]\nmax_documents = 0\n", "2 wrong setting"),
        ("[page]\nhost = '0.0.0.0'\n", "read_token"),
        ("[stream\n", "not TOML"),
        ("[feedback.publisher]\npayload_format = 'auto'\n", "payload_format must be"),
    ],
)
def test_a_bad_file_is_one_readable_error(tmp_path: Path, text, message):
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings(path)


def test_an_absent_file_is_a_readable_error(tmp_path: Path):
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(tmp_path / "absent.toml")


def test_every_setting_is_described():
    schema = Settings.model_json_schema()
    undescribed = [
        f"{owner}.{name}"
        for owner, model in [("settings", schema), *schema["$defs"].items()]
        for name, field in model.get("properties", {}).items()
        if "description" not in field and "$ref" not in field and owner != "RegionOfInterest"
    ]
    assert undescribed == []


def test_preprocessing_choices_are_the_preprocessings_own(tmp_path: Path):
    ours, theirs = PreprocessingChoices.model_fields, PreprocessingSettings.model_fields
    # where it runs is no knob of what it computes
    knobs = [name for name in ours if not name.endswith("_path") and name != "device"]
    assert {name: ours[name].default for name in knobs} == {name: theirs[name].default for name in knobs}
    preset = load_preset("34idc")
    assert preprocessing_settings(PreprocessingChoices(), preset).saturation_counts == preset.saturation_counts
    with pytest.raises(SettingsError, match="absent"):
        preprocessing_settings(PreprocessingChoices(mask_path=tmp_path / "absent.npy"), preset)


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "5000000")
        notifier = Notifier.from_environment()
        notifier.ready("judging")
        notifier.alive()
        notifier.stopping()
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1\nSTATUS=judging", b"WATCHDOG=1", b"STOPPING=1"]
    assert notifier.watchdog_s == 5.0
    notifier.alive()


def test_without_a_service_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch):
    sockets: list[tuple[object, ...]] = []
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(socket, "socket", lambda *kind: sockets.append(kind))
    notifier = Notifier.from_environment()
    notifier.ready()
    notifier.alive()
    assert sockets == []
