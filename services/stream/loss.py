"""Counts what must exist and never came, from ``seq_num``, the ranges of ``stream_datum`` and ``num_events``.

Nothing on the wire numbers the messages themselves, so loss shows in what the documents say of each other: a jump
within a stream, and a stop document that counts more than came.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from braggwatch.callbacks.documents.document_checks import string
from braggwatch.services.stream.sequence_gaps import Gap, SequenceGaps
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_MAX_FILES = 256


@dataclass(slots=True)
class _Stream:
    """What is known of one stream: its own events, and for each data key in files the ranges of its stream_datum."""

    name: str
    has_own_values: bool
    file_keys: frozenset[str]
    events: SequenceGaps = field(default_factory=SequenceGaps)
    files: dict[str, SequenceGaps] = field(default_factory=dict[str, SequenceGaps])


@dataclass(slots=True)
class _Run:
    streams: dict[str, _Stream] = field(default_factory=dict[str, _Stream])
    key_of: dict[str, str] = field(default_factory=dict[str, str])
    lost: int = 0
    stopped_at: float | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """Newly certain loss of one run.

    Attributes
    ----------
    documents
        Events, each one for certain, and stream_datum, at least one for each range that is missing.
    frames
        Frames in files that those stream_datum would have announced; the largest number over the files of a stream.
    """

    run_uid: str
    documents: int
    frames: int


class LossLedger:
    """Follows the streams of the open runs; belongs to one thread, only `open_runs` may be asked from others.

    Ranges of stream_datum are followed by their ``seq_nums``, the numbers that ``num_events`` counts too, over all
    files of one data key.

    Parameters
    ----------
    grace_s
        How long a document may come out of order before it counts as lost, seconds of the clock given to `observe`.
    max_runs
        Runs followed; the longest idle is forgotten first.
    """

    def __init__(self, grace_s: float, max_runs: int = 1000) -> None:
        self._grace_s = grace_s
        self._runs = Bounded[str, _Run](max_runs)
        # Counted, not looked up: other threads ask while the receiver's changes the runs.
        self._open = 0
        self.jumps = 0

    @property
    def open_runs(self) -> int:
        """Runs that started and have not stopped; may be asked from any thread."""
        return self._open

    def observe(self, run_uid: str | None, name: str, document: Mapping[str, object], now: float) -> bool:
        """Take one document; return True where it shows a jump in its stream."""
        if run_uid is None:
            return False
        if name == "start":
            if run_uid not in self._runs:
                self._open += 1
                for _, forgotten in self._runs.put(run_uid, _Run()):
                    self._open -= forgotten.stopped_at is None
            return False
        run = self._runs.get(run_uid)
        if run is None:
            return False
        self._runs.move_to_end(run_uid)
        jumped = False
        if name == "descriptor" and (uid := string(document.get("uid"))) is not None:
            run.streams.setdefault(uid, _described(document))
        elif name == "stream_resource" and (uid := string(document.get("uid"))) is not None:
            run.key_of[uid] = string(document.get("data_key")) or uid
        elif name in ("event", "event_page"):
            jumped = _events(run, document, now)
        elif name == "stream_datum":
            jumped = _range(run, document, now)
        elif name == "stop":
            self._open -= run.stopped_at is None
            _stopped(run, document, now)
        self.jumps += jumped
        return jumped

    def settle(self, now: float) -> list[Loss]:
        """Return what became certainly lost since the last call, and forget runs that are done."""
        losses: list[Loss] = []
        done: list[str] = []
        for run_uid, run in self._runs.items():
            documents = frames = 0
            for stream in run.streams.values():
                documents += _count(stream.events.overdue(now, self._grace_s))
                ranges = [one.overdue(now, self._grace_s) for one in stream.files.values()]
                documents += sum(len(gaps) for gaps in ranges)
                # Frames and the readings taken with them are files of their own, and lost together.
                frames += max((_count(gaps) for gaps in ranges), default=0)
            if documents:
                loss = Loss(run_uid, documents, frames)
                run.lost += loss.documents
                losses.append(loss)
                logger.warning(
                    "run %s: %d documents lost (%d in all), with %d frames in files",
                    run_uid,
                    loss.documents,
                    run.lost,
                    loss.frames,
                )
            if run.stopped_at is not None and now - run.stopped_at >= self._grace_s:
                done.append(run_uid)
        for run_uid in done:
            del self._runs[run_uid]
        return losses


def _described(document: Mapping[str, object]) -> _Stream:
    keys = document.get("data_keys")
    described = cast("Mapping[str, object]", keys) if isinstance(keys, Mapping) else {}
    in_files = frozenset(key for key, value in described.items() if _is_streamed(value))
    return _Stream(string(document.get("name")) or "primary", len(described) > len(in_files), in_files)


def _is_streamed(data_key: object) -> bool:
    external = cast("Mapping[str, object]", data_key).get("external") if isinstance(data_key, Mapping) else None
    return (string(external) or "").startswith("STREAM:")


def _events(run: _Run, document: Mapping[str, object], now: float) -> bool:
    stream = run.streams.get(string(document.get("descriptor")) or "")
    if stream is None:
        return False
    number = document.get("seq_num")
    numbers = cast("list[object]", number) if isinstance(number, list) else [number]
    seen = [stream.events.see(one, one + 1, now) for one in numbers if isinstance(one, int)]
    return any(seen)


def _range(run: _Run, document: Mapping[str, object], now: float) -> bool:
    stream = run.streams.get(string(document.get("descriptor")) or "")
    resource = string(document.get("stream_resource"))
    span = document.get("seq_nums")
    if stream is None or resource is None or not isinstance(span, Mapping):
        return False
    ends = cast("Mapping[str, object]", span)
    first, last = ends.get("start"), ends.get("stop")
    if not isinstance(first, int) or not isinstance(last, int):
        return False
    key = run.key_of.get(resource, resource)
    if key not in stream.files:
        if len(stream.files) >= _MAX_FILES:
            return False
        stream.files[key] = SequenceGaps()
    return stream.files[key].see(first, last, now)


def _stopped(run: _Run, document: Mapping[str, object], now: float) -> None:
    run.stopped_at = now
    counts = document.get("num_events")
    if not isinstance(counts, Mapping):
        return
    for stream in run.streams.values():
        count = cast("Mapping[str, object]", counts).get(stream.name)
        if not isinstance(count, int) or count < 1:
            continue
        # A stream whose values are all in files may have no event documents at all.
        if stream.has_own_values or stream.events.highest:
            stream.events.promise(count, now)
        if not stream.files:
            stream.files = {key: SequenceGaps() for key in sorted(stream.file_keys)[:_MAX_FILES]}
        for one in stream.files.values():
            one.promise(count, now)


def _count(gaps: list[Gap]) -> int:
    return sum(gap.length for gap in gaps)
