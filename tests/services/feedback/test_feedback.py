"""Verdicts reach whoever listens: at least once, recognisable when repeated, no sink holding up another."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any, Literal

import event_model
import pytest
import zmq
from bluesky.callbacks.zmq import RemoteDispatcher

from braggwatch.callbacks.cxdp.records import ScreeningReport, ScreeningResult
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.cxdp.live.derived_run import derived_run, flat_fields
from braggwatch.services.cxdp.live.outbox import ResultOutbox
from braggwatch.services.feedback.publisher import DerivedRunPublisher
from braggwatch.services.live.feedback_dispatch import FeedbackDispatcher
from braggwatch.services.live.sink import Sink, SinkError
from braggwatch.services.settings import PublisherSettings
from braggwatch.services.settings_error import SettingsError
from braggwatch.services.storage.result_store import ResultStore
from braggwatch.services.stream.codec import PayloadFormat, decode

MODEL = ModelIdentity(name="m", version="1", sha256="0" * 64, runtime="test")


def result(run_uid: str = "raw-1", outcome: Outcome = Outcome.CLASSIFIED) -> ScreeningResult:
    if outcome is Outcome.CLASSIFIED:
        verdict = Verdict(
            outcome=outcome,
            label="screw",
            probabilities={"perfect": 0.05, "screw": 0.9, "edge": 0.05},
            confidence=0.9,
            prediction_set=("screw",),
            ood_score=1.0,
            ood_threshold=2.0,
            model=MODEL,
        )
    else:
        verdict = Verdict.without_class(outcome, "because")
    return ScreeningResult(
        run_uid=run_uid,
        scan_id=7,
        revision=1,
        verdict=verdict,
        frames_expected=10,
        frames_received=9,
        quality=None,
        sample="particle 3",
        started_at=1.0,
        finished_at=2.0,
        latency_s=0.1,
    )


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_derived_run_is_valid_and_names_the_raw_run(outcome):
    documents = list(derived_run(result(outcome=outcome), epoch=4))
    assert [name for name, _ in documents] == ["start", "descriptor", "event", "stop"]
    for name, document in documents:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(document)
    start: dict[str, Any] = documents[0][1]
    event: dict[str, Any] = documents[2][1]
    assert start["original_run_uid"] == "raw-1"
    assert event["data"]["outcome"] == outcome.value
    assert event["data"]["completeness"] == 0.9
    assert event["data"]["epoch"] == 4


def test_what_is_unknown_is_absent():
    fields = flat_fields(result(outcome=Outcome.TIMEOUT), epoch=1)
    assert fields["verdict"] == "timeout"
    assert fields["reason"] == "because"
    assert not {"label", "confidence", "ood_score", "model_id", "probability_screw"} & fields.keys()


def test_a_repeat_is_the_same_run():
    assert list(derived_run(result(), 1)) == list(derived_run(result(), 1))
    changed = result().model_copy(update={"revision": 2})
    assert next(derived_run(changed, 1))[1]["uid"] != next(derived_run(result(), 1))[1]["uid"]


def publisher_settings(address: str, mode: Literal["connect", "bind"] = "connect", **more) -> PublisherSettings:
    return PublisherSettings(address=address, mode=mode, **more)


def test_a_stock_dispatcher_gets_the_derived_run_through_a_stock_proxy(shared_proxy, eventually):
    documents: list[tuple[str, dict[str, Any]]] = []
    dispatcher = RemoteDispatcher(shared_proxy.out_address, prefix=b"braggwatch")

    def collect(name, document):
        documents.append((name, document))
        if name == "stop":
            assert dispatcher._task is not None
            dispatcher.loop.call_soon(dispatcher._task.cancel)

    dispatcher.subscribe(collect)

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            dispatcher.start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    sink = DerivedRunPublisher(publisher_settings(shared_proxy.in_address), epoch=1)
    try:

        def arrived() -> bool:
            sink.publish(result())
            thread.join(0.1)
            return not thread.is_alive()

        eventually(arrived, 10.0, "derived run received")
    finally:
        sink.close()
    names = [name for name, _ in documents]
    assert names[-4:] == ["start", "descriptor", "event", "stop"]
    assert documents[-2][1]["data"]["label"] == "screw"


@pytest.mark.parametrize("payload_format", [PayloadFormat.PICKLE, PayloadFormat.MSGPACK])
def test_consumers_may_connect_to_a_bound_publisher(payload_format, eventually):
    sink = DerivedRunPublisher(publisher_settings("tcp://127.0.0.1:*", "bind", payload_format=payload_format), epoch=1)
    try:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.subscribe(b"")
            socket.connect(sink.address)

            def heard() -> bool:
                sink.publish(result())
                return bool(socket.poll(50))

            eventually(heard, 5.0, "document")
            name, document = decode(b"braggwatch", socket.recv())
            assert name in ("start", "descriptor", "event", "stop")
            assert document["uid"]
    finally:
        sink.close()


def test_nothing_is_sent_where_nobody_listens():
    sink = DerivedRunPublisher(publisher_settings("tcp://127.0.0.1:9"), epoch=1)
    try:
        with pytest.raises(SinkError, match="nobody listens"):
            sink.publish(result())
    finally:
        sink.close()


def test_an_address_that_is_none_is_a_clear_error():
    with pytest.raises(SettingsError, match="nonsense"):
        DerivedRunPublisher(publisher_settings("nonsense://x"), epoch=1)


class RecordingSink(Sink):
    def __init__(self, name: str, failures: int = 0, error: type[Exception] = SinkError) -> None:
        self.name = name
        self.failures = failures
        self.error = error
        self.got: list[ScreeningResult] = []
        self.closed = False

    def publish(self, result: ScreeningResult) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error("down")
        self.got.append(result)

    def close(self) -> None:
        self.closed = True


def dispatching(store: ResultStore, sinks, metrics=None, **pauses: float) -> FeedbackDispatcher:
    return FeedbackDispatcher(sinks, [ResultOutbox(store)], store.wait_for_change, metrics, **pauses)


@pytest.mark.parametrize("error", [SinkError, ZeroDivisionError])
def test_row_29_a_sink_that_is_down_gets_the_same_revision_later(tmp_path: Path, eventually, metrics, error):
    down, well = RecordingSink("down", failures=3, error=error), RecordingSink("well")
    with ResultStore(tmp_path / "s.sqlite", sinks=("down", "well")) as store:
        dispatcher = dispatching(store, (down, well), metrics, retry_first_s=0.05, retry_longest_s=0.1)
        dispatcher.start()
        for run_uid in ("a", "b"):
            store.put(ScreeningReport(result(run_uid), None))
        eventually(lambda: len(well.got) == 2, 2.0, "the other sink served")
        eventually(lambda: len(down.got) == 2, 5.0, "delivery after the outage")
        dispatcher.stop()
        assert down.got == well.got == [result("a"), result("b")]
        assert store.pending_deliveries("down") == []
    assert down.closed
    assert metrics.counts["feedback_published", "down"] == 5


def test_what_could_not_be_delivered_is_delivered_by_the_next_process(tmp_path: Path, eventually):
    with ResultStore(tmp_path / "s.sqlite", sinks=("zmq",)) as store:
        store.put(ScreeningReport(result(), None))
        first = dispatching(store, (RecordingSink("zmq", failures=10**6),), retry_first_s=0.01)
        first.start()
        first.stop()
    sink = RecordingSink("zmq")
    with ResultStore(tmp_path / "s.sqlite", sinks=("zmq",)) as store:
        second = dispatching(store, (sink,))
        second.start()
        eventually(lambda: sink.got, what="delivery")
        second.stop()
    assert sink.got == [result()]
