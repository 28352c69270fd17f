"""Splits one stream of documents between several kinds of measurement, within a run or across runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import cast

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.contents import RunContents
from braggwatch.callbacks.documents.counters import AssemblyCounters, MutableCounters
from braggwatch.callbacks.documents.intake import DocumentIntake, KnownDocument
from braggwatch.callbacks.documents.stream import DocumentStream
from braggwatch.callbacks.documents.unrecorded import RunFate, UnrecordedRun, UnrecordedRuns
from braggwatch.sim.bounded import Bounded

_STARTS = 1024
_DESCRIPTORS = 65_536
_DESCRIBED = {"descriptor": "uid", "event": "descriptor", "stream_datum": "descriptor"}
"""Documents about single data keys → their field with the descriptor's uid."""

_FATES = (RunFate.RECORDED, RunFate.OPEN, RunFate.SKIPPED, RunFate.EVICTED, RunFate.IGNORED)
"""What counts first of the fates of one run in several streams."""


class ModalityCallback:
    """Checks each document once and passes it to every stream, without data keys claimed by another stream.

    A run may hold several kinds of measurement, in separate streams or in one. Data keys that a descriptor declares for
    one kind never reach the others, even if they name a detector that those look for.

    Parameters
    ----------
    streams
        One for each kind. If two claim a data key, the first gets it.
    settings
        Limits on documents waiting for those they refer to: number and time.
    clock
        Monotonic seconds.
    on_unrecorded
        Called once for each run of which no stream makes a record, with the reason.
    """

    def __init__(
        self,
        streams: Sequence[DocumentStream],
        settings: AssemblySettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_unrecorded: Callable[[UnrecordedRun], None] | None = None,
    ) -> None:
        settings = settings or AssemblySettings()
        self._streams = tuple(streams)
        self._clock = clock
        counters = self._counters = MutableCounters()
        self._unrecorded = UnrecordedRuns(
            self._fate, self._why_unrecorded, on_unrecorded or (lambda _: None), counters, settings.run_timeout_s
        )
        self._intake = DocumentIntake(self._take, self.expire, counters, settings, clock, self._unrecorded)
        self._claimants = Bounded[str, frozenset[int]](_DESCRIPTORS)
        self._starts = Bounded[str, Mapping[str, object]](_STARTS)
        self._owner_of_key = Bounded[str, dict[str, int]](_DESCRIPTORS)
        self._key_of_resource = Bounded[str, str](_DESCRIPTORS)

    @property
    def open_runs(self) -> int:
        """Runs of any kind that have begun and not ended."""
        return max((stream.open_runs for stream in self._streams), default=0)

    @property
    def counters(self) -> AssemblyCounters:
        """Totals of all streams; rejected documents and those that waited in vain are counted once."""
        return reduce(add, (stream.counters for stream in self._streams), self._counters.snapshot())

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document of the event model; never raises."""
        self._intake(name, doc)

    def expire(self, now_monotonic: float) -> None:
        """End what is over; call it about once a second."""
        self._intake.expire(now_monotonic)
        for stream in self._streams:
            stream.expire(now_monotonic)
        self._unrecorded.look(now_monotonic)

    def flush(self) -> None:
        """End and report every open run, as at shutdown."""
        self._intake.flush()
        for stream in self._streams:
            stream.flush()
        self._unrecorded.flush(self._clock())

    def _fate(self, run_uid: str) -> RunFate:
        """Return what became of a run in all streams: one record is enough."""
        fates = {number: stream.fate(run_uid) for number, stream in enumerate(self._streams)}
        if any(fates[number] is RunFate.UNKNOWN for number in self._claimants.get(run_uid, ())):
            return RunFate.RECORDED  # that stream can't tell, but has claimed data of it
        return next((fate for fate in _FATES if fate in fates.values()), RunFate.UNKNOWN)

    def _why_unrecorded(self, contents: RunContents) -> str | None:
        reasons = [stream.why_unrecorded(contents) for stream in self._streams]
        return "; ".join(reason for reason in reasons if reason is not None) or None

    def _take(self, documents: Sequence[KnownDocument], now: float) -> None:
        for document in documents:
            self._note(document)
        for number, stream in enumerate(self._streams):
            own = [part for document in documents if (part := self._part_of(number, document)) is not None]
            stream.take(own, now)

    def _note(self, document: KnownDocument) -> None:
        """Remember which stream claims which data keys of a descriptor."""
        doc = document.doc
        if document.name == "start":
            self._starts[str(doc["uid"])] = doc
        elif document.name == "stop":
            self._starts.pop(str(doc["run_start"]), None)
        elif document.name == "stream_resource":
            self._key_of_resource[str(doc["uid"])] = str(doc["data_key"])
        elif document.name == "descriptor":
            start = self._starts.get(str(doc["run_start"]))
            owners: dict[str, int] = {}
            for number, stream in enumerate(self._streams):
                owners |= {key: number for key in stream.claims(start, doc) if key not in owners}
            if owners:
                self._owner_of_key[str(doc["uid"])] = owners
                run_uid = str(doc["run_start"])
                self._claimants[run_uid] = self._claimants.get(run_uid, frozenset()) | set(owners.values())
            for number, stream in enumerate(self._streams):
                if any(owner != number for owner in owners.values()):
                    stream.leave_to_others(str(doc["run_start"]))

    def _part_of(self, number: int, document: KnownDocument) -> KnownDocument | None:
        """Return the part of a document that one stream gets; None if it belongs to another."""
        if document.name not in _DESCRIBED:
            return document
        doc = document.doc
        owners = self._owner_of_key.get(str(doc[_DESCRIBED[document.name]]), {})
        foreign = {key for key, owner in owners.items() if owner != number}
        if not foreign:
            return document
        if document.name == "stream_datum":
            return None if self._key_of_resource.get(str(doc["stream_resource"])) in foreign else document
        return _without(document, "data_keys" if document.name == "descriptor" else "data", foreign)


def _without(document: KnownDocument, group: str, keys: set[str]) -> KnownDocument:
    """Return a document without some keys of one of its mappings."""
    values = cast("Mapping[str, object]", document.doc[group])
    return replace(
        document, doc={**document.doc, group: {key: value for key, value in values.items() if key not in keys}}
    )
