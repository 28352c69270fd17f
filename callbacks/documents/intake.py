"""Takes incoming documents: checks and unpacks each once, and holds it until the documents it refers to arrive."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.counters import MutableCounters
from braggwatch.callbacks.documents.document_checks import RejectedDocument, check
from braggwatch.callbacks.documents.event_pages import array_bytes, parts
from braggwatch.callbacks.documents.run_references import PARENTS, RunReferences
from braggwatch.callbacks.documents.unrecorded import UnrecordedRuns
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_SWEEP_S = 0.25


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A checked single document (no page) whose descriptor or resource came before it.

    Attributes
    ----------
    run_uid
        The run that it belongs to; None if it may belong to any, such as a resource that names none.
    """

    run_uid: str | None
    name: str
    doc: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Orphan:
    """A document whose parent (descriptor, resource) has not arrived."""

    arrived: float
    parent: str
    name: str
    doc: Mapping[str, object]
    nbytes: int


class DocumentIntake:
    """Passes on incoming documents checked, as single events and datums, parents first.

    It never raises: unusable documents are counted as ``rejected``, those whose parent doesn't arrive in time as
    ``late``.

    Parameters
    ----------
    hand_on
        Called with the documents released by one document, possibly none, and its arrival time.
    sweep
        Called with the time a few times a second while documents arrive.
    counters
        Counters to update.
    settings
        Limits on documents waiting for their parents: number, bytes and time.
    clock
        Monotonic seconds.
    unrecorded
        Sees every document, refused ones too, and notices the runs that end without a record.
    """

    def __init__(
        self,
        hand_on: Callable[[Sequence[KnownDocument], float], None],
        sweep: Callable[[float], None],
        counters: MutableCounters,
        settings: AssemblySettings,
        clock: Callable[[], float],
        unrecorded: UnrecordedRuns | None = None,
    ) -> None:
        self._hand_on = hand_on
        self._sweep = sweep
        self._counters = counters
        self._settings = settings
        self._clock = clock
        self._unrecorded = unrecorded
        self._references = RunReferences()
        self._orphans = Bounded[int, _Orphan](
            settings.max_orphans, most_bytes=settings.max_orphan_bytes, size_of=lambda orphan: orphan.nbytes
        )
        self._numbers = itertools.count()
        self._swept = float("-inf")

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document of the event model."""
        now = self._clock()
        try:
            self._hand_on(self._known(name, doc, now), now)
            if name == "stop" and self._unrecorded is not None:
                self._unrecorded.look(now)
            if now - self._swept >= _SWEEP_S:
                self._sweep(now)
        except Exception:
            # No error here may stop the plan; the run concerned times out, or says what is missing.
            logger.exception("document %r could not be handled", name)

    def expire(self, now: float) -> None:
        """Drop the documents that have waited too long."""
        self._swept = now
        over = [number for number, orphan in self._orphans.items() if now - orphan.arrived > self._settings.grace_s]
        for number in over:
            del self._orphans[number]
        self._counters.late += len(over)

    def flush(self) -> None:
        """Drop every waiting document."""
        self._counters.late += len(self._orphans)
        self._orphans.clear()

    def _known(self, name: str, doc: Mapping[str, object], now: float) -> list[KnownDocument]:
        known: list[KnownDocument] = []
        refusal: RejectedDocument | None = None
        try:
            check(name, doc)
            for part_name, part in parts(name, doc):
                known += self._follow(part_name, part, now)
        except RejectedDocument as rejection:
            refusal = rejection
        run_uid = self._note(name, doc, refusal, now)
        if refusal is not None:
            self._counters.reject(refusal, run_uid)
        return known

    def _note(self, name: str, doc: Mapping[str, object], refusal: RejectedDocument | None, now: float) -> str | None:
        """Let it be noticed if the document's run ends without a record; return its uid where it is known."""
        if self._unrecorded is None:
            return None
        try:
            return self._unrecorded.take(name, doc, None if refusal is None else str(refusal), now)
        except Exception:
            # It reads what no check has passed: nothing in it may cost a document.
            logger.exception("what a document %r says of its run could not be read", name)
            return None

    def _follow(self, name: str, doc: Mapping[str, object], now: float) -> Iterator[KnownDocument]:
        """Yield a document, then those that waited for it; if it has to wait itself, keep it."""
        reference = self._references.follow(name, doc)
        if reference.missing is not None:
            self._put_aside(_Orphan(now, reference.missing, name, doc, array_bytes(doc)))
            return
        yield KnownDocument(reference.run_uid, name, doc)
        if name in PARENTS:
            parent = doc["uid"]
            waiting = [number for number, orphan in self._orphans.items() if orphan.parent == parent]
            for orphan in [self._orphans.pop(number) for number in waiting]:
                yield from self._follow(orphan.name, orphan.doc, now)

    def _put_aside(self, orphan: _Orphan) -> None:
        if orphan.nbytes > self._settings.max_orphan_bytes:
            self._counters.late += 1
        else:
            self._counters.late += len(self._orphans.put(next(self._numbers), orphan))
