"""One stream of documents for several kinds of measurement: each gets what is its own, in one run or in many."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import cast

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.counters import AssemblyCounters, MutableCounters
from braggwatch.callbacks.documents.intake import DocumentIntake, KnownDocument
from braggwatch.callbacks.documents.stream import DocumentStream
from braggwatch.sim.bounded import Bounded

_STARTS = 1024
_DESCRIPTORS = 65_536
_DESCRIBED = {"descriptor": "uid", "event": "descriptor", "stream_datum": "descriptor"}
"""Documents that speak of single data keys → where they name the descriptor."""


class ModalityCallback:
    """Checks each document once, and hands it to every stream without the data keys that another one claims.

    A run may hold one kind of measurement or several, in streams of their own or in one. What a descriptor declares as
    one kind's never reaches the others, even under the data key of a detector that they look for.

    Parameters
    ----------
    streams
        One for each kind. Where two claim a data key, the first has it.
    settings
        How many documents may wait for others that they refer to, and for how long.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        streams: Sequence[DocumentStream],
        settings: AssemblySettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams = tuple(streams)
        self._counters = MutableCounters()
        self._intake = DocumentIntake(self._take, self.expire, self._counters, settings or AssemblySettings(), clock)
        self._starts = Bounded[str, Mapping[str, object]](_STARTS)
        self._owner_of_key = Bounded[str, dict[str, int]](_DESCRIPTORS)
        self._key_of_resource = Bounded[str, str](_DESCRIPTORS)

    @property
    def open_runs(self) -> int:
        """Runs of any kind that have begun and not ended."""
        return max((stream.open_runs for stream in self._streams), default=0)

    @property
    def counters(self) -> AssemblyCounters:
        """Totals of all streams; what can't be used and what waited in vain counts once for all of them."""
        return reduce(add, (stream.counters for stream in self._streams), self._counters.snapshot())

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document of the event model; never raises."""
        self._intake(name, doc)

    def expire(self, now_monotonic: float) -> None:
        """End what is over; call it about once a second."""
        self._intake.expire(now_monotonic)
        for stream in self._streams:
            stream.expire(now_monotonic)

    def flush(self) -> None:
        """End and report every open run, as at shutdown."""
        self._intake.flush()
        for stream in self._streams:
            stream.flush()

    def _take(self, documents: Sequence[KnownDocument], now: float) -> None:
        for document in documents:
            self._note(document)
        for number, stream in enumerate(self._streams):
            own = [part for document in documents if (part := self._part_of(number, document)) is not None]
            stream.take(own, now)

    def _note(self, document: KnownDocument) -> None:
        """Remember whose the data keys of a descriptor are, and what it takes to tell."""
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
            for number, stream in enumerate(self._streams):
                if any(owner != number for owner in owners.values()):
                    stream.leave_to_others(str(doc["run_start"]))

    def _part_of(self, number: int, document: KnownDocument) -> KnownDocument | None:
        """Return what one stream gets of a document; None where it belongs to another."""
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
