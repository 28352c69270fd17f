"""Documents come off the wire as the stock publisher sent them, and nothing else does."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import tracemalloc
from collections import OrderedDict
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from braggwatch.services.stream.codec import (
    DecoderLimits,
    PayloadFormat,
    RejectedMessage,
    RejectReason,
    decode,
    encode,
    pack_document,
    unpack_document,
)

FRAME = np.arange(12, dtype="<u2").reshape(3, 4)


def wire(payload: bytes, name: bytes = b"event", prefix: bytes = b"raw") -> bytes:
    return b" ".join([prefix, name, payload])


def packed(document: object) -> bytes:
    payload = msgpack.dumps(document, unicode_errors="surrogateescape")
    assert payload is not None
    return payload


def reason(frame: bytes, **options) -> RejectReason:
    with pytest.raises(RejectedMessage) as caught:
        decode(options.pop("prefix", b"raw"), frame, **options)
    return caught.value.reason


def same(left, right) -> bool:
    if isinstance(left, np.ndarray):
        return (
            isinstance(right, np.ndarray)
            and (left.dtype, left.shape) == (right.dtype, right.shape)
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return left == right or (left != left and right != right)


DOCUMENT: dict[str, Any] = {
    "uid": "u",
    "seq_num": 3,
    "time": 1.5,
    "data": {
        "frame": FRAME,
        "fortran": np.asfortranarray(FRAME),
        "big": FRAME.astype(">i4"),
        "empty": np.zeros((0, 3)),
        "flags": np.array([True, False]),
        "text": np.array(["a", "bc"]),
        "zero_dimensional": np.array(2.5),
    },
    "md": {"none": None, "list": [1, "2", [3.5]], "nan": float("nan"), "big": 2**40, "bytes": b"\x00"},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_stock_pickle_comes_back_equal(protocol):
    name, document = decode(b"raw", wire(pickle.dumps(DOCUMENT, protocol=protocol)))
    assert name == "event"
    assert same(DOCUMENT, document)


@pytest.mark.parametrize("serialize", [msgpack_numpy.dumps, pack_document])
def test_msgpack_numpy_comes_back_equal(serialize):
    document = {**DOCUMENT, "data": {key: np.ascontiguousarray(value) for key, value in DOCUMENT["data"].items()}}
    document["data"]["zero_dimensional"] = DOCUMENT["data"]["zero_dimensional"]
    assert same(document, decode(b"raw", wire(serialize(document)))[1])


def test_plain_msgpack_comes_back_equal():
    document = {"uid": "u", "num_points": 61}
    assert decode(b"", wire(packed(document), b"start", b"any")) == ("start", document)


@pytest.mark.parametrize("serialize", [pickle.dumps, msgpack_numpy.dumps])
def test_numpy_scalars_become_python_numbers(serialize):
    values = {"f": np.float64(1.5), "i": np.int32(-3), "b": np.bool_(True), "u": np.uint64(2**63)}
    document = decode(b"raw", wire(serialize(values)))[1]
    assert document == {"f": 1.5, "i": -3, "b": True, "u": 2**63}
    assert [type(value) for value in document.values()] == [float, int, bool, int]


def test_numpy_1_pickles_are_read():
    payload = pickle.dumps({"frame": FRAME, "x": np.float32(2)}, protocol=2).replace(b"numpy._core", b"numpy.core")
    assert same(decode(b"raw", wire(payload))[1], {"frame": FRAME, "x": 2.0})


def test_arrays_are_read_only_views():
    array = decode(b"raw", wire(pickle.dumps({"a": FRAME})))[1]["a"]
    assert isinstance(array, np.ndarray)
    assert not array.flags.writeable


@given(st.text(st.characters(), max_size=20))
def test_text_that_is_none_costs_no_document(text):
    assert decode(b"raw", wire(pickle.dumps({"name": text})))[1] == {"name": text}
    packed = unpack_document(pack_document({"name": text}))["name"]
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert packed == text


def test_bytes_that_were_a_name_are_that_name_again():
    assert unpack_document(pack_document({"path": "caf\udce9.h5"})) == {"path": "caf\udce9.h5"}
    raw = packed({"sample_name": "caf\udce9"})
    assert decode(b"raw", wire(raw, b"start"))[1] == {"sample_name": "caf\udce9"}


def test_ordered_dictionaries_and_sets_become_plain():
    document = decode(b"raw", wire(pickle.dumps({"o": OrderedDict(a=1), "s": {"b", "a"}})))[1]
    assert document == {"o": {"a": 1}, "s": ["a", "b"]}
    assert type(document["o"]) is dict


class Gain(StrEnum):
    HIGH = "high"


def test_enumerations_of_known_packages_become_their_values_without_an_import():
    payload = pickle.dumps({"gain": Gain.HIGH}, protocol=3)
    payload = payload.replace(f"c{Gain.__module__}\nGain".encode(), b"cophyd_async.no_such_module\nGain")
    assert b"no_such_module" in payload
    assert decode(b"raw", wire(payload))[1] == {"gain": "high"}


def test_enumerations_of_other_packages_are_refused_unless_allowed():
    payload = pickle.dumps({"gain": Gain.HIGH}, protocol=3)
    payload = payload.replace(f"c{Gain.__module__}\nGain".encode(), b"cmy_beamline.devices\nGain")
    assert reason(wire(payload)) is RejectReason.FORBIDDEN_CODE
    assert decode(b"raw", wire(payload), enum_modules=("my_beamline",))[1] == {"gain": "high"}


def test_encode_is_what_the_stock_publisher_writes():
    document = {"uid": "u"}
    assert encode(b"raw", "stop", document) == b"raw stop " + pickle.dumps(document)
    assert decode(b"raw", encode(b"raw", "stop", document, PayloadFormat.MSGPACK)) == ("stop", document)
    with pytest.raises(ValueError, match="space"):
        encode(b"a b", "stop", document)
    with pytest.raises(ValueError, match="no such document"):
        encode(b"raw", "stopp", document)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"", RejectReason.PARTS),
        (b"garbage", RejectReason.PARTS),
        (b"raw event", RejectReason.PARTS),
        (b"raw " + b"x" * 500 + b" y", RejectReason.PARTS),
        (b"other event \x80\x04}.", RejectReason.PREFIX),
        (b"raw evnet \x80\x04}.", RejectReason.UNKNOWN_NAME),
        (b"raw \xff\xfe \x80\x04}.", RejectReason.UNKNOWN_NAME),
        (b"raw event ", RejectReason.TRUNCATED),
        (b"raw event {}", RejectReason.FORMAT),
        (b"raw event \x80\x04", RejectReason.TRUNCATED),
        (b"raw event \x80\x04].", RejectReason.MALFORMED),
        (b"raw event \x80\x04}.more", RejectReason.MALFORMED),
        (b"raw event \x81\x01\x02", RejectReason.MALFORMED),
        (b"raw event \x82\xa1a\x01", RejectReason.TRUNCATED),
        (b"raw event \x81\xa1a\x01\x00", RejectReason.MALFORMED),
        (b"raw event \x81\xa1a\xc7\x01\x05\x00", RejectReason.FORBIDDEN_TYPE),
    ],
)
def test_what_is_no_document_is_refused_with_its_reason(frame, expected):
    assert reason(frame) is expected


class RunsCode:
    def __init__(self, call, *arguments):
        self._reduction = (call, arguments)

    def __reduce__(self):
        return self._reduction


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_pickle_never_runs(tmp_path: Path, protocol):
    canary = tmp_path / "canary"
    for attack in (
        RunsCode(os.system, f"touch {canary}"),  # pyright: ignore[reportDeprecated] - what an attacker would take
        RunsCode(eval, f"open({str(canary)!r}, 'w')"),
        RunsCode(open, str(canary), "w"),
        RunsCode(np.load, str(canary)),
        RunsCode(getattr, np, "load") if protocol > 5 else RunsCode(exec, f"open({str(canary)!r}, 'w')"),
    ):
        refused = reason(wire(pickle.dumps({"x": attack}, protocol=protocol)))
        assert refused in (RejectReason.FORBIDDEN_CODE, RejectReason.FORMAT)
    assert not canary.exists()


def test_object_arrays_are_refused_in_both_formats(tmp_path: Path):
    canary = tmp_path / "canary"
    attack = RunsCode(os.system, f"touch {canary}")  # pyright: ignore[reportDeprecated] - what an attacker would take
    array = np.array([attack], dtype=object)
    assert reason(wire(pickle.dumps({"x": array}))) in (RejectReason.FORBIDDEN_CODE, RejectReason.FORBIDDEN_DTYPE)
    assert reason(wire(msgpack_numpy.dumps({"x": array}))) is RejectReason.FORBIDDEN_DTYPE
    assert not canary.exists()


@pytest.mark.parametrize("dtype", ["O", "V8", [("a", "O")], [("a", "<i4")], "<M8[s]", "f16"])
@pytest.mark.parametrize("serialize", [pickle.dumps, msgpack_numpy.dumps])
def test_dtypes_off_the_list_are_refused(dtype, serialize):
    if dtype == "<M8[s]" and serialize is msgpack_numpy.dumps:
        pytest.skip("msgpack-numpy itself can't send dates")
    assert reason(wire(serialize({"x": np.zeros(2, dtype)}))) in (
        RejectReason.FORBIDDEN_DTYPE,
        RejectReason.FORBIDDEN_CODE,
    )


def nd(**changes) -> bytes:
    value = {b"nd": True, b"type": "<u2", b"kind": b"", b"shape": [2], b"data": b"\0\0\0\0"}
    return wire(packed({"x": value | {key.encode(): item for key, item in changes.items()}}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shape": [10**12]}, RejectReason.SHAPE),
        ({"shape": [2**31, 2**31, 2**31]}, RejectReason.SHAPE),
        ({"shape": [-1]}, RejectReason.SHAPE),
        ({"shape": [1] * 40}, RejectReason.SHAPE),
        ({"shape": [True]}, RejectReason.SHAPE),
        ({"shape": "2"}, RejectReason.SHAPE),
        ({"shape": [3]}, RejectReason.SHAPE),
        ({"data": "text"}, RejectReason.MALFORMED),
        ({"type": "<u2,<u2"}, RejectReason.FORBIDDEN_DTYPE),
        ({"type": "U0"}, RejectReason.FORBIDDEN_DTYPE),
        ({"type": [["a", "<u2"]]}, RejectReason.FORBIDDEN_DTYPE),
        ({"kind": b"O"}, RejectReason.FORBIDDEN_DTYPE),
        ({"nd": False}, RejectReason.SHAPE),
    ],
)
def test_arrays_that_lie_are_refused(changes, expected):
    assert reason(nd(**changes)) is expected


def pickled(*opcodes: bytes) -> bytes:
    return wire(b"\x80\x04" + b"".join(opcodes) + b".")


BOMBS = {
    "memo index": pickled(b"}r" + struct.pack("<I", 2**32 - 1)),
    "bytearray length": pickled(b"\x96" + struct.pack("<Q", 2**40)),
    "bytes length": pickled(b"\x8e" + struct.pack("<Q", 2**40)),
    "text length": pickled(b"X" + struct.pack("<I", 2**31)),
    "nested tuples": pickled(b")" + b"\x85" * 1_000_000),
    "nested lists": pickled(b"}\x8c\x01a" + b"]" * 100_000 + b"a" * 99_999 + b"s"),
    "shared lists": pickled(b"}\x8c\x01a]" + b"".join(b"\x94](h%ch%ce" % (n, n) for n in range(60)) + b"s"),
    "huge integer": pickled(b"}\x8c\x01a\x8a\xff" + b"\x7f" * 255 + b"s"),
    "msgpack array32": wire(b"\x81\xa1a\xdd\xff\xff\xff\xff"),
    "msgpack map32": wire(b"\xdf\xff\xff\xff\xff"),
    "msgpack nested": wire(b"\x81\xa1a" + b"\x91" * 1_000_000 + b"\x01"),
    "msgpack nested array32": wire(b"\x81\xa1a" + b"\xdd\x00\x06\x00\x00" * 200 + b"\x01" * 500_000),
    "msgpack wide": wire(b"\x81\xa1a\xdd" + struct.pack(">I", 2_000_000) + b"\x01" * 2_000_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_memory_is_taken(name):
    tracemalloc.start()
    try:
        reason(BOMBS[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16_000_000 + 2 * len(BOMBS[name])


def test_circular_documents_are_refused():
    circle: dict[str, object] = {}
    circle["self"] = circle
    assert reason(wire(pickle.dumps(circle))) is RejectReason.NESTING


def test_messages_over_the_limit_are_refused():
    assert reason(wire(b"\x80" * 2000), limits=DecoderLimits(max_message_bytes=1000)) is RejectReason.TOO_LARGE


def test_state_can_not_be_given_to_our_own_functions():
    module = io.BytesIO()
    module.write(b"\x80\x04cnumpy\ndtype\n}\x8c\x01ac_codecs\nencode\nsb.")
    assert reason(wire(module.getvalue())) is RejectReason.FORBIDDEN_CODE


@given(st.binary(max_size=300))
def test_any_bytes_are_a_document_or_refused(data):
    for frame in (data, wire(data), wire(b"\x80\x04" + data), wire(b"\x81\xa1a" + data)):
        try:
            name, document = decode(b"raw", frame)
        except RejectedMessage:
            continue
        assert name == "event"
        assert isinstance(document, dict)


OPCODES = st.sampled_from([opcode.code.encode("latin1") for opcode in pickletools.opcodes])


@given(st.lists(st.one_of(OPCODES, st.binary(max_size=4), st.just(b"cnumpy\nndarray\n")), max_size=60))
def test_any_opcodes_are_a_document_or_refused(opcodes):
    frame = pickled(*opcodes)
    try:
        _, document = decode(b"raw", frame)
    except RejectedMessage:
        return
    assert isinstance(document, dict)


@given(st.integers(0, 2000), st.integers(1, 255), st.sampled_from([2, 4, 5, "msgpack"]))
def test_a_flipped_byte_gives_a_document_or_is_refused(place, mask, form):
    payload = msgpack_numpy.dumps(DOCUMENT) if form == "msgpack" else pickle.dumps(DOCUMENT, protocol=form)
    harmed = bytearray(payload)
    harmed[place % len(harmed)] ^= mask
    try:
        _, document = decode(b"raw", wire(bytes(harmed)))
    except RejectedMessage:
        return
    assert isinstance(document, dict)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
ARRAYS = hnp.arrays(
    st.sampled_from(["<u2", ">u4", "<i8", "<f4", "<f8", "?", "<c8"]), hnp.array_shapes(min_dims=0, min_side=0)
)


@given(st.dictionaries(st.text(), PLAIN | ARRAYS, max_size=5), st.sampled_from(list(PayloadFormat)))
def test_every_document_survives_the_wire(document, form):
    if form is PayloadFormat.AUTO:
        assert same(document, unpack_document(pack_document(document)))
    else:
        assert same(document, decode(b"raw", encode(b"raw", "start", document, form))[1])
