"""Is this a document at all? Schemas for the rare ones, cheap hand checks for those that come by the thousand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import cast

from event_model import DocumentNames, schema_validators
from jsonschema.exceptions import ValidationError

from braggwatch.sim.errors import BraggwatchError

_BY_SCHEMA = frozenset({"start", "descriptor", "stop", "resource", "stream_resource"})
_PAGES = frozenset({"event_page", "datum_page"})
_BY_HAND = frozenset({"event", "datum", "stream_datum"}) | _PAGES


class RejectedDocument(BraggwatchError, ValueError):  # noqa: N818 the receiver counts rejections, it does not fail
    """A document that can't be used; ``reason`` is a short word for a counter, the message says more."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def check(name: str, doc: Mapping[str, object]) -> None:
    """Check one document.

    Raises
    ------
    RejectedDocument
        ``unknown_name`` for a name outside the event model, ``schema`` for missing or wrong fields.
    """
    if name not in _BY_SCHEMA and name not in _BY_HAND:
        raise RejectedDocument("unknown_name", f"no document is called {name!r:.80}")
    if not isinstance(doc, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] it comes from a wire
        raise RejectedDocument("schema", f"{name} is not a mapping")
    if name in _BY_SCHEMA:
        _check_schema(name, doc)
    elif name == "event":
        _need(doc, name, ("uid", "descriptor"), str)
        integer(doc, "seq_num", at_least=1)
        number(doc, "time")
        mapping(doc, "data")
    elif name == "event_page":
        _need(doc, name, ("descriptor",), str)
        _check_event_page(doc)
    elif name == "datum":
        _need(doc, name, ("datum_id", "resource"), str)
        mapping(doc, "datum_kwargs")
    elif name == "datum_page":
        _need(doc, name, ("resource",), str)
        _check_columns(doc, "datum_id", mapping(doc, "datum_kwargs"))
    else:
        _need(doc, name, ("uid", "descriptor", "stream_resource"), str)
        span(doc, "indices", at_least=0)
        span(doc, "seq_nums", at_least=1)


def integer(doc: Mapping[str, object], key: str, *, at_least: int) -> int:
    """Return a whole number of a document.

    Raises
    ------
    RejectedDocument
        Where it is absent, not whole or too small.
    """
    value = doc.get(key)
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < at_least:
        raise RejectedDocument("schema", f"{key} is not a whole number >= {at_least}: {value!r:.80}")
    return int(value)


def number(doc: Mapping[str, object], key: str) -> float:
    """Return a finite number of a document.

    Raises
    ------
    RejectedDocument
        Where it is absent, not a number or not finite.
    """
    value = finite(doc.get(key))
    if value is None:
        raise RejectedDocument("schema", f"{key} is not a finite number: {doc.get(key)!r:.80}")
    return value


def mapping(doc: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return a mapping of a document.

    Raises
    ------
    RejectedDocument
        Where it is absent or something else.
    """
    value = doc.get(key)
    if not isinstance(value, Mapping):
        raise RejectedDocument("schema", f"{key} is not a mapping: {value!r:.80}")
    return cast("Mapping[str, object]", value)


def span(doc: Mapping[str, object], key: str, *, at_least: int) -> tuple[int, int]:
    """Return ``(start, stop)`` of a StreamRange.

    Raises
    ------
    RejectedDocument
        Where it is absent, negative or runs backwards.
    """
    value = mapping(doc, key)
    start, stop = integer(value, "start", at_least=at_least), integer(value, "stop", at_least=at_least)
    if stop < start:
        raise RejectedDocument("schema", f"{key} runs backwards: {start} to {stop}")
    return start, stop


def finite(value: object) -> float | None:
    """Return a number as float, a one-element array likewise, None for anything else or what is not finite."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", None) == 1:
        value = item()
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    result = float(value)
    return result if -float("inf") < result < float("inf") else None


def text(value: object) -> str | None:
    """Return a non-empty string, None for anything else."""
    return string(value) or None


def string(value: object) -> str | None:
    """Return a string, empty ones too, None for anything else."""
    return value if isinstance(value, str) else None


def _check_schema(name: str, doc: Mapping[str, object]) -> None:
    try:
        schema_validators[DocumentNames[name]].validate(doc)
    except (ValidationError, RecursionError, TypeError, ValueError) as error:
        message = error.message if isinstance(error, ValidationError) else str(error)
        raise RejectedDocument("schema", f"{name}: {message:.200}") from error
    if name == "resource":
        _need(doc, name, ("uid",), str)
    if name in ("start", "stop", "descriptor"):
        number(doc, "time")


def _need(doc: Mapping[str, object], name: str, keys: Sequence[str], kind: type) -> None:
    for key in keys:
        if not isinstance(doc.get(key), kind) or not doc.get(key):
            raise RejectedDocument("schema", f"{name} lacks {key}")


def _check_event_page(doc: Mapping[str, object]) -> None:
    _check_columns(doc, "seq_num", mapping(doc, "data"))
    for key in ("uid", "time"):
        _length(doc.get(key), key)
    lengths = {_length(doc.get(key), key) for key in ("seq_num", "uid", "time")}
    if len(lengths) != 1:
        raise RejectedDocument("schema", "seq_num, uid and time of an event page differ in length")


def _check_columns(doc: Mapping[str, object], key: str, columns: Mapping[str, object]) -> None:
    expected = _length(doc.get(key), key)
    for column, values in columns.items():
        if _length(values, column) != expected:
            raise RejectedDocument("schema", f"column {column!r:.80} of a page differs in length from {key}")


def _length(value: object, key: str) -> int:
    if isinstance(value, str | bytes) or not hasattr(value, "__len__"):
        raise RejectedDocument("schema", f"{key} is not a list: {value!r:.80}")
    return len(cast("Sequence[object]", value))
