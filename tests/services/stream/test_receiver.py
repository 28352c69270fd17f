"""What the receiver is made of: the queue that sheds, the ledger that counts, the watch that notices."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.callbacks.documents.run_references import RunReferences
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.settings_error import SettingsError
from braggwatch.services.stream.backlog import SHED_REASON, Backlog, QueuedDocument
from braggwatch.services.stream.loss import LossLedger
from braggwatch.services.stream.receiver import Receiver
from braggwatch.services.stream.stream_settings import CurveKeys, StreamSettings
from braggwatch.services.stream.watchdog import ConnectionWatch, ResetCause


def queued(run: str | None, name: str, size: int = 10) -> QueuedDocument:
    return QueuedDocument(name, {"run_start": run, "exit_status": "success"}, run, size, 0.0)


def drain(backlog: Backlog) -> list[QueuedDocument]:
    items = []
    while (item := backlog.get(0.0)) is not None:
        items.append(item)
    return items


def test_the_queue_keeps_order():
    backlog = Backlog(10, 1000)
    for name in ("start", "descriptor", "event", "stop"):
        backlog.put(queued("r", name))
    assert [item.name for item in drain(backlog)] == ["start", "descriptor", "event", "stop"]


def test_the_newest_run_gives_way_as_a_whole():
    backlog = Backlog(6, 1000)
    for run in ("old", "new"):
        for name in ("start", "event", "event"):
            backlog.put(queued(run, name))
    assert backlog.put(queued("old", "event")) == 1
    assert backlog.put(queued("old", "stop")) == 0
    assert backlog.put(queued("new", "event")) == 0
    assert backlog.put(queued("new", "stop")) == 0
    taken = drain(backlog)
    assert [item.name for item in taken if item.run_uid == "old"] == ["start", "event", "event", "event", "stop"]
    new = [item for item in taken if item.run_uid == "new"]
    assert [item.name for item in new] == ["start", "stop"]
    assert (new[-1].document["exit_status"], new[-1].document["reason"]) == ("abort", SHED_REASON)
    assert backlog.stats.shed_runs == 1
    assert backlog.stats.shed_documents == 3


def test_bytes_bound_the_queue_too():
    backlog = Backlog(1000, 100)
    backlog.put(queued("r", "start", 10))
    assert backlog.put(queued("r", "event", 1000)) == 1
    assert backlog.stats.size_bytes <= 100


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("get"), st.just(""), st.just(0)),
        st.tuples(
            st.sampled_from(["start", "event", "event", "event", "stop"]), st.sampled_from("abcdef"), st.integers(1, 60)
        ),
    ),
    max_size=120,
)


@given(STEPS, st.integers(1, 12), st.integers(50, 300))
def test_a_run_is_whole_or_says_that_it_is_not(steps, max_documents, max_bytes):
    backlog = Backlog(max_documents, max_bytes)
    sent: dict[str, int] = {}
    before_stop: dict[str, int] = {}
    taken: list[QueuedDocument] = []
    for name, run, size in steps:
        if name == "get":
            item = backlog.get(0.0)
            taken += [item] if item is not None else []
        else:
            backlog.put(queued(run, name, size))
            sent[run] = sent.get(run, 0) + (name == "event")
            if name == "stop":
                before_stop[run] = sent[run]
            assert len(backlog._items) <= 2 * max_documents
            assert backlog._bytes == sum(item.size_bytes for item in backlog._items)
    taken += drain(backlog)
    # An event behind its run's stop document can be missed in silence here: the assembly counts it.
    for run, events in before_stop.items():
        stops = [item for item in taken if item.run_uid == run and item.name == "stop"]
        received = sum(item.run_uid == run and item.name == "event" for item in taken)
        if received < events and stops:
            assert stops[-1].document["exit_status"] == "abort"


def test_a_waiting_reader_is_woken():
    backlog = Backlog(10, 1000)
    threading.Timer(0.02, backlog.put, [queued("r", "start")]).start()
    assert backlog.get(5.0) is not None
    backlog.close()
    assert backlog.get(5.0) is None


class Ledger:
    """A ledger with one run of one stream."""

    def __init__(self) -> None:
        self.ledger = LossLedger(grace_s=1.0)
        self.send("start", uid="r")
        self.send("descriptor", uid="d", name="primary")

    def send(self, kind: str, now: float = 0.0, **document) -> bool:
        return self.ledger.observe("r", kind, document, now)

    def event(self, seq_num: int, now: float = 0.0) -> bool:
        return self.send("event", now, descriptor="d", seq_num=seq_num)

    def lost(self, now: float) -> int:
        return sum(loss.documents for loss in self.ledger.settle(now))


def test_a_jump_in_seq_num_is_loss_after_the_grace():
    run = Ledger()
    assert not run.event(1)
    assert run.event(5)
    assert run.lost(0.5) == 0
    assert run.lost(1.5) == 3
    assert run.lost(9.0) == 0


def test_reordered_events_are_no_loss():
    run = Ledger()
    for seq_num in (2, 1, 4, 3):
        run.event(seq_num)
    run.send("stop", num_events={"primary": 4})
    assert run.lost(5.0) == 0


def test_the_stop_document_shows_a_lost_tail_and_closes_the_run():
    run = Ledger()
    run.event(1)
    run.send("stop", num_events={"primary": 4})
    assert run.ledger.open_runs == 0
    assert run.lost(2.0) == 3


@given(st.permutations(range(1, 13)), st.sets(st.integers(1, 12), max_size=11))
def test_the_ledger_counts_exactly_what_is_missing(order, missing):
    run = Ledger()
    arrived = [seq_num for seq_num in order if seq_num not in missing]
    for seq_num in arrived:
        run.event(seq_num)
    run.send("stop", num_events={"primary": 12})
    assert run.lost(2.0) == len(missing)


def test_a_forged_seq_num_takes_no_memory():
    run = Ledger()
    run.event(10**15)
    assert run.lost(5.0) == 0


@given(
    st.dictionaries(
        st.sampled_from(["uid", "descriptor", "seq_num", "run_start", "num_events", "name"]),
        st.none() | st.integers() | st.text() | st.lists(st.integers()),
    )
)
def test_index_and_ledger_take_any_document(document):
    run, references = Ledger(), RunReferences()
    for name in ("start", "descriptor", "event", "event_page", "datum", "stop", "resource", "stream_datum"):
        run.ledger.observe(references.run_of(name, document), name, document, 0.0)
        run.ledger.observe("r", name, document, 0.0)


def test_the_index_follows_every_kind_of_document():
    references = RunReferences()
    assert references.run_of("start", {"uid": "r"}) == "r"
    assert references.run_of("descriptor", {"uid": "d", "run_start": "r"}) == "r"
    assert references.run_of("event", {"descriptor": "d"}) == "r"
    assert references.run_of("resource", {"uid": "s", "run_start": "r"}) == "r"
    assert references.run_of("datum", {"resource": "s"}) == "r"
    assert references.run_of("stream_datum", {"descriptor": "d"}) == "r"
    assert references.run_of("stop", {"run_start": "r"}) == "r"
    assert references.run_of("event", {"descriptor": "unknown"}) is None


@pytest.fixture
def watch():
    watch = ConnectionWatch(grace_s=0.2, silence_s=10.0)
    watch.on_event(zmq.Event.CONNECTED, 0.0)
    watch.on_event(zmq.Event.HANDSHAKE_SUCCEEDED, 0.0)
    return watch


def test_a_lost_connection_that_is_retried_is_left_alone(watch):
    assert watch.on_event(zmq.Event.DISCONNECTED, 1.0)
    watch.on_event(zmq.Event.CONNECT_RETRIED, 1.0)
    assert watch.due(60.0, run_is_open=True) is None
    assert watch.problem == "connection lost"


def test_a_lost_connection_without_retry_is_deaf(watch):
    watch.on_event(zmq.Event.DISCONNECTED, 1.0)
    assert watch.due(1.1, run_is_open=False) is None
    assert watch.due(1.3, run_is_open=False) is ResetCause.PROTOCOL


def test_silence_counts_only_during_a_run_and_backs_off(watch):
    assert watch.due(11.0, run_is_open=False) is None
    assert watch.due(11.0, run_is_open=True) is ResetCause.SILENCE
    watch.replaced(ResetCause.SILENCE, 11.0)
    watch.on_event(zmq.Event.HANDSHAKE_SUCCEEDED, 11.0)
    assert watch.due(22.0, run_is_open=True) is None
    assert watch.due(31.5, run_is_open=True) is ResetCause.SILENCE
    watch.on_message(32.0)
    assert watch.due(43.0, run_is_open=True) is ResetCause.SILENCE


def receive(proxy, **stream):
    backlog = Backlog(1000, 10**8)
    receiver = Receiver(StreamSettings(address=proxy.out_address, prefix="raw", **stream), backlog)
    receiver.start()
    return receiver, backlog


def test_silence_in_a_run_gets_a_fresh_socket_and_loses_nothing(shared_proxy, make_publisher, make_run, eventually):
    receiver, backlog = receive(shared_proxy, silence_s=0.3)
    try:
        assert receiver.wait_connected(10.0)
        publisher = make_publisher(shared_proxy)
        run = make_run(60)
        for name, document in run[:10]:
            publisher(name, document)
        eventually(lambda: receiver.stats.resets.get(ResetCause.SILENCE), what="fresh socket")
        for name, document in run[10:]:
            publisher(name, document)
            time.sleep(0.01)
        eventually(lambda: receiver.stats.open_runs == 0, what="run over")
        uids = {item.document["uid"] for item in drain(backlog)}
        assert uids == {document["uid"] for _, document in run}
        assert receiver.stats.lost == 0
    finally:
        receiver.stop()
    assert not receiver.alive


def test_documents_given_up_are_counted_at_once_and_as_they_come(shared_proxy, make_publisher, make_run, eventually):
    metrics = Metrics()
    backlog = Backlog(8, 10**9)
    receiver = Receiver(StreamSettings(address=shared_proxy.out_address, prefix="raw"), backlog, metrics)
    receiver.start()
    try:
        assert receiver.wait_connected(10.0)
        run = make_run(frames=20)
        run.send(make_publisher(shared_proxy))
        eventually(lambda: receiver.stats.received >= len(run), what="all received")
        eventually(lambda: backlog.stats.shed_documents == 20, what="every event given up")
    finally:
        receiver.stop()
    assert [item.name for item in drain(backlog)] == ["start", "descriptor", "stop"]
    assert metrics.registry.get_sample_value("braggwatch_runs_shed_total") == 1
    assert metrics.registry.get_sample_value("braggwatch_documents_shed_total") == 20
    assert metrics.snapshot().runs_shed == 1


def test_other_prefixes_are_not_even_received(shared_proxy, make_publisher, make_run, eventually):
    receiver, _ = receive(shared_proxy)
    try:
        assert receiver.wait_connected(10.0)
        make_publisher(shared_proxy)
        assert receiver.stats.received == 0
        assert not receiver.stats.rejected
    finally:
        receiver.stop()


def test_a_key_file_that_is_none_is_a_clear_error(tmp_path: Path):
    key = tmp_path / "absent.key_secret"
    settings = StreamSettings(curve=CurveKeys(secret_key=key, server_public_key=key))
    with pytest.raises(SettingsError, match="absent"):
        Receiver(settings, Backlog(1, 1)).start()


def test_an_address_that_is_none_is_a_clear_error():
    with pytest.raises(SettingsError, match="nonsense"):
        Receiver(StreamSettings(address="nonsense://x"), Backlog(1, 1)).start()
