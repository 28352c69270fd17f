"""Reads a pickle's opcodes without running them, and refuses all but those a document is made of.

The C unpickler trusts its input with memory: a memo index of four billion makes it allocate a table of that size, a
declared length of a terabyte an array of that size, before any byte is read (opcode table: CPython's
``pickletools``). This scan checks each length against what is there, each memo index against the number of opcodes
so far, and bounds the number of tuples (whose hash recurses).
"""

from __future__ import annotations

import pickle
from typing import Final

from braggwatch.services.stream.rejection import DecoderLimits, RejectedMessage, RejectReason

_MAX_TUPLES: Final = 20_000
_MIN_PROTOCOL: Final = 2
_MAX_PROTOCOL: Final = 5

# Opcode -> number of argument bytes that follow and mean no length.
_FIXED: Final[dict[int, int]] = {
    pickle.NONE[0]: 0,
    pickle.NEWTRUE[0]: 0,
    pickle.NEWFALSE[0]: 0,
    pickle.BININT[0]: 4,
    pickle.BININT1[0]: 1,
    pickle.BININT2[0]: 2,
    pickle.BINFLOAT[0]: 8,
    pickle.EMPTY_DICT[0]: 0,
    pickle.EMPTY_LIST[0]: 0,
    pickle.EMPTY_SET[0]: 0,
    pickle.ADDITEMS[0]: 0,
    pickle.FROZENSET[0]: 0,
    pickle.APPEND[0]: 0,
    pickle.APPENDS[0]: 0,
    pickle.SETITEM[0]: 0,
    pickle.SETITEMS[0]: 0,
    pickle.MARK[0]: 0,
    pickle.REDUCE[0]: 0,
    pickle.NEWOBJ[0]: 0,
    pickle.BUILD[0]: 0,
    pickle.MEMOIZE[0]: 0,
    pickle.BINGET[0]: 1,
    pickle.BINPUT[0]: 1,
    pickle.LONG_BINGET[0]: 4,
    pickle.STACK_GLOBAL[0]: 0,
    pickle.FRAME[0]: 8,
}
_TUPLES: Final = frozenset(
    code[0] for code in (pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
)
# Opcode -> width of the length that precedes its data.
_COUNTED: Final[dict[int, int]] = {
    pickle.LONG1[0]: 1,
    pickle.SHORT_BINUNICODE[0]: 1,
    pickle.BINUNICODE[0]: 4,
    pickle.BINUNICODE8[0]: 8,
    pickle.SHORT_BINBYTES[0]: 1,
    pickle.BINBYTES[0]: 4,
    pickle.BINBYTES8[0]: 8,
    pickle.BYTEARRAY8[0]: 8,
}
_PROTO: Final = pickle.PROTO[0]
_STOP: Final = pickle.STOP[0]
_GLOBAL: Final = pickle.GLOBAL[0]
_LONG_BINPUT: Final = pickle.LONG_BINPUT[0]
_MAX_GLOBAL_LINE: Final = 256


def scan(data: bytes, limits: DecoderLimits) -> None:
    """Accept a pickle whose opcodes are all allowed, whose lengths are all true and which ends at its end.

    Raises
    ------
    RejectedMessage
        With the reason: a forbidden opcode, a false length, too many values or tuples, or bytes after the end.
    """
    end = len(data)
    if end < 2 or data[0] != _PROTO or not _MIN_PROTOCOL <= data[1] <= _MAX_PROTOCOL:
        raise RejectedMessage(RejectReason.FORMAT, "not a pickle of protocol 2 to 5")
    position = 2
    opcodes = 0
    tuples = 0
    # Memo and marks make about three opcodes a value.
    most_opcodes = 4 * limits.max_nodes
    while position < end:
        code = data[position]
        position += 1
        opcodes += 1
        if opcodes > most_opcodes:
            raise RejectedMessage(RejectReason.SIZE, f"more than {most_opcodes} opcodes")
        if (width := _FIXED.get(code)) is not None:
            position += width
        elif code in _TUPLES:
            tuples += 1
            if tuples > _MAX_TUPLES:
                raise RejectedMessage(RejectReason.NESTING, f"more than {_MAX_TUPLES} tuples")
        elif (width := _COUNTED.get(code)) is not None:
            start = position + width
            position = start + int.from_bytes(data[start - width : start], "little")
        elif code == _STOP:
            if position != end:
                raise RejectedMessage(RejectReason.MALFORMED, "bytes after the end of the pickle")
            return
        elif code == _GLOBAL:
            position = _after_lines(data, position)
        elif code == _LONG_BINPUT:
            position += 4
            if int.from_bytes(data[position - 4 : position], "little") > opcodes:
                raise RejectedMessage(RejectReason.SIZE, "memo index out of proportion")
        else:
            raise RejectedMessage(RejectReason.FORBIDDEN_CODE, f"opcode {code:#04x}")
    raise RejectedMessage(RejectReason.TRUNCATED, "pickle ends early")


def _after_lines(data: bytes, position: int) -> int:
    for _ in range(2):
        newline = data.find(b"\n", position, position + _MAX_GLOBAL_LINE)
        if newline < 0:
            raise RejectedMessage(RejectReason.MALFORMED, "global name without end")
        position = newline + 1
    return position
