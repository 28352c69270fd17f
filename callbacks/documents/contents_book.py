"""Reads what runs hold out of their documents, whether those are valid, whole and in order or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from braggwatch.callbacks.documents import start_facts
from braggwatch.callbacks.documents.contents import KeyContents, RunContents, StreamContents
from braggwatch.callbacks.documents.document_checks import finite, text
from braggwatch.sim.bounded import Bounded

_MOST_RUNS: Final = 1024
_MOST_DESCRIPTORS: Final = 16_384
_MOST_STREAMS: Final = 32
_MOST_KEYS: Final = 512
_LONGEST_NAME: Final = 200
_NO_DOCUMENT: Final[Mapping[str, object]] = {}


@dataclass(slots=True)
class _Stream:
    keys: dict[str, KeyContents] = field(default_factory=dict[str, KeyContents])
    configuration: dict[str, None] = field(default_factory=dict[str, None])
    events: int = 0
    seen_event: bool = False


@dataclass(slots=True)
class _Run:
    start: Mapping[str, object] | None = None
    stop: Mapping[str, object] | None = None
    streams: dict[str, _Stream] = field(default_factory=dict[str, _Stream])
    refused: int = 0
    first_refusal: str | None = None


class ContentsBook:
    """Takes documents of any number of runs; nothing in them can make it raise.

    Runs and what is kept of each are bounded: the oldest runs are forgotten, further keys are left out.
    """

    def __init__(self, most_runs: int = _MOST_RUNS) -> None:
        self._runs = Bounded[str, _Run](most_runs)
        self._stream_of = Bounded[str, tuple[str, str]](_MOST_DESCRIPTORS)

    @property
    def runs(self) -> tuple[str, ...]:
        """Uids of the runs that are remembered, oldest first."""
        return tuple(self._runs)

    def take(self, name: str, doc: object, refusal: str | None = None) -> tuple[str | None, list[RunContents]]:
        """Take one document.

        Parameters
        ----------
        refusal
            Why it was refused; None if it is valid.

        Returns
        -------
        The uid of its run, None where it names none that is known; and the runs forgotten for it.
        """
        fields = cast("Mapping[str, object]", doc) if isinstance(doc, Mapping) else _NO_DOCUMENT
        if name in ("event", "event_page", "stream_datum"):
            uid, stream = self._stream_of.get(_word(fields.get("descriptor")) or "", (None, ""))
            run = self._runs.get(uid or "")
            if uid is None or run is None:
                return None, []
            if refusal is None:
                _take_event(run.streams.get(stream), name, fields)
            else:
                _refuse(run, refusal)
            return uid, []
        uid = _word(fields.get("uid" if name == "start" else "run_start"))
        if uid is None:
            return None, []
        forgotten = [] if uid in self._runs else self._runs.put(uid, _Run())
        run = self._runs[uid]
        if refusal is not None:
            _refuse(run, refusal)
        if name == "start":
            run.start = run.start or fields
        elif name == "stop":
            run.stop = run.stop or fields
        elif name == "descriptor" and refusal is None:
            self._describe(uid, run, fields)
        return uid, [_contents(each, gone) for each, gone in forgotten]

    def contents(self, run_uid: str) -> RunContents:
        """Return what is known of a run, nothing but its uid where it was never seen or is forgotten."""
        return _contents(run_uid, self._runs.get(run_uid) or _Run())

    def forget(self, run_uid: str) -> None:
        """Forget a run; further documents of it begin anew."""
        self._runs.pop(run_uid, None)

    def _describe(self, uid: str, run: _Run, doc: Mapping[str, object]) -> None:
        name = _word(doc.get("name")) or "primary"
        if name not in run.streams and len(run.streams) >= _MOST_STREAMS:
            return
        stream = run.streams.setdefault(name, _Stream())
        self._stream_of[str(doc["uid"])] = uid, name
        for key, value in _items(doc.get("data_keys")):
            if key in stream.keys or len(stream.keys) < _MOST_KEYS:
                stream.keys.setdefault(key, _key(key, value))
        for _, device in _items(doc.get("configuration")):
            data = cast("Mapping[str, object]", device).get("data") if isinstance(device, Mapping) else None
            for key, _ in _items(data):
                if len(stream.configuration) < _MOST_KEYS:
                    stream.configuration[key] = None


def _refuse(run: _Run, refusal: str) -> None:
    run.refused += 1
    run.first_refusal = run.first_refusal or refusal[:300]


def _take_event(stream: _Stream | None, name: str, doc: Mapping[str, object]) -> None:
    if stream is None:
        return
    if name == "stream_datum":
        span = doc.get("seq_nums")
        stop = finite(cast("Mapping[str, object]", span).get("stop")) if isinstance(span, Mapping) else None
        stream.events = max(stream.events, int(stop or 1) - 1)
        return
    number = doc.get("seq_num")
    stream.events += len(cast("list[object]", number)) if name == "event_page" and hasattr(number, "__len__") else 1
    if name == "event" and not stream.seen_event:
        # Classic devices describe arrays wrongly or not at all: an inline frame itself knows better.
        stream.seen_event = True
        for key, value in _items(doc.get("data")):
            shape = getattr(value, "shape", None)
            if isinstance(shape, tuple) and shape and key in stream.keys:
                known = stream.keys[key]
                update = {"shape": cast("tuple[int, ...]", shape), "dtype": str(getattr(value, "dtype", known.dtype))}
                stream.keys[key] = known.model_copy(update=update)


def _contents(uid: str, run: _Run) -> RunContents:
    start, stop = run.start or _NO_DOCUMENT, run.stop or _NO_DOCUMENT
    points = finite(start.get("num_points"))
    streams = tuple(
        StreamContents(
            name=name,
            keys=tuple(stream.keys.values()),
            configuration=tuple(stream.configuration),
            events=stream.events,
        )
        for name, stream in run.streams.items()
    )
    return RunContents(
        run_uid=uid,
        scan_id=start_facts.scan_id(start),
        plan_name=_word(start.get("plan_name")),
        motors=tuple(_names(start.get("motors"))),
        num_points=None if points is None else int(points),
        original_run_uid=_word(start.get("original_run_uid")),
        start_numbers=tuple(key for key, value in _items(start) if finite(value) is not None)[:_MOST_KEYS],
        states_fly=isinstance(start.get("fly"), Mapping),
        streams=streams,
        has_start=run.start is not None,
        exit_status=None if run.stop is None else _word(stop.get("exit_status")) or "no status",
        exit_reason=text(stop.get("reason")),
        refused=run.refused,
        first_refusal=run.first_refusal,
    )


def _key(name: str, stated: object) -> KeyContents:
    fields = cast("Mapping[str, object]", stated) if isinstance(stated, Mapping) else _NO_DOCUMENT
    shape: tuple[int, ...] = ()
    sides = fields.get("shape")
    if isinstance(sides, list | tuple):
        numbers = [finite(side) for side in cast("Iterable[object]", sides)]
        shape = tuple(int(number) for number in numbers[:8] if number is not None)
    dtype = _word(fields.get("dtype_numpy")) or _word(fields.get("dtype"))
    return KeyContents(name=name, shape=shape, dtype=dtype, external="external" in fields)


def _items(value: object) -> list[tuple[str, object]]:
    """Return the items of a mapping, with names as text; none of anything else."""
    if not isinstance(value, Mapping):
        return []
    pairs = cast("Mapping[object, object]", value).items()
    return [(name, item) for key, item in pairs if (name := _word(key)) is not None]


def _names(value: object) -> list[str]:
    if isinstance(value, str):
        return [value[:_LONGEST_NAME]]
    if not isinstance(value, list | tuple | set | frozenset):
        return []
    return [name for item in cast("Iterable[object]", value) if (name := _word(item)) is not None][:_MOST_STREAMS]


def _word(value: object) -> str | None:
    """Return what should be a name as text, a number likewise: a run with such a uid must be named too."""
    if isinstance(value, str):
        return value[:_LONGEST_NAME] or None
    if value is None or isinstance(value, Mapping | list | tuple):
        return None
    return str(value)[:_LONGEST_NAME] or None
