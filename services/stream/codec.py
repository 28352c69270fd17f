"""The wire form of a document: ``prefix + b" " + name + b" " + payload`` in one ZeroMQ frame.

The same as `bluesky.callbacks.zmq.Publisher` (bluesky 1.15.1) writes with its default serializer (pickle), or with
``serializer=msgpack.dumps`` or ``serializer=msgpack_numpy.dumps``; but reading never runs code.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgpack
import numpy as np

from braggwatch.services.stream.normalise import Normaliser
from braggwatch.services.stream.rejection import DecoderLimits, RejectedMessage, RejectReason, clip
from braggwatch.services.stream.unpacker import ArrayReader, unpack
from braggwatch.services.stream.unpickler import DEFAULT_ENUM_MODULES, array_of_shell, unpickle
from braggwatch.sim.errors import InputError

__all__ = [
    "DOCUMENT_NAMES",
    "DecoderLimits",
    "PayloadFormat",
    "RejectReason",
    "RejectedMessage",
    "decode",
    "encode",
    "pack_document",
    "unpack_document",
]

DOCUMENT_NAMES: Final = frozenset(
    {
        "start",
        "descriptor",
        "event",
        "event_page",
        "resource",
        "datum",
        "datum_page",
        "stream_resource",
        "stream_datum",
        "stop",
    }
)
_LONGEST_NAME: Final = 64


class PayloadFormat(StrEnum):
    """How a payload is serialised; ``auto`` looks at its first bytes."""

    AUTO = "auto"
    PICKLE = "pickle"
    MSGPACK = "msgpack"


_DEFAULT_LIMITS: Final = DecoderLimits()


def decode(
    prefix: bytes,
    frame: bytes,
    *,
    payload_format: PayloadFormat = PayloadFormat.AUTO,
    limits: DecoderLimits = _DEFAULT_LIMITS,
    enum_modules: tuple[str, ...] = DEFAULT_ENUM_MODULES,
) -> tuple[str, dict[str, object]]:
    """Read one message.

    Parameters
    ----------
    prefix
        The prefix that is listened to; empty takes every prefix, as the stock dispatcher does.
    frame
        The whole ZeroMQ frame.
    enum_modules
        Packages whose pickled enumeration members are taken as their values, without an import.

    Returns
    -------
    tuple
        Document name and document: plain values, read-only arrays, numpy scalars as Python numbers.

    Raises
    ------
    RejectedMessage
        With the reason, for everything that isn't a document within bounds.
    """
    if len(frame) > limits.max_message_bytes:
        raise RejectedMessage(RejectReason.TOO_LARGE, f"{len(frame)} bytes")
    first = frame.find(b" ")
    second = frame.find(b" ", first + 1, first + 2 + _LONGEST_NAME)
    if first < 0 or second < 0:
        raise RejectedMessage(RejectReason.PARTS, "not three parts")
    if prefix and frame[:first] != prefix:
        raise RejectedMessage(RejectReason.PREFIX, "another prefix")
    name = frame[first + 1 : second].decode("utf-8", errors="replace")
    if name not in DOCUMENT_NAMES:
        raise RejectedMessage(RejectReason.UNKNOWN_NAME, f"document name {clip(name)}")
    payload = frame[second + 1 :]
    if _format_of(payload, payload_format) is PayloadFormat.PICKLE:
        value = unpickle(payload, limits, enum_modules)
        return name, Normaliser(limits, array_of_shell).document(value)
    return name, unpack_document(payload, limits)


def encode(
    prefix: bytes, name: str, document: Mapping[str, object], payload_format: PayloadFormat = PayloadFormat.PICKLE
) -> bytes:
    """Write one message as the stock publisher would.

    Raises
    ------
    ValueError
        Where the prefix has a space, the name is no document's, or the format is ``auto``.
    """
    if b" " in prefix:
        raise InputError(f"prefix {prefix!r} may not contain a space")
    if name not in DOCUMENT_NAMES:
        raise ValueError(f"no such document: {name!r}")
    return b" ".join([prefix, name.encode(), _serialise(dict(document), payload_format)])


def pack_document(document: Mapping[str, object]) -> bytes:
    """Serialise a document alone as msgpack with msgpack-numpy's arrays.

    Raises
    ------
    TypeError
        Where it holds a value that msgpack and msgpack-numpy don't carry, such as an array of objects.
    """
    try:
        # Text out of bytes that were no UTF-8, such as a file's name, is those bytes again.
        return _packed(document, "surrogateescape")
    except UnicodeEncodeError:
        return _packed(document, "surrogatepass")


def _packed(document: Mapping[str, object], unicode_errors: str) -> bytes:
    return bytes(msgpack.packb(dict(document), default=_pack_numpy, unicode_errors=unicode_errors) or b"")


def unpack_document(payload: bytes, limits: DecoderLimits = _DEFAULT_LIMITS) -> dict[str, object]:
    """Read what `pack_document` wrote, held against the same bounds as a message off the wire.

    Raises
    ------
    RejectedMessage
        With the reason.
    """
    return Normaliser(limits, ArrayReader(limits)).document(unpack(payload, limits))


def _serialise(document: dict[str, object], payload_format: PayloadFormat) -> bytes:
    match payload_format:
        case PayloadFormat.PICKLE:
            return pickle.dumps(document)
        case PayloadFormat.MSGPACK:
            return pack_document(document)
        case PayloadFormat.AUTO:
            raise ValueError("'auto' is for reading; choose pickle or msgpack to write")


def _pack_numpy(value: object) -> object:
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OV":
        return {
            b"nd": True,
            b"type": value.dtype.str,
            b"kind": b"",
            b"shape": value.shape,
            b"data": value.tobytes(),
        }
    if isinstance(value, np.generic) and value.dtype.kind not in "OV":
        return {b"nd": False, b"type": value.dtype.str, b"data": value.tobytes()}
    if isinstance(value, complex):
        return {b"complex": True, b"data": repr(value)}
    raise TypeError(f"{type(value).__name__} can't be sent")


def _format_of(payload: bytes, stated: PayloadFormat) -> PayloadFormat:
    if stated is not PayloadFormat.AUTO:
        return stated
    if not payload:
        raise RejectedMessage(RejectReason.TRUNCATED, "no payload")
    first = payload[0]
    # A pickle of protocol 2 or later begins 0x80 and its number. To msgpack 0x80 is an empty map, after which
    # nothing follows, so the two can't be confused.
    if first == 0x80 and len(payload) > 1:
        return PayloadFormat.PICKLE
    if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
        return PayloadFormat.MSGPACK
    raise RejectedMessage(RejectReason.FORMAT, f"first byte {first:#04x}")
