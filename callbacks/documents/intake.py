"""Where documents come in: each is checked and unpacked once, and waits until what it refers to is there."""

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
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_SWEEP_S = 0.25


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A checked document, no page, whose descriptor or resource has come before it.

    Attributes
    ----------
    run_uid
        The run that it belongs to; None where it may belong to any, as a resource that names none.
    """

    run_uid: str | None
    name: str
    doc: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Orphan:
    """A document whose parent (descriptor, resource) has not come."""

    arrived: float
    parent: str
    name: str
    doc: Mapping[str, object]
    nbytes: int


class DocumentIntake:
    """Takes documents as they come and hands them on checked, in single events and datums, parents first.

    It never raises: what can't be used is counted as ``rejected``, and what waits in vain, or for too long, as
    ``late``.

    Parameters
    ----------
    hand_on
        Given what one document brought, maybe nothing, and the time at which it came.
    sweep
        Called with the time a few times a second, as long as documents come.
    counters
        Where to count.
    settings
        How many documents may wait for their parents, of how many bytes and for how long.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        hand_on: Callable[[Sequence[KnownDocument], float], None],
        sweep: Callable[[float], None],
        counters: MutableCounters,
        settings: AssemblySettings,
        clock: Callable[[], float],
    ) -> None:
        self._hand_on = hand_on
        self._sweep = sweep
        self._counters = counters
        self._settings = settings
        self._clock = clock
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
            if now - self._swept >= _SWEEP_S:
                self._sweep(now)
        except Exception:
            # The plan goes on whatever happens here; the run concerned times out, or says what it lacks.
            logger.exception("document %r could not be handled", name)

    def expire(self, now: float) -> None:
        """Give up the documents that have waited too long."""
        self._swept = now
        over = [number for number, orphan in self._orphans.items() if now - orphan.arrived > self._settings.grace_s]
        for number in over:
            del self._orphans[number]
        self._counters.late += len(over)

    def flush(self) -> None:
        """Give up every document that waits."""
        self._counters.late += len(self._orphans)
        self._orphans.clear()

    def _known(self, name: str, doc: Mapping[str, object], now: float) -> list[KnownDocument]:
        known: list[KnownDocument] = []
        try:
            check(name, doc)
            for part_name, part in parts(name, doc):
                known += self._follow(part_name, part, now)
        except RejectedDocument as rejection:
            self._counters.reject(rejection)
        return known

    def _follow(self, name: str, doc: Mapping[str, object], now: float) -> Iterator[KnownDocument]:
        """Yield a document, then those that waited for it; put it aside where it has to wait itself."""
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
