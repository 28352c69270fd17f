"""The fault matrix: each test is named by its row, and everything but the numerics is real.

Stock publisher → stock proxy process → the service with its own receiver, callback, store and events.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgpack_numpy
import numpy as np
import pytest
import zmq.auth
from bluesky.callbacks.zmq import Publisher

from braggwatch.models.verdict import Outcome
from braggwatch.services.storage.result_store import ResultStore
from braggwatch.services.stream.rejection import RejectReason
from braggwatch.services.stream.stream_settings import CurveKeys
from braggwatch.services.stream.watchdog import ResetCause


class Rig:
    """One service on one stream."""

    def __init__(self, service, store, metrics) -> None:
        self.service, self.store, self.metrics = service, store, metrics

    @property
    def stats(self):
        return self.service.receiver_stats

    def result(self, run, timeout_s: float = 10.0):
        result = self.store.wait(run.uid, timeout_s)
        assert result is not None, f"no result in {timeout_s} s; {self.stats}"
        return result

    def judges(self, publisher, run) -> None:
        """Show that a whole run still comes through."""
        run.send(publisher)
        assert self.result(run).verdict.outcome is Outcome.CLASSIFIED


@pytest.fixture
def make_rig(quick, tmp_path: Path, metrics):
    rigs = []

    def make(address, *, assembly=None, queue=None, **stream) -> Rig:
        store = ResultStore(tmp_path / "results.sqlite")
        settings = quick.make_settings(address, queue=queue, **stream)
        service = quick.make_service(settings, store, metrics=metrics, assembly=assembly)
        service.start()
        rig = Rig(service, store, metrics)
        rigs.append(rig)
        assert service.wait_ready(15.0), service.health.report().reasons
        return rig

    yield make
    for rig in rigs:
        rig.service.stop()
        rig.store.close()


@pytest.fixture
def rig(make_rig, shared_proxy):
    return make_rig(shared_proxy.out_address)


@pytest.fixture
def publisher(rig, make_publisher, shared_proxy):
    return make_publisher(shared_proxy)


def verdict_of(result):
    """What must not depend on how the documents travelled."""
    return result.verdict.model_dump(), result.frames_received, result.quality


def test_row_01_garbage_is_counted_and_the_next_run_is_fine(rig, publisher, make_run, eventually, metrics):
    for garbage in (b"raw ", b"raw event", b"raw event \x80\x04garbage", b"raw event \x00\xff", b"raw start "):
        publisher._socket.send(garbage)
    publisher._socket.send_multipart([b"raw event", b"\x80\x04}."])
    eventually(lambda: sum(rig.stats.rejected.values()) >= 6, what="rejections counted")
    assert rig.stats.rejected[RejectReason.PARTS] >= 2
    assert metrics.counts["document_rejected", "parts"] >= 2
    rig.judges(publisher, make_run())


def test_row_02_an_unknown_name_is_counted_and_the_receiver_lives(rig, publisher, make_run, eventually):
    publisher("evnet", {"uid": "x"})
    eventually(lambda: rig.stats.rejected.get(RejectReason.UNKNOWN_NAME), what="rejection counted")
    rig.judges(publisher, make_run())


class RunsCode:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)  # pyright: ignore[reportDeprecated] - what an attacker would take

    def __deepcopy__(self, memo):
        return self


def test_row_03_pickle_canary_never_created(rig, publisher, make_run, tmp_path: Path, eventually):
    canary = tmp_path / "canary"
    attack = RunsCode(canary)
    publisher("event", {"uid": attack})
    publisher._socket.send(b"raw event " + pickle.dumps({"x": np.array([attack], dtype=object)}))
    publisher._socket.send(b"raw event " + msgpack_numpy.dumps({"x": np.array([attack], dtype=object)}))
    eventually(lambda: sum(rig.stats.rejected.values()) >= 3, what="rejections counted")
    assert rig.stats.rejected[RejectReason.FORBIDDEN_CODE] == 1
    assert rig.stats.rejected[RejectReason.FORBIDDEN_DTYPE] == 2
    rig.judges(publisher, make_run())
    assert not canary.exists()


def test_row_05_bombs_are_refused_and_a_huge_frame_costs_one_reset(
    make_rig, shared_proxy, make_publisher, make_run, eventually
):
    rig = make_rig(shared_proxy.out_address, max_message_bytes=8_000_000)
    publisher = make_publisher(shared_proxy)
    nested: list[object] = []
    for _ in range(100):
        nested = [nested]
    publisher._socket.send(b"raw event " + pickle.dumps({"x": nested}))
    publisher._socket.send(b"raw event \x80\x04}r\xff\xff\xff\xff.")
    publisher._socket.send(b"raw event \x81\xa1a\xdd\xff\xff\xff\xff")
    eventually(lambda: sum(rig.stats.rejected.values()) >= 3, what="bombs refused")
    publisher._socket.send(b"raw event " + bytes(100_000_000))
    eventually(lambda: rig.stats.resets.get(ResetCause.PROTOCOL), what="fresh socket")
    eventually(lambda: rig.stats.connected, what="reconnected")
    time.sleep(0.2)
    rig.judges(publisher, make_run())


@pytest.mark.parametrize(("missing", "has_class"), [(0.01, True), (0.1, True), (0.5, False)])
def test_row_08_missing_frames_make_the_run_partial(rig, publisher, make_run, eventually, missing, has_class):
    run = make_run(100)
    first = 80 if has_class else 40
    gone = {first + n for n in range(int(100 * missing))}
    for name, document in run:
        if not (name == "event" and document["seq_num"] in gone):
            publisher(name, document)
    result = rig.result(run)
    assert result.verdict.outcome is Outcome.PARTIAL
    assert (result.frames_expected, result.frames_received) == (100, 100 - len(gone))
    assert (result.verdict.label is not None) is has_class
    eventually(lambda: rig.stats.lost == len(gone), 5.0, "loss counted")


def test_row_09_duplicates_make_one_identical_record(rig, publisher, make_run):
    once, twice = make_run(seed=3), make_run(seed=3)
    once.send(publisher)
    for name, document in twice:
        publisher(name, document)
        publisher(name, document)
    twice.send(publisher)
    assert verdict_of(rig.result(once)) == verdict_of(rig.result(twice))
    time.sleep(0.3)
    assert len(rig.store.latest(10)) == 2


def test_row_11_interleaved_runs_equal_serial_ones(rig, publisher, make_run):
    serial = [make_run(12, seed=seed) for seed in range(6)]
    interleaved = [make_run(12, seed=seed) for seed in range(6)]
    for run in serial:
        run.send(publisher)
    for step in zip(*interleaved, strict=True):
        for name, document in step:
            publisher(name, document)
    for one, other in zip(serial, interleaved, strict=True):
        assert verdict_of(rig.result(one)) == verdict_of(rig.result(other))
        assert np.array_equal(rig.store.model_input(one.uid), rig.store.model_input(other.uid))


def test_row_12_a_lost_start_joins_late_without_a_class(rig, publisher, make_run):
    run = make_run()
    run.without("start").send(publisher)
    result = rig.result(run)
    assert result.verdict.label is None
    assert "joined late" in result.verdict.reason


def test_row_13_no_stop_times_out_and_frees_the_memory(make_rig, shared_proxy, make_publisher, make_run, metrics):
    rig = make_rig(shared_proxy.out_address, assembly={"run_timeout_s": 0.5})
    run = make_run()
    run.without("stop").send(make_publisher(shared_proxy))
    result = rig.result(run)
    assert result.verdict.outcome is Outcome.TIMEOUT
    assert result.verdict.label is None


@pytest.mark.parametrize("exit_status", ["abort", "fail"])
def test_row_15_an_aborted_run_has_no_class(rig, publisher, make_run, exit_status):
    run = make_run(exit_status=exit_status)
    run.send(publisher)
    result = rig.result(run)
    assert result.verdict.outcome is Outcome.ABORTED
    assert result.verdict.label is None


# the stock publisher holds back a thousand documents while it is cut off: the long outage has to send more
@pytest.mark.parametrize(("pause_s", "interval_s"), [(1.0, 0.02), pytest.param(10.0, 0.005, marks=pytest.mark.slow)])
def test_row_16_a_proxy_that_comes_back_is_resumed_and_the_loss_is_counted_true(
    make_proxy, make_rig, make_publisher, make_run, eventually, pause_s, interval_s
):
    proxy = make_proxy()
    rig = make_rig(proxy.out_address)
    publisher = make_publisher(proxy)
    received_before = rig.stats.received
    length = round((pause_s + 6.0) / interval_s)
    run = make_run(length)
    sending = threading.Thread(target=run.send, args=(publisher, interval_s))
    sending.start()
    try:
        time.sleep(0.5)
        proxy.kill()
        eventually(lambda: not rig.stats.connected, 2.0, "loss of connection noticed")
        time.sleep(pause_s)
        proxy.start()
        eventually(lambda: rig.stats.connected, 2.0, "resumed")
        at_resumption = rig.stats.received
        eventually(lambda: rig.stats.received > at_resumption, 2.0, "documents again")
    finally:
        sending.join()
    result = rig.result(run)
    eventually(lambda: rig.stats.open_runs == 0, 5.0, "run settled")
    true_loss = len(run) - (rig.stats.received - received_before)
    # a short outage may lose nothing, the stock publisher holds a thousand documents back; a long one must
    if pause_s / interval_s > 1000:
        assert true_loss > 0
    assert rig.stats.lost == true_loss
    assert rig.stats.gaps >= (1 if true_loss else 0)
    assert result.frames_received == length - true_loss
    assert rig.metrics.counts.get(("documents_lost", None), 0) == true_loss
    rig.judges(publisher, make_run(scan_id=2))


def test_row_17_a_cut_link_heals_by_itself(
    make_chaos_link, make_rig, make_publisher, shared_proxy, make_run, eventually
):
    link = make_chaos_link(shared_proxy.out_port)
    rig = make_rig(link.address)
    publisher = make_publisher(shared_proxy)
    link.cut()
    eventually(lambda: rig.stats.gaps, what="cut noticed")
    eventually(lambda: rig.stats.connected, 2.0, "reconnected")
    time.sleep(0.2)
    rig.judges(publisher, make_run())


def test_row_17_a_stalled_link_is_noticed_and_resumed(
    make_chaos_link, make_rig, make_publisher, shared_proxy, make_run, eventually
):
    link = make_chaos_link(shared_proxy.out_port)
    rig = make_rig(link.address)
    publisher = make_publisher(shared_proxy)
    link.stall()
    eventually(lambda: not rig.stats.connected, 5.0, "stall noticed")
    link.resume()
    eventually(lambda: rig.stats.connected, 5.0, "resumed")
    time.sleep(0.2)
    rig.judges(publisher, make_run())


def test_row_18_a_corrupted_framing_byte_costs_one_reset(
    make_chaos_link, make_rig, make_publisher, shared_proxy, make_run, eventually
):
    link = make_chaos_link(shared_proxy.out_port)
    rig = make_rig(link.address)
    publisher = make_publisher(shared_proxy)
    # Nine bytes before the prefix stands the flag byte of a long ZMTP frame.
    link.flip(9, in_front_of=b"raw event ")
    run = make_run()
    run.send(publisher)
    eventually(lambda: link.flips, 2.0, "byte flipped")
    eventually(lambda: sum(rig.stats.resets.values()) or rig.stats.gaps, 2.0, "fault noticed")
    eventually(lambda: rig.stats.connected, 2.0, "fresh socket")
    time.sleep(0.2)
    rig.judges(publisher, make_run(scan_id=2))


def test_row_18_a_flipped_byte_under_curve_costs_one_reset(
    make_chaos_link, make_proxy, make_rig, make_publisher, make_run, eventually, curve_files
):
    proxy = make_proxy(*curve_files.proxy_options)
    link = make_chaos_link(proxy.out_port)
    rig = make_rig(link.address, curve=curve_files.keys)
    publisher = make_publisher(proxy, probe=False)
    eventually(lambda: publisher("datum", {}) or rig.stats.received, what="publisher connected")
    link.flip(40)
    publisher("datum", {})
    eventually(lambda: link.flips, 2.0, "byte flipped")
    eventually(lambda: rig.stats.resets, 2.0, "fresh socket")
    eventually(lambda: rig.stats.connected, 2.0, "reconnected")
    time.sleep(0.2)
    rig.judges(publisher, make_run())


def test_row_20_a_burst_sheds_whole_runs_and_thins_none(
    quick, make_rig, shared_proxy, make_publisher, make_run, eventually, monkeypatch: pytest.MonkeyPatch
):
    rig = make_rig(shared_proxy.out_address, queue={"max_documents": 60})
    publisher = make_publisher(shared_proxy)
    monkeypatch.setattr(quick.QuickClassifier, "classify", _slowly(quick.QuickClassifier.classify))
    runs = [make_run(20, seed=seed) for seed in range(12)]
    for run in runs:
        run.send(publisher)
    results = [rig.result(run, 20.0) for run in runs]
    whole = [result for result in results if result.verdict.outcome is Outcome.CLASSIFIED]
    shed = [result for result in results if result.verdict.outcome is Outcome.ABORTED]
    assert len(whole) + len(shed) == len(runs)
    assert whole
    assert shed
    assert all(result.frames_received == 20 for result in whole)
    assert all("shed" in result.verdict.reason for result in shed)
    assert rig.stats.shed_runs == len(shed)


def _slowly(classify):
    def slow(self, intensity):
        time.sleep(0.3)
        return classify(self, intensity)

    return slow


def test_row_27_a_killed_service_contradicts_nothing_and_is_back_soon(
    quick, shared_proxy, make_publisher, make_run, tmp_path: Path, eventually
):
    path = tmp_path / "results.sqlite"
    program = [sys.executable, quick.__file__, shared_proxy.out_address, str(path)]
    publisher: Publisher = make_publisher(shared_proxy)

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    first = start()
    finished, interrupted = make_run(seed=1), make_run(40, seed=2)
    finished.send(publisher)
    with ResultStore(path, read_only=True) as store:
        before = eventually(lambda: store.get(finished.uid), what="first result")
    for name, document in interrupted[:20]:
        publisher(name, document)
    time.sleep(0.3)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert first.stdout is not None
    first.stdout.close()

    began = time.monotonic()
    second = start()
    ready_after_s = time.monotonic() - began
    try:
        # What was finished comes again, whole and in part; what was interrupted goes on.
        finished.without("start").send(publisher)
        for name, document in interrupted[20:]:
            publisher(name, document)
        after = make_run(seed=3)
        after.send(publisher)
        with ResultStore(path, read_only=True) as store:
            assert eventually(lambda: store.get(after.uid), what="later result").verdict.label is not None
            late = eventually(lambda: store.get(interrupted.uid), what="record of the interrupted run")
            assert late.verdict.outcome is Outcome.INVALID
            assert late.verdict.label is None
            assert late.verdict.reason.startswith("joined late: ")
            finished.send(publisher)
            last = make_run(seed=4)
            last.send(publisher)
            eventually(lambda: store.get(last.uid), what="last result")
            assert store.get(finished.uid) == before
            assert sorted(result.run_uid for result in store.latest(10)) == sorted(
                run.uid for run in (finished, interrupted, after, last)
            )
    finally:
        second.terminate()
        assert second.wait(15) == 0
        assert second.stdout is not None
        second.stdout.close()
    assert ready_after_s < 15


def test_row_32_missing_geometry_is_no_default(rig, publisher, make_run):
    run = make_run(geometry=False)
    run.send(publisher)
    result = rig.result(run)
    assert result.verdict.outcome is Outcome.INVALID
    assert "energy" in result.verdict.reason


def test_row_27_a_stop_of_an_unknown_run_is_one_record_and_a_final_one_stays(
    quick, make_rig, shared_proxy, make_publisher, make_run, eventually, metrics
):
    rig = make_rig(shared_proxy.out_address)
    publisher = make_publisher(shared_proxy)
    finished, unknown = make_run(seed=1), make_run(seed=2)
    rig.judges(publisher, finished)
    before = rig.store.get(finished.uid)
    rig.service.stop()
    rig.store.close()
    # Started again on the same store, it has forgotten the run but not its record.
    again = make_rig(shared_proxy.out_address)
    for run in (finished, unknown):
        for _ in range(3):
            publisher(*run[-1])
    late = again.result(unknown)
    assert late.verdict.outcome is Outcome.INVALID
    assert late.verdict.label is None
    assert late.verdict.reason.startswith("joined late: ")
    again.judges(publisher, make_run(seed=3))
    assert again.store.get(finished.uid) == before
    assert sum(result.run_uid == unknown.uid for result in again.store.latest(10)) == 1


@pytest.mark.parametrize("fault", ["unlisted client key", "wrong server key"])
def test_row_19_a_wrong_key_is_a_clear_error_and_not_ready(
    quick, make_proxy, tmp_path: Path, eventually, curve_files, fault
):
    proxy = make_proxy(*curve_files.proxy_options)
    keys = curve_files.keys
    if fault == "unlisted client key":
        zmq.auth.create_certificates(tmp_path, "stranger")
        keys = CurveKeys(secret_key=tmp_path / "stranger.key_secret", server_public_key=keys.server_public_key)
    else:
        keys = CurveKeys(secret_key=keys.secret_key, server_public_key=tmp_path / "keys" / "client.key")
    with ResultStore(tmp_path / "results.sqlite") as store:
        service = quick.make_service(quick.make_settings(proxy.out_address, curve=keys), store)
        service.start()
        try:
            eventually(lambda: any("key" in reason for reason in service.health.report().reasons), 5.0, "clear error")
            assert not service.health.report().ready
            assert not service.receiver_stats.received
        finally:
            service.stop()
