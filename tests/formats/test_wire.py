"""Documents on the wire and in recordings: what was written is read, and what is written is what was written."""

from __future__ import annotations

import io
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import msgpack
import msgpack_numpy
import numpy as np

from braggwatch.services.recording.recordings import RecordedDocument, RecordingWriter, read_header, read_recording
from braggwatch.services.stream.codec import PayloadFormat, decode, encode
from support.format_samples import documents, plain
from support.golden import Golden


def test_the_bytes_of_each_document_stay_the_same(golden: Golden) -> None:
    written: dict[str, str] = {}
    for number, (name, document) in enumerate(documents()):
        written[f"{number} {name} msgpack"] = encode(b"raw", name, document, PayloadFormat.MSGPACK).hex(" ", -16)
        # Pickled arrays are NumPy's own; plain documents are Python's, whose default protocol is 4 up to 3.13.
        if name != "event":
            written[f"{number} {name} pickle"] = encode(b"raw", name, json.loads(json.dumps(document))).hex(" ", -16)
    golden.same_json("wire/encoded.json", written)


def test_recorded_bytes_of_stock_publishers_are_read_as_the_same_documents(golden: Golden) -> None:
    path = golden.made_once("wire/stock.json", _write_stock)
    messages = json.loads(path.read_text(encoding="utf-8"))
    assert len(messages) == 8
    for message in messages:
        name, document = decode(b"raw", bytes.fromhex(message["frame"]))
        assert name == message["name"], message["serializer"]
        assert plain(document) == message["document"], message["serializer"]


def test_a_recording_of_an_earlier_version_is_read(golden: Golden) -> None:
    path = golden.made_once("recording/tiny.bwrec", _write_recording)
    header = read_header(path)
    assert (header.format, header.schema_version, header.source) == ("braggwatch-recording", 1, "golden")
    read = [{"time_s": one.time_s, "name": one.name, "document": plain(one.document)} for one in read_recording(path)]
    golden.same_json("recording/tiny.json", read)


def test_a_recording_is_written_with_the_same_structure(golden: Golden, tmp_path: Path) -> None:
    then = _items(golden.made_once("recording/tiny.bwrec", _write_recording))
    _write_recording(tmp_path / "now.bwrec")
    assert _items(tmp_path / "now.bwrec") == then


def _write_stock(path: Path) -> None:
    event = documents()[2][1]
    payloads = {f"pickle, protocol {number}": pickle.dumps(event, number) for number in (2, 3, 4, 5)}
    payloads["pickle of NumPy 1"] = payloads["pickle, protocol 2"].replace(b"numpy._core", b"numpy.core")
    payloads["msgpack_numpy"] = msgpack_numpy.dumps(event)
    frames = [("event", serializer, payload) for serializer, payload in payloads.items()]
    frames.append(("start", "pickle, protocol 4", pickle.dumps(documents()[0][1], 4)))
    packed = msgpack.dumps(documents()[0][1])
    assert packed is not None
    frames.append(("start", "msgpack", packed))
    messages = [
        {
            "serializer": serializer,
            "name": name,
            "frame": (frame := b" ".join([b"raw", name.encode(), payload])).hex(" ", -16),
            "document": plain(decode(b"raw", frame)[1]),
        }
        for name, serializer, payload in frames
    ]
    path.write_text(json.dumps(messages, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_recording(path: Path) -> None:
    with RecordingWriter(path, source="golden") as writer:
        for number, (name, document) in enumerate(documents()):
            writer.write(RecordedDocument(0.25 * number, name, document))


def _items(path: Path) -> list[Any]:
    """A recording as any msgpack reader sees it, payloads unpacked; without the header's tool and time."""
    header, *records, end = msgpack.Unpacker(io.BytesIO(path.read_bytes()))
    assert {key: type(value) for key, value in header.items()} == {
        "format": str,
        "schema_version": int,
        "tool": str,
        "created_at": float,
        "source": str,
    }
    items: list[Any] = [{key: header[key] for key in ("format", "schema_version", "source")}]
    for time_s, name, compression, checksum, payload in records:
        assert checksum == zlib.crc32(payload)
        items.append([time_s, name, compression, zlib.decompress(payload) if compression else payload])
    assert {item[2] for item in items[1:]} == {0, 1}
    return [*items, end]


def test_arrays_keep_their_type_and_bytes_over_the_wire() -> None:
    event: dict[str, Any] = documents()[2][1]
    data: Any = decode(b"raw", encode(b"raw", "event", event, PayloadFormat.MSGPACK))[1]["data"]
    assert plain(data) == plain({**event["data"], "scalar": 1.5})
    assert np.array_equal(data["img"], event["data"]["img"])
