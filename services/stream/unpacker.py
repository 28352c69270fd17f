"""Reads msgpack documents, with or without msgpack-numpy's arrays, bounded before anything is allocated.

msgpack-numpy 0.4 carries an array as ``{b'nd': True, b'type': '<u2', b'kind': b'', b'shape': […], b'data': …}`` and a
scalar with ``b'nd': False``. Its own decoder unpickles kind ``O``; this one refuses it.
"""

from __future__ import annotations

from typing import Final

import msgpack

from braggwatch.services.stream.rejection import DecoderLimits, RejectedMessage, RejectReason
from braggwatch.services.stream.wire_arrays import build_array, build_scalar, plain_dtype

# First byte -> (bytes of the count that follows, containers' values for each count, is data).
_MAP16, _MAP32, _ARRAY16, _ARRAY32 = 0xDE, 0xDF, 0xDC, 0xDD
_FIXED: Final[dict[int, int]] = {
    0xC0: 0, 0xC2: 0, 0xC3: 0,
    0xCA: 4, 0xCB: 8,
    0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
}  # fmt: skip
_COUNTED: Final[dict[int, int]] = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_CONTAINERS: Final[dict[int, tuple[int, int]]] = {_ARRAY16: (2, 1), _ARRAY32: (4, 1), _MAP16: (2, 2), _MAP32: (4, 2)}


def scan(data: bytes, limits: DecoderLimits) -> None:
    """Accept one msgpack value whose lengths are all true and whose depth and number of values are bounded.

    The C unpacker makes a list of the declared length before it reads its items, so the lengths are checked first.

    Raises
    ------
    RejectedMessage
        With the reason.
    """
    end = len(data)
    position = 0
    values = 0
    # Open containers as the number of values still to come in each.
    remaining = [1]
    while remaining:
        if remaining[-1] == 0:
            remaining.pop()
            continue
        remaining[-1] -= 1
        if position >= end:
            raise RejectedMessage(RejectReason.TRUNCATED, "msgpack ends early")
        code = data[position]
        position += 1
        count = -1
        if code <= 0x7F or code >= 0xE0:
            pass
        elif code <= 0x8F:
            count = 2 * (code & 0x0F)
        elif code <= 0x9F:
            count = code & 0x0F
        elif code <= 0xBF:
            position += code & 0x1F
        elif (width := _FIXED.get(code)) is not None:
            position += width
        elif (width := _COUNTED.get(code)) is not None:
            start = position + width
            position = start + int.from_bytes(data[position:start], "big")
        elif (container := _CONTAINERS.get(code)) is not None:
            width, each = container
            count = each * int.from_bytes(data[position : position + width], "big")
            position += width
        else:
            raise RejectedMessage(RejectReason.FORBIDDEN_TYPE, f"msgpack type {code:#04x}")
        if count >= 0:
            values += count
            if values > 2 * limits.max_nodes:
                raise RejectedMessage(RejectReason.SIZE, f"more than {limits.max_nodes} values")
            if count > end - position:
                raise RejectedMessage(RejectReason.TRUNCATED, "container longer than the message")
            # An array takes one level more for its shape.
            if len(remaining) > limits.max_depth + 2:
                raise RejectedMessage(RejectReason.NESTING, f"deeper than {limits.max_depth}")
            remaining.append(count)
    if position != end:
        reason = RejectReason.TRUNCATED if position > end else RejectReason.MALFORMED
        raise RejectedMessage(reason, "msgpack length")


def unpack(data: bytes, limits: DecoderLimits) -> object:
    """Decode one msgpack value; arrays stay dictionaries until `array_of_dict` sees them.

    Raises
    ------
    RejectedMessage
        With the reason.
    """
    scan(data, limits)
    try:
        # Bytes that are no UTF-8 become lone surrogates, as a pickle may hold them too: records have them replaced.
        return msgpack.unpackb(data, raw=False, strict_map_key=True, use_list=True, unicode_errors="surrogateescape")
    except (ValueError, TypeError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        raise RejectedMessage(RejectReason.MALFORMED, f"msgpack: {type(error).__name__}") from error


class ArrayReader:
    """Recognises msgpack-numpy's dictionaries."""

    def __init__(self, limits: DecoderLimits) -> None:
        self._limits = limits

    def __call__(self, value: object) -> object | None:
        """Return the array, number or complex that a dictionary stands for; None for any other value.

        Raises
        ------
        RejectedMessage
            For an array of objects or structures, or one whose bytes don't match its shape.
        """
        if not isinstance(value, dict):
            return None
        if b"complex" in value:
            return _complex(value.get(b"data"))
        if b"nd" not in value:
            return None
        if value.get(b"kind") in (b"O", b"V"):
            raise RejectedMessage(RejectReason.FORBIDDEN_DTYPE, "array of objects or structures")
        dtype = plain_dtype(value.get(b"type"))
        if value[b"nd"] is True:
            return build_array(value.get(b"data"), dtype, value.get(b"shape"), fortran=False, limits=self._limits)
        return build_scalar(value.get(b"data"), dtype)


def _complex(text: object) -> complex:
    if not isinstance(text, str) or len(text) > 100:
        raise RejectedMessage(RejectReason.MALFORMED, "complex number")
    try:
        return complex(text)
    except ValueError as error:
        raise RejectedMessage(RejectReason.MALFORMED, "complex number") from error
