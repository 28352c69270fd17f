"""Verdicts as process variables, read by a real pvAccess client."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from braggwatch.callbacks.cxdp.records import BurgersVisibility, ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.cxdp.run.provisional import ProvisionalScreening
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.composition import compose_service
from braggwatch.services.cxdp.live.modality import CurveModality
from braggwatch.services.doctor import examine
from braggwatch.services.feedback.pvs import VerdictPvs
from braggwatch.services.settings import FeedbackSettings, PvSettings, Settings, load_settings
from braggwatch.services.settings_error import SettingsError
from braggwatch.services.storage.result_store import ResultStore

pytest.importorskip("p4p", reason="p4p is not installed: pip install 'braggwatch[epics]'")

CLASSES = ("perfect", "screw", "edge")
MODEL = ModelIdentity(name="quick", version="1.0.0", sha256="ab" * 32, runtime="test")
LOOPBACK = PvSettings(enabled=True, prefix="TEST:", port=0, search_port=0)
NO_ALARM, MINOR, MAJOR, INVALID = range(4)
FINISHED = 1_790_000_000.25


def a_verdict(
    label: str | None = "screw", *, ood: float = 1.0, outcome: Outcome = Outcome.CLASSIFIED, **more: object
) -> Verdict:
    probabilities = {name: 0.9 if name == label else 0.05 for name in CLASSES}
    given = {"label": label, "probabilities": probabilities, "confidence": 0.9, "model": MODEL} | more
    return Verdict.model_validate({"outcome": outcome, "ood_score": ood, "ood_threshold": 2.0} | given)


def a_result(verdict: Verdict | None = None, run_uid: str = "run-1", **more: object) -> ScreeningResult:
    given = {
        "run_uid": run_uid,
        "scan_id": 54,
        "revision": 1,
        "verdict": verdict or a_verdict(),
        "frames_expected": 80,
        "frames_received": 80,
        "quality": None,
        "sample": "particle 7",
        "started_at": FINISHED - 60,
        "finished_at": FINISHED,
        "latency_s": 0.1,
    }
    return ScreeningResult.model_validate(given | more)


def a_provisional(run_uid: str = "run-1", label: str = "edge") -> ProvisionalVerdict:
    return ProvisionalVerdict(
        run_uid=run_uid,
        scan_id=55,
        verdict=a_verdict(label),
        frames_expected=80,
        frames_received=60,
        started_at=FINISHED - 60,
        made_at=FINISHED,
        seconds=0.1,
    )


class Client:
    """A p4p client that knows where one sink serves."""

    def __init__(self, sink: VerdictPvs, prefix: str = "TEST:") -> None:
        from p4p.client.thread import Context

        self.context = Context("pva", conf=sink.client_configuration, useenv=False)
        self._prefix = prefix

    def get(self, name: str) -> Any:
        return self.context.get(self._prefix + name, timeout=10.0)

    def all(self, *names: str) -> dict[str, Any]:
        values = self.context.get([self._prefix + name for name in names], timeout=10.0)
        assert values is not None
        return dict(zip(names, values, strict=True))

    def put(self, name: str, value) -> None:
        self.context.put(self._prefix + name, value, timeout=10.0)

    @contextlib.contextmanager
    def monitor(self, name: str):
        arrived: queue.Queue[Any] = queue.Queue()
        subscription = self.context.monitor(self._prefix + name, arrived.put)
        try:
            yield arrived
        finally:
            subscription.close()


@pytest.fixture
def sink():
    with contextlib.closing(VerdictPvs(LOOPBACK, 7, CLASSES)) as opened:
        yield opened


@pytest.fixture
def client(sink):
    made = Client(sink)
    with made.context:
        yield made


def test_before_the_first_result_all_is_there_and_undefined(client) -> None:
    values = client.all("RUN_UID", "VERDICT", "LABEL", "CONFIDENCE", "PROBABILITY:SCREW", "SCAN_ID", "OOD")
    assert all(value.severity == INVALID for value in values.values())
    assert str(values["VERDICT"]) == "undefined"
    assert (values["RUN_UID"], values["LABEL"], values["SCAN_ID"]) == ("", "", -1)
    assert math.isnan(values["CONFIDENCE"])
    assert values["VERDICT"].raw["alarm.message"] == "no result since the service started"
    count, epoch = client.get("COUNT"), client.get("EPOCH")
    assert (count, count.severity) == (0, NO_ALARM)
    assert (epoch, epoch.severity) == (7, NO_ALARM)


def test_the_choices_are_the_classes_and_every_outcome_without_one(client) -> None:
    choices = list(client.get("VERDICT").raw["value.choices"])
    assert choices[:4] == ["undefined", *CLASSES]
    assert set(choices[4:]) == {outcome.value for outcome in Outcome} - {"classified"}
    assert list(client.get("SO_FAR:VERDICT").raw["value.choices"]) == choices


def test_a_class_comes_with_all_that_it_rests_on(sink, client) -> None:
    burgers = BurgersVisibility(
        hkl=(1, -1, 1), origin="start:hkl", seen=((1, -1, 0),), blind=((1, 1, 0),), short="s", statement="long"
    )
    sink.publish(a_result(burgers=burgers))
    assert {name: client.get(name) for name in ("RUN_UID", "SAMPLE", "LABEL", "MODEL_ID", "MODEL_SHA256", "HKL")} == {
        "RUN_UID": "run-1",
        "SAMPLE": "particle 7",
        "LABEL": "screw",
        "MODEL_ID": "quick/1.0.0",
        "MODEL_SHA256": "ab" * 32,
        "HKL": "(1 -1 1)",
    }
    whole = ("SCAN_ID", "REVISION", "FRAMES_EXPECTED", "FRAMES_RECEIVED", "BLIND_DIRECTIONS", "COUNT")
    assert [client.get(name) for name in whole] == [54, 1, 80, 80, 1, 1]
    numbers = ("PROBABILITY:PERFECT", "PROBABILITY:SCREW", "PROBABILITY:EDGE", "CONFIDENCE", "OOD", "COMPLETENESS")
    assert [client.get(name) for name in numbers] == pytest.approx([0.05, 0.9, 0.05, 0.9, 0.5, 1.0])
    verdict = client.get("VERDICT")
    assert (str(verdict), verdict.severity, verdict.timestamp) == ("screw", NO_ALARM, FINISHED)
    assert client.get("REASON") == ""
    assert client.get("IN_WORDS") == "screw"
    # one set: the same tag and time throughout
    names = ("RUN_UID", "COMPLETENESS", "MODEL_ID", "OOD", "VERDICT", "COUNT")
    assert {client.get(name).raw["timeStamp.userTag"] for name in names} == {1}
    assert {client.get(name).timestamp for name in names} == {FINISHED}


def test_what_is_no_class_says_why_and_is_an_alarm(sink, client) -> None:
    sink.publish(a_result())
    reason = "no angle for 12 frames"
    sink.publish(a_result(Verdict.without_class(Outcome.INVALID, reason), "run-2", scan_id=None, sample=None))
    verdict = client.get("VERDICT")
    assert (str(verdict), verdict.severity, verdict.raw["alarm.message"]) == ("invalid", MINOR, reason)
    assert client.get("REASON") == reason
    assert client.get("LABEL") == ""
    unknown = client.all("SCAN_ID", "SAMPLE", "MODEL_ID", "CONFIDENCE", "PROBABILITY:SCREW", "OOD", "BLIND_DIRECTIONS")
    assert {value.severity for value in unknown.values()} == {INVALID}
    assert math.isnan(unknown["PROBABILITY:SCREW"])
    sink.publish(a_result(Verdict.without_class(Outcome.ERROR, "it broke"), "run-3"))
    assert (str(client.get("VERDICT")), client.get("VERDICT").severity) == ("error", MAJOR)
    # and back: an alarm does not stay
    sink.publish(a_result(run_uid="run-4"))
    verdict, scan_id = client.get("VERDICT"), client.get("SCAN_ID")
    assert (str(verdict), verdict.severity, verdict.raw["alarm.message"]) == ("screw", NO_ALARM, "")
    assert (scan_id, scan_id.severity) == (54, NO_ALARM)


def test_a_partial_run_shows_its_class_as_text_only(sink, client) -> None:
    sink.publish(a_result(a_verdict(outcome=Outcome.PARTIAL, reason="60 of 80 frames"), frames_received=60))
    assert (str(client.get("VERDICT")), client.get("LABEL")) == ("partial", "screw")
    completeness = client.get("COMPLETENESS")
    assert (completeness, completeness.severity) == (0.75, MINOR)


def test_no_class_without_completeness_or_of_another_model(sink, client) -> None:
    sink.publish(a_result(frames_expected=None))
    verdict = client.get("VERDICT")
    assert (str(verdict), verdict.severity, client.get("LABEL")) == ("undefined", INVALID, "")
    assert "completeness" in verdict.raw["alarm.message"]
    assert client.get("IN_WORDS") == "undefined"
    sink.publish(a_result(a_verdict("twin"), "run-2"))
    verdict = client.get("VERDICT")
    assert (str(verdict), verdict.severity, client.get("LABEL")) == ("undefined", INVALID, "twin")


@pytest.mark.parametrize(
    ("score", "severity"), [(1.99, NO_ALARM), (2.0, NO_ALARM), (2.1, MINOR), (3.9, MINOR), (4.0, MAJOR), (50.0, MAJOR)]
)
def test_the_distance_from_the_training_data_alarms(sink, client, score: float, severity: int) -> None:
    outcome = Outcome.CLASSIFIED if score <= 2.0 else Outcome.OUT_OF_DISTRIBUTION
    more: dict[str, Any] = {} if score <= 2.0 else {"label": None, "reason": "unlike the training data"}
    sink.publish(a_result(a_verdict(ood=score, outcome=outcome, **more)))
    ood = client.get("OOD")
    assert (ood, ood.severity) == (pytest.approx(score / 2), severity)
    assert (ood.raw["valueAlarm.highWarningLimit"], ood.raw["valueAlarm.highAlarmLimit"]) == (1.0, 2.0)


def test_a_foreign_look_alarms_below_the_limit_too(sink, client) -> None:
    verdict = a_verdict(ood=0.5, outcome=Outcome.OUT_OF_DISTRIBUTION, label=None, reason="looks like something else")
    sink.publish(a_result(verdict))
    assert (client.get("OOD").severity, client.get("VERDICT").severity) == (MINOR, MINOR)


def test_who_watches_the_count_reads_one_set(sink, client) -> None:
    names = ("RUN_UID", "SCAN_ID", "LABEL", "VERDICT", "COMPLETENESS", "MODEL_ID", "REASON")
    sets = 0
    with client.monitor("COUNT") as counts:
        assert counts.get(timeout=10.0) == 0
        publisher = threading.Thread(target=lambda: [publish_numbered(sink, number) for number in range(1, 51)])
        publisher.start()
        count = 0
        while count < 50:
            count = counts.get(timeout=10.0)
            values = client.all(*names)
            tags = {value.raw["timeStamp.userTag"] for value in values.values()}
            # what was counted is there; while the next ones come, the tags tell a mixture
            assert min(tags) >= count
            if len(tags) == 1:
                sets += 1
                assert_numbered(values, tags.pop())
        publisher.join()
    assert sets
    assert_numbered(client.all(*names), 50)


def publish_numbered(sink: VerdictPvs, number: int) -> None:
    verdict = Verdict.without_class(Outcome.INVALID, f"reason {number}") if number % 3 == 0 else a_verdict("edge")
    sink.publish(a_result(verdict, f"run-{number}", scan_id=number))
    time.sleep(0.001)


def assert_numbered(values: dict[str, Any], number: int) -> None:
    assert (values["RUN_UID"], values["SCAN_ID"]) == (f"run-{number}", number)
    named = "" if number % 3 == 0 else "edge"
    assert (values["LABEL"], str(values["VERDICT"])) == (named, named or "invalid")
    assert values["REASON"] == ("" if named else f"reason {number}")
    assert (values["COMPLETENESS"].severity, values["MODEL_ID"]) == (NO_ALARM, "quick/1.0.0" if named else "")


def test_a_class_is_never_seen_without_what_it_rests_on(sink, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, Any] = {}
    post = sink._server.post

    def watched(name, reading, at, tag=0):
        post(name, reading, at, tag)
        shown[name] = reading
        if shown.get("LABEL") and shown["LABEL"].value:
            assert shown["COMPLETENESS"].severity < INVALID
            assert shown["MODEL_ID"].severity < INVALID
        if name == "COUNT":
            assert len({id(one) for one in shown.values()}) == len(shown)

    monkeypatch.setattr(sink._server, "post", watched)
    for number in range(1, 10):
        no_frames = {"frames_expected": None, "frames_received": 0} if number % 3 == 0 else {}
        verdict = Verdict.without_class(Outcome.INVALID, "nothing came") if no_frames else a_verdict()
        sink.publish(a_result(verdict, f"run-{number}", **no_frames))
    assert shown["COUNT"].value == 9


def test_a_repeat_means_nothing_new_and_a_revision_does(sink, client) -> None:
    result = a_result()
    sink.publish(result)
    sink.publish(a_result(run_uid="run-2"))
    sink.publish(result)
    assert (client.get("COUNT"), client.get("RUN_UID")) == (2, "run-2")
    sink.publish(a_result(revision=2))
    assert (client.get("COUNT"), client.get("RUN_UID"), client.get("REVISION")) == (3, "run-1", 2)


def test_clients_can_not_write(sink, client) -> None:
    from p4p.client.thread import RemoteError

    sink.publish(a_result())
    for name, value in (("RUN_UID", "mine"), ("VERDICT", 1), ("COUNT", 0), ("OOD", 0.0), ("SO_FAR:VERDICT", 1)):
        with pytest.raises(RemoteError, match="not supported"):
            client.put(name, value)
    assert (client.get("RUN_UID"), str(client.get("VERDICT")), client.get("COUNT")) == ("run-1", "screw", 1)


def test_the_heart_beats_while_the_loop_turns(sink, client) -> None:
    with client.monitor("HEARTBEAT") as beats:
        assert beats.get(timeout=10.0).severity == INVALID
        for wanted in (1, 2):
            sink.beat()
            assert beats.get(timeout=10.0) == wanted


def test_the_word_so_far_is_shown_and_goes_when_the_record_comes(sink, client) -> None:
    with client.monitor("SO_FAR:VERDICT") as words:
        assert str(words.get(timeout=10.0)) == "undefined"
        sink.provisional(a_provisional())
        assert str(words.get(timeout=10.0)) == "edge"
        assert client.get("SO_FAR:RUN_UID") == "run-1"
        assert (client.get("SO_FAR:COMPLETENESS"), client.get("SO_FAR:CONFIDENCE")) == (0.75, pytest.approx(0.9))
        assert client.get("SO_FAR:MODEL_ID") == "quick/1.0.0"
        # another run's record leaves it
        sink.publish(a_result(run_uid="run-0"))
        assert client.get("SO_FAR:RUN_UID") == "run-1"
        sink.publish(a_result(run_uid="run-1"))
        gone = words.get(timeout=10.0)
        assert (str(gone), gone.severity) == ("undefined", INVALID)
    assert str(client.get("VERDICT")) == "screw"


STUCK_CLIENT = """
import os
import sys
from p4p.client.thread import Context
with Context("pva") as context:
    for name in sys.argv[1:]:
        context.monitor(name, lambda value: os.write(1, b"got\\n"))
    sys.stdin.read()
"""


def test_a_client_that_stands_still_holds_up_nobody(sink, client) -> None:
    names = ["TEST:REASON", "TEST:COUNT", "TEST:VERDICT"]
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK_CLIENT, *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | sink.client_configuration,
    )
    try:
        for _ in names:
            assert process.stdout is not None
            assert process.stdout.readline() == b"got\n"
        # Connected before: a process that stands still may swallow others' searches on loopback, where UDP goes to one.
        assert client.all("COUNT", "REASON")["COUNT"] == 0
        process.send_signal(signal.SIGSTOP)
        for number in range(1000):
            verdict = Verdict.without_class(Outcome.INVALID, f"{number} " + 20_000 * "x")
            sink.publish(a_result(verdict, f"run-{number}"))
        assert client.get("COUNT") == 1000
        assert client.get("REASON").startswith("999 ")
    finally:
        process.kill()
        process.communicate()


def test_text_and_numbers_of_every_kind_are_taken(sink, client) -> None:
    sink.publish(a_result(sample="Pt \ud800 particle", scan_id=2**70))
    scan_id = client.get("SCAN_ID")
    assert (scan_id, scan_id.severity) == (-1, INVALID)
    assert client.get("SAMPLE") == "Pt ? particle"


def test_a_restart_shows_by_the_epoch(sink, client) -> None:
    sink.publish(a_result())
    with contextlib.closing(VerdictPvs(LOOPBACK, 8, CLASSES)) as again:
        later = Client(again)
        with later.context:
            assert (later.get("EPOCH"), later.get("COUNT"), str(later.get("VERDICT"))) == (8, 0, "undefined")


def test_without_p4p_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "p4p.server", None)
    with pytest.raises(SettingsError, match=r"p4p is not installed: pip install 'braggwatch\[epics\]'"):
        VerdictPvs(LOOPBACK, 1, CLASSES)


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(SettingsError, match=r"203\.0\.113\.1"):
        VerdictPvs(LOOPBACK.model_copy(update={"interfaces": ("203.0.113.1",)}), 1, CLASSES)


@pytest.mark.parametrize("wrong", ['prefix = "A B"', 'prefix = ""', 'interfaces = ["beamline"]', "interfaces = []"])
def test_wrong_settings_are_named(tmp_path: Path, wrong: str) -> None:
    config = tmp_path / "braggwatch.toml"
    config.write_text(f"[feedback.pvs]\n{wrong}\n")
    with pytest.raises(SettingsError, match=rf"feedback\.pvs\.{wrong.split()[0]}"):
        load_settings(config)


def test_the_doctor_looks_for_p4p_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def finding(settings: Settings):
        return next(one for one in examine(settings) if one.name == "variables")

    monkeypatch.setattr(
        "braggwatch.services.doctor._CHECKS", {"variables": sys.modules["braggwatch.services.doctor"]._pvs}
    )
    assert finding(Settings()).status == "OK"
    enabled = Settings(feedback=FeedbackSettings(pvs=LOOPBACK))
    assert "p4p" in finding(enabled).finding
    monkeypatch.setattr("braggwatch.services.doctor._installed", lambda name: None)
    missing = finding(enabled)
    assert (missing.status, missing.advice) == ("FAIL", "pip install 'braggwatch[epics]'")


def test_a_live_verdict_arrives_at_a_monitor(quick, shared_proxy, make_publisher, make_run, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(ResultStore(tmp_path / "s.sqlite", sinks=("pvs",)))
        sink = VerdictPvs(LOOPBACK, store.epoch, CLASSES)
        stack.callback(sink.close)
        client = Client(sink)
        stack.enter_context(client.context)

        def make_stream(on_report, on_provisional, links):
            judges = quick.QuickPreprocessor(), quick.QuickClassifier()
            looking = ProvisionalScreening(*judges, on_provisional, (0.8,), is_behind=links.is_behind)
            return ScreeningCallback(quick.small_preset(), *judges, on_report, provisional=looking)

        service = quick.make_service(
            quick.make_settings(shared_proxy.out_address),
            store,
            modalities=[quick.make_curves(store, make_stream)],
            sinks=(sink,),
        )
        service.start()
        stack.callback(service.stop)
        assert service.wait_ready(10.0)
        counts = stack.enter_context(client.monitor("COUNT"))
        so_far = stack.enter_context(client.monitor("SO_FAR:VERDICT"))
        beats = stack.enter_context(client.monitor("HEARTBEAT"))
        assert counts.get(timeout=10.0) == 0
        assert str(so_far.get(timeout=10.0)) == "undefined"
        run = make_run(20, scan_id=12)
        run.send(make_publisher(shared_proxy), pause_s=0.01)
        assert str(so_far.get(timeout=20.0)) in CLASSES
        assert counts.get(timeout=20.0) == 1
        assert str(so_far.get(timeout=20.0)) == "undefined"
        result = store.wait(run.uid, 10.0)
        assert result is not None
        assert str(client.get("VERDICT")) == result.verdict.label
        assert (client.get("RUN_UID"), client.get("SCAN_ID"), client.get("EPOCH")) == (run.uid, 12, store.epoch)
        assert client.get("VERDICT").timestamp == pytest.approx(result.finished_at, abs=1e-6)
        while beats.get(timeout=10.0) < 2:
            pass


def test_the_composed_service_serves_them_until_it_is_closed(shared_proxy, tmp_path: Path) -> None:
    config = tmp_path / "braggwatch.toml"
    config.write_text(
        f'[stream]\naddress = "{shared_proxy.out_address}"\n[store]\npath = "{tmp_path / "s.sqlite"}"\n'
        '[feedback.pvs]\nenabled = true\nprefix = "LINE:"\nport = 0\nsearch_port = 0\n'
    )
    beaten = []
    with contextlib.closing(compose_service(load_settings(config), on_beat=lambda: beaten.append(1))) as composed:
        (sink,) = composed.feedback.sinks
        classes = composed.modality(CurveModality).classes
        client = Client(sink, "LINE:")
        with client.context:
            assert client.get("EPOCH") == composed.store.epoch
            assert set(classes) < set(client.get("VERDICT").raw["value.choices"])
            with client.monitor("HEARTBEAT") as beats, client.monitor("SO_FAR:VERDICT") as words:
                assert beats.get(timeout=10.0).severity == INVALID
                composed.service._beat()
                assert beats.get(timeout=10.0) == len(beaten) == 1
                assert str(words.get(timeout=10.0)) == "undefined"
                composed.feedback.provisional(a_provisional(label=classes[0]))
                assert str(words.get(timeout=10.0)) == classes[0]
            composed.close()
            with pytest.raises(TimeoutError):
                client.context.get("LINE:EPOCH", timeout=0.5)
