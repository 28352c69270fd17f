"""Replay publishes what was recorded, in order, changed only where asked, through a real proxy without loss."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zmq
from bluesky import RunEngine
from event_model import DocumentNames, schema_validators
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.services.recording.frame_range import FrameRange
from braggwatch.services.recording.recordings import RecordedDocument
from braggwatch.services.recording.replay import (
    NoSubscriberError,
    ReadyPublisher,
    ReplayOptions,
    Serializer,
    parse_root,
    parse_speed,
    prepare,
    replay,
)
from braggwatch.services.stream.codec import decode


def inline_run(frames: int = 8) -> list[RecordedDocument]:
    docs: list[tuple[str, dict[str, object]]] = [
        ("start", {"uid": "run", "time": 100.0, "num_points": frames, "num_intervals": frames - 1}),
        (
            "descriptor",
            {
                "uid": "desc",
                "run_start": "run",
                "time": 100.0,
                "name": "primary",
                "data_keys": {"image": {"source": "s", "dtype": "array", "shape": [8, 8]}},
                "configuration": {},
                "hints": {},
                "object_keys": {},
            },
        ),
    ]
    for i in range(frames):
        docs.append(
            (
                "event",
                {
                    "uid": f"event-{i}",
                    "descriptor": "desc",
                    "seq_num": i + 1,
                    "time": 101.0 + i,
                    "data": {"image": np.full((8, 8), i, np.uint16)},
                    "timestamps": {"image": 101.0 + i},
                    "filled": {},
                },
            )
        )
    docs.append(
        (
            "stop",
            {
                "uid": "stop",
                "run_start": "run",
                "time": 120.0,
                "exit_status": "success",
                "num_events": {"primary": frames},
            },
        )
    )
    return [RecordedDocument(0.01 * i, name, doc) for i, (name, doc) in enumerate(docs)]


def classic_run(folder: Path) -> list[RecordedDocument]:
    """A Resource/Datum run of a real RunEngine with ophyd's own simulated detector."""
    import bluesky.plans as bp
    from ophyd.sim import SynSignalWithRegistry

    detector: Any = SynSignalWithRegistry(func=lambda: np.ones((5, 5)), name="img", save_path=str(folder))
    records: list[RecordedDocument] = []
    engine = RunEngine({})
    engine.subscribe(lambda name, doc: records.append(RecordedDocument(0.0, name, dict(doc))))
    engine(bp.count([detector], num=3))
    return records


def stream_run(folder: Path) -> list[RecordedDocument]:
    """A StreamResource/StreamDatum run, composed by event-model."""
    from event_model import compose_run

    with h5py.File(folder / "a.h5", "w") as file:
        file["data"] = np.arange(6 * 4, dtype="u2").reshape(6, 2, 2)
    bundle = compose_run(uid="run")
    key = {"source": "s", "dtype": "array", "shape": [1, 2, 2], "external": "STREAM:"}
    descriptor = bundle.compose_descriptor(name="primary", data_keys={"img": key})
    assert bundle.compose_stream_resource is not None
    resource, compose_datum = bundle.compose_stream_resource(
        mimetype="application/x-hdf5", uri=f"file://localhost{folder}/a.h5", data_key="img", parameters={}
    )
    datums = [
        compose_datum(
            descriptor=descriptor.descriptor_doc,
            indices={"start": a, "stop": a + 3},
            seq_nums={"start": a + 1, "stop": a + 4},
        )
        for a in (0, 3)
    ]
    docs = [("start", bundle.start_doc), ("descriptor", descriptor.descriptor_doc), ("stream_resource", resource)]
    docs += [("stream_datum", datum) for datum in datums]
    docs.append(("stop", bundle.compose_stop()))
    return [RecordedDocument(0.0, name, dict(doc)) for name, doc in docs]


def valid(records: list[RecordedDocument]) -> None:
    for record in records:
        schema_validators[DocumentNames[record.name]].validate(record.document)


def test_unchanged_unless_asked() -> None:
    for before, after in zip(inline_run(), prepare(inline_run(), ReplayOptions()), strict=True):
        assert repr(before.document) == repr(after.document)


def test_new_uids_are_new_and_consistent_in_an_inline_run() -> None:
    done = list(prepare(inline_run(), ReplayOptions(new_uids=True)))
    valid(done)
    start, descriptor, stop = done[0].document, done[1].document, done[-1].document
    assert start["uid"] != "run"
    assert start["replay_of"] == "run"
    assert "original_run_uid" not in start
    assert descriptor["run_start"] == stop["run_start"] == start["uid"]
    events = [r.document for r in done if r.name == "event"]
    assert {e["descriptor"] for e in events} == {descriptor["uid"]}
    assert len({e["uid"] for e in events}) == 8
    again = list(prepare(inline_run(), ReplayOptions(new_uids=True)))
    assert again[0].document["uid"] != start["uid"]


def test_new_uids_keep_events_datums_and_resources_joined(tmp_path: Path) -> None:
    before = classic_run(tmp_path)
    assert {"resource", "datum"} <= {r.name for r in before}
    after = list(prepare(before, ReplayOptions(new_uids=True)))
    valid(after)
    resources = {r.document["uid"] for r in after if r.name == "resource"}
    assert {r.document["resource"] for r in after if r.name == "datum"} == resources
    datums = [r.document["datum_id"] for r in after if r.name == "datum"]
    assert [r.document["data"]["img"] for r in after if r.name == "event"] == datums  # type: ignore[index]
    old = {str(r.document["uid"]) for r in before if "uid" in r.document}
    text = repr([{k: v for k, v in r.document.items() if k != "resource_path"} for r in after[1:]])
    assert not any(uid in text for uid in old)


def test_new_uids_keep_stream_datums_joined(tmp_path: Path) -> None:
    after = list(prepare(stream_run(tmp_path), ReplayOptions(new_uids=True)))
    valid(after)
    by_name = {r.name: r.document for r in after}
    assert by_name["stream_datum"]["stream_resource"] == by_name["stream_resource"]["uid"]
    assert by_name["stream_datum"]["descriptor"] == by_name["descriptor"]["uid"]
    assert str(by_name["stream_datum"]["uid"]) == f"{by_name['stream_resource']['uid']}/1"


def test_new_times_keep_the_intervals() -> None:
    done = list(prepare(inline_run(), ReplayOptions(new_times=True)))
    times = [float(r.document["time"]) for r in done]  # type: ignore[arg-type]
    assert times[0] > 1e9
    np.testing.assert_allclose(np.diff(times), np.diff([100.0, 100.0, *range(101, 109), 120.0]), atol=1e-6)
    assert done[2].document["timestamps"]["image"] == done[2].document["time"]  # type: ignore[index]


def test_roots_are_remapped_at_the_head_only(tmp_path: Path) -> None:
    records = [
        RecordedDocument(0.0, "resource", {"root": "/gpfs/data/x", "resource_path": "gpfs/data/a.h5"}),
        RecordedDocument(0.0, "resource", {"root": "/gpfs/database", "resource_path": "a.h5"}),
        RecordedDocument(0.0, "stream_resource", {"uri": "file://localhost/gpfs/data/x/a.h5"}),
        RecordedDocument(0.0, "stream_resource", {"uri": "https://host/gpfs/data/x/a.h5"}),
    ]
    done = [r.document for r in prepare(records, ReplayOptions(roots=(("/gpfs/data", "/home/me"),)))]
    assert done[0] == {"root": "/home/me/x", "resource_path": "gpfs/data/a.h5"}
    assert done[1]["root"] == "/gpfs/database"
    assert done[2]["uri"] == "file://localhost/home/me/x/a.h5"
    assert done[3]["uri"] == "https://host/gpfs/data/x/a.h5"


@given(st.integers(0, 8), st.integers(1, 9))
def test_a_frame_range_is_a_whole_shorter_scan(first: int, length: int) -> None:
    options = ReplayOptions(frames=FrameRange(first=first, stop=first + length))
    done = list(prepare(inline_run(), options))
    valid(done)
    events = [r.document for r in done if r.name == "event"]
    expected = list(range(8))[first : first + length]
    assert [int(e["data"]["image"][0, 0]) for e in events] == expected  # type: ignore[index]
    assert [e["seq_num"] for e in events] == list(range(1, len(expected) + 1))
    assert done[0].document["num_points"] == len(expected)
    assert done[-1].document["num_events"] == {"primary": len(expected)}


def test_a_frame_range_of_a_streamed_run_points_at_the_right_rows(tmp_path: Path) -> None:
    options = ReplayOptions(frames=FrameRange(first=2, stop=5))
    done = list(prepare(stream_run(tmp_path), options))
    valid(done)
    datums = [r.document for r in done if r.name == "stream_datum"]
    assert [d["indices"] for d in datums] == [{"start": 2, "stop": 3}, {"start": 3, "stop": 5}]
    assert [d["seq_nums"] for d in datums] == [{"start": 1, "stop": 2}, {"start": 2, "stop": 4}]


def test_recorded_times_pace_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    class Pacer(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            asked.append(timeout or 0.0)
            return False

    monkeypatch.setattr("braggwatch.services.recording.replay.time.monotonic", lambda: 0.0)
    replay(inline_run(), lambda name, doc: None, ReplayOptions(speed=10.0), stop=Pacer())
    np.testing.assert_allclose(asked, 0.001 * np.arange(1, 11))
    asked.clear()
    replay(inline_run(), lambda name, doc: None, ReplayOptions(), stop=Pacer())
    assert asked == []


def test_a_stop_ends_it_between_documents() -> None:
    stop = threading.Event()
    seen: list[str] = []

    def publish(name: str, doc: dict[str, object]) -> None:
        seen.append(name)
        if len(seen) == 4:
            stop.set()

    report = replay(inline_run(), publish, ReplayOptions(), stop=stop)
    assert report.stopped
    assert seen == ["start", "descriptor", "event", "event"]


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("recorded", 1.0), ("x10", 10.0), ("x0.5", 0.5)])
def test_speeds(text: str, speed: float | None) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["", "fast", "10", "x0", "x-1", "xinf", "xnan"])
def test_no_speeds(text: str) -> None:
    with pytest.raises(ValueError, match="is not a speed"):
        parse_speed(text)


def test_ranges_and_roots_are_parsed_or_refused() -> None:
    assert FrameRange.parse("5:9") == FrameRange(first=5, stop=9)
    assert parse_root("/a=/b") == ("/a", "/b")
    for text in ("5", "5:", "9:5", "a:b"):
        with pytest.raises(ValueError, match="frame"):
            FrameRange.parse(text)
    for text in ("a=b", "/a", "/a="):
        with pytest.raises(ValueError, match="is not a root mapping"):
            parse_root(text)


@pytest.fixture
def proxy() -> Iterator[tuple[str, str]]:
    """A real bluesky-0MQ-proxy on free ports: (in-address, out-address)."""
    script = Path(sys.executable).parent / "bluesky-0MQ-proxy"
    process = subprocess.Popen(
        [str(script), "--in-address", "127.0.0.1:*", "--out-address", "127.0.0.1:*"],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONUNBUFFERED": "1", "PATH": ""},
    )
    assert process.stdout is not None
    try:
        addresses = re.findall(r"127\.0\.0\.1:\d+", "".join(process.stdout.readline() for _ in range(2)))
        yield addresses[0], addresses[1]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def listener(proxy: tuple[str, str]) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set_hwm(0)
        socket.subscribe(b"")
        socket.connect(f"tcp://{proxy[1]}")
        warm_up(proxy[0], socket)
        yield socket


def warm_up(address: str, socket: zmq.Socket[bytes]) -> None:
    """Publish until something reaches the listener: only then has the proxy taken its subscription."""
    publisher = ReadyPublisher(address)
    publisher.wait_for_subscriber(10)
    while not socket.poll(50):
        publisher("start", {"uid": "probe"})
    while socket.poll(200):
        socket.recv()
    publisher.close()


@pytest.mark.parametrize("serializer", list(Serializer))
def test_every_document_passes_a_real_proxy_in_order(
    proxy: tuple[str, str], listener: zmq.Socket[bytes], serializer: Serializer
) -> None:
    records = inline_run(2000)
    publisher = ReadyPublisher(proxy[0], prefix=b"raw", serializer=serializer)
    publisher.wait_for_subscriber(10)
    report = replay(records, publisher, ReplayOptions())
    publisher.close()
    assert report.documents == 2003
    for record in records:
        assert listener.poll(5000)
        name, doc = decode(b"raw", listener.recv())
        assert name == record.name
        if name == "event":
            assert doc["seq_num"] == record.document["seq_num"]
            np.testing.assert_array_equal(doc["data"]["image"], record.document["data"]["image"])  # type: ignore[index]


def test_without_a_proxy_it_says_so() -> None:
    publisher = ReadyPublisher("127.0.0.1:9")
    with pytest.raises(NoSubscriberError, match="is the proxy running"):
        publisher.wait_for_subscriber(0.2)
    publisher.close()
