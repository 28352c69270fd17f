"""Turns decoded values into a document: text keys, plain values, read-only arrays, bounded depth and number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from braggwatch.services.stream.rejection import DecoderLimits, RejectedMessage, RejectReason

# Beyond this JSON readers and SQLite lose integers.
_LARGEST_INT = 2**64

SpecialValue = Callable[[object], object | None]


class Normaliser:
    """Rebuilds one document's containers; shared or circular references count each time they are met.

    Parameters
    ----------
    special
        Called with each value that is no plain one and with each dictionary; returns its replacement or None.
    """

    def __init__(self, limits: DecoderLimits, special: SpecialValue) -> None:
        self._limits = limits
        self._special = special
        self._nodes = 0

    def document(self, value: object) -> dict[str, object]:
        """Return the document, or raise `RejectedMessage` where it isn't a dictionary of plain values."""
        document = self._value(value, 0)
        if not isinstance(document, dict):
            raise RejectedMessage(RejectReason.MALFORMED, "document is not a dictionary")
        return document

    def _value(self, value: object, depth: int) -> object:
        self._nodes += 1
        if self._nodes > self._limits.max_nodes:
            raise RejectedMessage(RejectReason.SIZE, f"more than {self._limits.max_nodes} values")
        kind = type(value)
        if kind is str or kind is float or kind is bool or value is None or kind is bytes or kind is complex:
            return value
        if kind is int:
            return _bounded(value)
        if isinstance(value, np.ndarray):
            return value
        replacement = self._special(value)
        if replacement is not None:
            return replacement
        if depth >= self._limits.max_depth:
            raise RejectedMessage(RejectReason.NESTING, f"deeper than {self._limits.max_depth}")
        if isinstance(value, dict):
            return {_key(key): self._value(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, depth + 1) for item in value]
        if isinstance(value, tuple):
            return tuple(self._value(item, depth + 1) for item in value)
        if isinstance(value, (set, frozenset)):
            # Documents are JSON in spirit: a set of names someone put into the metadata becomes a sorted list.
            return sorted((self._value(item, depth + 1) for item in value), key=repr)
        if isinstance(value, bytearray):
            return bytes(value)
        raise RejectedMessage(RejectReason.FORBIDDEN_TYPE, f"value of type {kind.__name__}")


def _key(key: object) -> str:
    if type(key) is not str:
        raise RejectedMessage(RejectReason.MALFORMED, "dictionary key is not text")
    return key


def _bounded(value: object) -> int:
    assert isinstance(value, int)  # noqa: S101 (the caller looked at the type)
    if abs(value) > _LARGEST_INT:
        raise RejectedMessage(RejectReason.SIZE, "integer beyond 64 bits")
    return value
