"""A recording gives back what was put in, in order, and says clearly what is wrong with a bad file."""

from __future__ import annotations

import io
import os
from operator import attrgetter
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braggwatch.services.recording.recordings import (
    RecordedDocument,
    RecordingError,
    RecordingTruncatedError,
    RecordingWriter,
    is_recording,
    read_header,
    read_recording,
    summarise,
)

FRAME = np.arange(64 * 48, dtype=np.int32).reshape(64, 48)


def documents(count: int = 5) -> list[RecordedDocument]:
    records = [RecordedDocument(0.0, "start", {"uid": "run-1", "time": 1.0, "hints": {"dimensions": [[["th"], "p"]]}})]
    records += [
        RecordedDocument(0.5 * i, "event", {"seq_num": i, "data": {"image": FRAME + i, "th": 0.1 * i}})
        for i in range(1, count + 1)
    ]
    records.append(RecordedDocument(9.0, "stop", {"run_start": "run-1", "exit_status": "success"}))
    return records


def record(path: Path, records: list[RecordedDocument], **options: bool) -> None:
    with RecordingWriter(path, source="test", **options) as writer:
        for item in records:
            writer.write(item)


@pytest.mark.parametrize("compress", [True, False])
def test_what_is_written_is_read_in_order(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "a.bwrec"
    record(path, documents(), compress=compress)
    read = list(read_recording(path))
    assert [(r.time_s, r.name) for r in read] == [(r.time_s, r.name) for r in documents()]
    event = read[3].document
    image = event["data"]["image"]  # type: ignore[index]
    assert image.dtype == np.int32
    np.testing.assert_array_equal(image, FRAME + 3)
    assert event["data"]["th"] == 0.1 * 3  # type: ignore[index]
    assert read[0].document["hints"] == {"dimensions": [[["th"], "p"]]}


@pytest.mark.parametrize("name", ["caf\udce9", "Au \ud83d"])
def test_a_name_that_is_no_text_is_recorded(tmp_path: Path, name: str) -> None:
    path = tmp_path / "r.bwrec"
    record(path, [RecordedDocument(0.0, "start", {"uid": "u", "sample_name": name})])
    (read,) = read_recording(path)
    found = read.document["sample_name"]
    assert isinstance(found, str)
    assert found.startswith(name[:3])


def test_any_msgpack_reader_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "a.bwrec"
    record(path, documents(1))
    items = list(msgpack.Unpacker(io.BytesIO(path.read_bytes())))
    assert items[0]["format"] == "braggwatch-recording"
    assert [item[1] for item in items[1:-1]] == ["start", "event", "stop"]
    assert items[-1] == {"end": True, "documents": 3}


def test_the_writer_is_a_bluesky_callback_and_keeps_time(tmp_path: Path) -> None:
    from bluesky import RunEngine
    from bluesky.plans import count
    from ophyd.sim import hw

    path = tmp_path / "a.bwrec"
    with RecordingWriter(path, source="RE") as writer:
        engine = RunEngine({})
        engine.subscribe(writer)
        engine(count([hw().det], num=3))
    names = [r.name for r in read_recording(path)]
    assert names == ["start", "descriptor", "event", "event", "event", "stop"]
    times = [r.time_s for r in read_recording(path)]
    assert times[0] == 0.0
    assert times == sorted(times)


def test_summary_and_header(tmp_path: Path) -> None:
    path = tmp_path / "a.bwrec"
    record(path, documents())
    summary = summarise(path)
    assert summary.by_name == {"start": 1, "event": 5, "stop": 1}
    assert summary.runs == ("run-1",)
    assert summary.duration_s == 9.0
    assert not summary.truncated
    assert read_header(path).source == "test"
    assert is_recording(path)


def test_an_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.bwrec"
    record(path, documents())
    with pytest.raises(FileExistsError):
        record(path, documents(1))
    record(path, documents(1), overwrite=True)
    assert summarise(path).documents == 3


def test_a_cut_file_yields_its_whole_documents_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.bwrec"
    record(path, documents())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    seen: list[str] = []
    reader = read_recording(path)
    with pytest.raises(RecordingTruncatedError, match="cut short after"):
        seen.extend(map(attrgetter("name"), reader))
    assert seen
    assert summarise(path).truncated
    assert [r.name for r in read_recording(path, allow_truncated=True)] == seen


def test_a_writer_that_failed_leaves_a_file_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.bwrec"

    def lose_beam() -> None:
        with RecordingWriter(path, source="test") as writer:
            writer.write(documents()[0])
            raise RuntimeError("beam lost")

    with pytest.raises(RuntimeError, match="beam lost"):
        lose_beam()
    assert summarise(path).truncated


def test_object_arrays_and_foreign_names_are_refused(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "a.bwrec", source="test") as writer:
        with pytest.raises(RecordingError, match="can't be recorded"):
            writer.write(RecordedDocument(0.0, "event", {"data": {"x": np.array([object()])}}))
        with pytest.raises(RecordingError, match="not a document name"):
            writer.write(RecordedDocument(0.0, "bulk_events", {}))


@pytest.mark.parametrize("content", [b"", b"\x00" * 50, b"\x80\x04abc", os.urandom(400), b"SIMPLE  =  T"])
def test_a_foreign_file_is_no_recording(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    assert not is_recording(path)
    with pytest.raises(RecordingError, match="not a Braggwatch recording"):
        list(read_recording(path))


def test_a_newer_schema_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.bwrec"
    header = {"format": "braggwatch-recording", "schema_version": 99, "tool": "future", "created_at": 1.0, "source": ""}
    packed = msgpack.packb(header)
    assert packed is not None
    path.write_bytes(packed)
    with pytest.raises(RecordingError, match="schema version 99"):
        list(read_recording(path))


def test_a_compression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import braggwatch.services.recording.recordings as module

    path = tmp_path / "a.bwrec"
    record(path, [RecordedDocument(0.0, "event", {"data": {"x": np.zeros(100_000)}})])
    monkeypatch.setattr(module, "_MAX_DOCUMENT_BYTES", 50_000)
    with pytest.raises(RecordingError, match="longer than"):
        list(read_recording(path))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(min_value=0, max_value=10**6), value=st.integers(min_value=1, max_value=255))
def test_a_flipped_byte_never_passes_as_other_frames(tmp_path: Path, position: int, value: int) -> None:
    good = tmp_path / "good.bwrec"
    if not good.exists():
        record(good, documents(2))
    data = bytearray(good.read_bytes())
    data[position % len(data)] ^= value
    bad = tmp_path / "bad.bwrec"
    bad.write_bytes(bytes(data))
    try:
        frames = [r.document["data"]["image"] for r in read_recording(bad) if r.name == "event"]  # type: ignore[index]
    except RecordingError:
        return
    # A flip in the header's text or in a time stamp harms no document.
    assert len(frames) <= 2
    for index, frame in enumerate(frames, start=1):
        np.testing.assert_array_equal(frame, FRAME + index)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(length=st.integers(min_value=0, max_value=10**5))
def test_a_cut_at_any_byte_ends_in_a_clear_error(tmp_path: Path, length: int) -> None:
    good = tmp_path / "good.bwrec"
    if not good.exists():
        record(good, documents(2))
    data = good.read_bytes()
    bad = tmp_path / "bad.bwrec"
    bad.write_bytes(data[: length % len(data)])
    with pytest.raises(RecordingError):
        list(read_recording(bad))
