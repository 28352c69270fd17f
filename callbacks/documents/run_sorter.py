"""Sorts documents into the open runs of one kind, within limits on runs and bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Generic, Protocol, TypeVar

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.counters import MutableCounters
from braggwatch.callbacks.documents.document_checks import RejectedDocument
from braggwatch.callbacks.documents.intake import KnownDocument
from braggwatch.callbacks.documents.unrecorded import RunFate
from braggwatch.sim.bounded import Bounded

logger = logging.getLogger(__name__)

_REMEMBERED = 65536

ASSETS: Final = frozenset({"resource", "stream_resource", "datum"})
"""Documents on files. A detector that is staged once tells its file once, in the first of several runs."""


class Run(Protocol):
    """One open run; it reports its own end, once."""

    @property
    def uid(self) -> str:
        """Uid of the run."""
        ...

    @property
    def last_document(self) -> float:
        """Arrival of its last document, monotonic seconds."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of frames held now."""
        ...

    @property
    def has_stopped(self) -> bool:
        """Whether the stop document has arrived; what it announces may still be missing."""
        ...

    @property
    def makes_room_first(self) -> bool:
        """Whether to evict it before others if there is no room for all."""
        ...

    def is_wanted(self, now: float) -> bool:
        """Tell whether it has what is looked for, or still may; if not, its end is not reported."""
        ...

    def accept(self, name: str, doc: Mapping[str, object], now: float) -> None:
        """Take one document of the run.

        Raises
        ------
        RejectedDocument
            If it contradicts what is known.
        """
        ...

    def poll(self, now: float) -> None:
        """Try again what could not be read before."""
        ...

    def conclude(self, now: float) -> bool:
        """End and report the run if it is over; return whether it is."""
        ...

    def give_up(self, reason: str, *, timed_out: bool) -> None:
        """End and report the run as it is; ``timed_out`` if the wait for it is over, else after an error."""
        ...

    def close(self) -> None:
        """Free memory and files, and report nothing."""
        ...


RunT = TypeVar("RunT", bound=Run)


class RunSorter(Generic[RunT]):
    """Sorts documents into runs and ends each run once.

    Interleaved runs are independent. Runs in which nothing is found are ignored; derived runs, whose start document
    carries ``original_run_uid``, are skipped. An error in one run doesn't affect the others. Times are monotonic
    seconds given by the caller.

    A run whose first document seen is not its start document is called joined late. Without the start document
    a derived run can't be distinguished from a raw one.

    Parameters
    ----------
    make_run
        Makes a run from uid and time.
    settings
        Limits on bytes held, and waiting times.
    counters
        Counters to update.
    max_open_runs
        Runs held open at once; the idlest is evicted first. One evicted before it showed any data counts as joined late
        if more of it arrives.
    """

    def __init__(
        self,
        make_run: Callable[[str, float], RunT],
        settings: AssemblySettings,
        counters: MutableCounters,
        max_open_runs: int,
    ) -> None:
        self._make_run = make_run
        self._settings = settings
        self._counters = counters
        self._max_open_runs = max_open_runs
        self._runs: dict[str, RunT] = {}
        self._closed = Bounded[str, RunFate](_REMEMBERED)

    @property
    def runs(self) -> Mapping[str, RunT]:
        """Uid → open run."""
        return MappingProxyType(self._runs)

    @property
    def nbytes(self) -> int:
        """Bytes of frames held by all open runs."""
        return sum(run.nbytes for run in self._runs.values())

    def fate(self, run_uid: str) -> RunFate:
        """Return what became of a run."""
        return RunFate.OPEN if run_uid in self._runs else self._closed.get(run_uid, RunFate.UNKNOWN)

    def take(self, documents: Sequence[KnownDocument], now: float) -> None:
        """Pass documents to their runs, and end the runs that are then complete."""
        touched: dict[str, RunT] = {}
        for document in documents:
            for run in self._runs_of(document, now):
                touched[run.uid] = run
                self._deliver(run, document, now)
                self._shed(run, now)
        for run in touched.values():
            if self._is_open(run):
                self._conclude(run, now)

    def expire(self, now: float) -> None:
        """Retry unread files, and end the runs whose grace period or timeout is over."""
        for run in list(self._runs.values()):
            self._conclude(run, now, retry=True)

    def flush(self, now: float) -> None:
        """End every open run now: those with a stop document with the data they have, the others as timed out."""
        self.expire(now)
        forced = now + self._settings.grace_s + self._settings.file_grace_s + 1.0
        for run in list(self._runs.values()):
            if run.has_stopped:
                self._conclude(run, forced)
            elif run.is_wanted(now):
                run.give_up("the service stopped before the run did", timed_out=True)
                self._remove(run, RunFate.RECORDED)
            else:
                self._ignore(run)

    def _runs_of(self, document: KnownDocument, now: float) -> list[RunT]:
        """Return the open runs that get a document; opens its run if new."""
        uid, name = document.run_uid, document.name
        if uid is None:
            return list(self._runs.values())
        closed = self._closed.get(uid)
        if closed is RunFate.EVICTED and name != "stop":
            del self._closed[uid]
        elif closed is not None:
            if name in ASSETS and self._runs:
                return list(self._runs.values())
            self._counters.late += closed in (RunFate.RECORDED, RunFate.EVICTED)
            return []
        known = self._runs.get(uid)
        if name == "start" and document.doc.get("original_run_uid") is not None:
            self._counters.skipped_runs += 1
            if known is not None:
                known.close()
                self._remove(known, RunFate.SKIPPED)
            self._closed[uid] = RunFate.SKIPPED
            return []
        if known is None:
            self._make_room(now)
            known = self._runs[uid] = self._make_run(uid, now)
        return [known]

    def _deliver(self, run: RunT, document: KnownDocument, now: float) -> None:
        try:
            run.accept(document.name, document.doc, now)
        except RejectedDocument as rejection:
            self._counters.reject(rejection)
        except Exception:
            logger.exception("run %s: a document %r could not be handled", run.uid, document.name)

    def _conclude(self, run: RunT, now: float, *, retry: bool = False) -> None:
        """End the run if it is over, or failed."""
        try:
            if retry:
                run.poll(now)
            silent = now - run.last_document > self._settings.run_timeout_s
            if not run.is_wanted(now) and (run.has_stopped or silent):
                self._ignore(run)
            elif run.conclude(now):
                self._remove(run, RunFate.RECORDED)
        except Exception as error:
            logger.exception("run %s could not be handled", run.uid)
            self._remove(run, RunFate.RECORDED)
            run.give_up(f"assembling the run failed: {type(error).__name__}: {error}"[:300], timed_out=False)

    def _make_room(self, now: float) -> None:
        while len(self._runs) >= self._max_open_runs:
            idlest = min(self._runs.values(), key=lambda run: (not run.makes_room_first, run.last_document))
            self._evict(idlest, f"more than {self._max_open_runs} runs were open", now)

    def _shed(self, current: RunT, now: float) -> None:
        """Evict the idlest runs until the frames of all runs fit."""
        while self.nbytes > self._settings.max_total_bytes:
            holders = [run for run in self._runs.values() if run.nbytes]
            others = [run for run in holders if run is not current] or holders
            idlest = min(others, key=lambda run: run.last_document)
            self._evict(idlest, f"open runs held more than {self._settings.max_total_bytes} bytes", now)

    def _evict(self, run: RunT, reason: str, now: float) -> None:
        self._counters.evictions += 1
        logger.warning("run %s evicted: %s", run.uid, reason)
        if run.is_wanted(now):
            run.give_up(f"evicted: {reason}", timed_out=False)
            self._remove(run, RunFate.RECORDED)
        else:
            run.close()
            self._remove(run, RunFate.EVICTED)

    def _ignore(self, run: RunT) -> None:
        run.close()
        self._remove(run, RunFate.IGNORED)
        self._counters.ignored_runs += 1

    def _remove(self, run: RunT, closed: RunFate) -> None:
        self._runs.pop(run.uid, None)
        self._closed[run.uid] = closed

    def _is_open(self, run: RunT) -> bool:
        return self._runs.get(run.uid) is run
