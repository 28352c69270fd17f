"""All open runs: each document goes to its run, and no run, file or byte is held without a limit."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from braggwatch.callbacks.cxdp.run.assembled_run import AssembledRun, Ending, RunState
from braggwatch.callbacks.cxdp.run.assembly import RunAssembly
from braggwatch.callbacks.cxdp.run.frame_mirror import FrameMirror
from braggwatch.callbacks.cxdp.run.without_detector import RunsWithoutDetector
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.counters import AssemblyCounters, MutableCounters
from braggwatch.callbacks.documents.document_checks import RejectedDocument, check, text
from braggwatch.callbacks.documents.event_pages import array_bytes, parts
from braggwatch.sim.geometry.model import GeometryPreset

logger = logging.getLogger(__name__)

_REMEMBERED = 65536
_SWEEP_S = 0.25
_ANY_RUN = "*"


class _Bounded(OrderedDict[str, str]):
    """A mapping that forgets its oldest entries."""

    def remember(self, key: str, value: str) -> None:
        self[key] = value
        self.move_to_end(key)
        while len(self) > _REMEMBERED:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Orphan:
    """A document whose parent (descriptor, resource) has not come."""

    arrived: float
    parent: str
    name: str
    doc: Mapping[str, object]
    nbytes: int


class RunTable:
    """Sorts documents into runs and returns each run as it ends, once.

    Interleaved runs are independent. Runs without the preset's detector are ignored: counted, and told of in the log
    (`RunsWithoutDetector`) unless another callback makes their record (`leave_to_others`). Derived runs, whose start
    document carries ``original_run_uid``, are skipped. Times are monotonic seconds given by the caller.

    A run that is met first in its middle, or only at its stop document, joined late: it gets a record too, invalid,
    unless its descriptors show that it has no detector. Without the start document nothing tells a derived run from
    a raw one, so a derived run on the same stream that is joined late gets such a record as well.
    """

    def __init__(self, preset: GeometryPreset, settings: AssemblySettings, mirror: FrameMirror | None = None) -> None:
        self._preset = preset
        self._settings = settings
        self._mirror = mirror
        self._counters = MutableCounters()
        self._runs: dict[str, RunAssembly] = {}
        self._without_detector = RunsWithoutDetector(preset, self._counters)
        self._left_to_others = _Bounded()
        self._owner = _Bounded()
        self._closed = _Bounded()
        self._orphans: list[_Orphan] = []
        self._swept = float("-inf")

    @property
    def open_runs(self) -> int:
        """Number of runs held."""
        return len(self._runs)

    @property
    def nbytes(self) -> int:
        """Bytes of frames held by all open runs."""
        return sum(run.nbytes for run in self._runs.values())

    @property
    def counters(self) -> AssemblyCounters:
        """Totals since the beginning, as they are now."""
        return self._counters.snapshot()

    def state(self, run_uid: str) -> RunState | None:
        """Return where an open run stands, None where it is not open."""
        run = self._runs.get(run_uid)
        return run.state if run is not None else None

    @property
    def progress(self) -> dict[str, tuple[int, int]]:
        """Uid of each run that goes on and says how long it will be → frames received, frames expected."""
        return {uid: progress for uid, run in self._runs.items() if (progress := run.progress) is not None}

    def so_far(self, run_uid: str) -> AssembledRun | None:
        """Return an open run as `RunAssembly.so_far` has it."""
        run = self._runs.get(run_uid)
        return run.so_far() if run is not None else None

    def leave_to_others(self, run_uid: str) -> None:
        """Take note that another callback makes a record of this run, which may have no frames for this one."""
        self._left_to_others.remember(run_uid, "")

    def accept(self, name: str, doc: Mapping[str, object], now: float) -> list[AssembledRun]:
        """Take one document and return the runs that ended by it; a document that can't be used is counted."""
        ended: list[AssembledRun] = []
        try:
            check(name, doc)
            for part_name, part in parts(name, doc):
                ended += self._route(part_name, part, now)
        except RejectedDocument as rejection:
            self._counters.rejected[rejection.reason] += 1
            logger.warning("document rejected (%s): %s", rejection.reason, rejection)
        if now - self._swept >= _SWEEP_S:
            ended += self.expire(now)
        return ended

    def expire(self, now: float) -> list[AssembledRun]:
        """Retry unread files, and return the runs whose grace period or timeout is over."""
        self._swept = now
        ended: list[AssembledRun] = []
        for run in list(self._runs.values()):
            run.poll(now)
            ended += self._conclude(run, now)
        kept = [orphan for orphan in self._orphans if now - orphan.arrived <= self._settings.grace_s]
        self._counters.late += len(self._orphans) - len(kept)
        self._orphans = kept
        return ended

    def flush(self, now: float) -> list[AssembledRun]:
        """End every open run now: stopped ones with what they have, the others as timed out."""
        ended = self.expire(now)
        forced = now + self._settings.grace_s + self._settings.file_grace_s + 1.0
        for run in list(self._runs.values()):
            if run.state is RunState.STOPPED:
                ended += self._conclude(run, forced)
            elif run.is_scan:
                ended.append(self._close(run, run.give_up(Ending.TIMEOUT, "the service stopped before the run did")))
            else:
                self._ignore(run, now)
        self._counters.late += len(self._orphans)
        self._orphans = []
        return ended

    def _route(self, name: str, doc: Mapping[str, object], now: float) -> list[AssembledRun]:
        uid = self._uid_of(name, doc, now)
        if uid is None:
            return []
        if uid == _ANY_RUN:
            return [ended for run in list(self._runs.values()) for ended in self._deliver(run, name, doc, now)]
        closed = self._closed.get(uid)
        if closed == "evicted" and name != "stop":
            del self._closed[uid]
        elif closed is not None:
            self._counters.late += closed in ("ended", "evicted")
            return []
        if name == "start" and doc.get("original_run_uid") is not None:
            self._counters.skipped_runs += 1
            self._closed.remember(uid, "skipped")
            return []
        run = self._runs.get(uid)
        if run is None:
            ended = self._make_room()
            run = RunAssembly(uid, self._preset, self._settings, self._counters, now, self._mirror)
            self._runs[uid] = run
            return ended + self._deliver(run, name, doc, now)
        return self._deliver(run, name, doc, now)

    def _uid_of(self, name: str, doc: Mapping[str, object], now: float) -> str | None:
        """Return the run a document belongs to; None where its parent is unknown and it was put aside."""
        if name == "start":
            return str(doc["uid"])
        if name in ("descriptor", "stop"):
            uid = str(doc["run_start"])
            if name == "descriptor":
                self._owner.remember(str(doc["uid"]), uid)
            return uid
        if name in ("resource", "stream_resource"):
            uid = text(doc.get("run_start")) or _ANY_RUN
            self._owner.remember(str(doc["uid"]), uid)
            return uid
        parents = {
            "event": ("descriptor",),
            "datum": ("resource",),
            "stream_datum": ("stream_resource", "descriptor"),
        }[name]
        owner = None
        for parent in parents:
            owner = self._owner.get(str(doc[parent]))
            if owner is None:
                self._put_aside(_Orphan(now, str(doc[parent]), name, doc, array_bytes(doc)))
                return None
        return owner

    def _deliver(self, run: RunAssembly, name: str, doc: Mapping[str, object], now: float) -> list[AssembledRun]:
        """Give a document to its run, then those that waited for it."""
        run.accept(name, doc, now)
        ended: list[AssembledRun] = []
        if name in ("descriptor", "resource", "stream_resource"):
            parent = str(doc["uid"])
            waiting = [orphan for orphan in self._orphans if orphan.parent == parent]
            self._orphans = [orphan for orphan in self._orphans if orphan.parent != parent]
            for orphan in waiting:
                ended += self._route(orphan.name, orphan.doc, now)
        if run.uid in self._runs:
            ended += self._conclude(run, now)
        return ended + self._shed(run)

    def _conclude(self, run: RunAssembly, now: float) -> list[AssembledRun]:
        """Return the run if it has ended."""
        silent = now - run.last_document > self._settings.run_timeout_s
        if not run.is_scan and (run.state is RunState.STOPPED or silent):
            self._ignore(run, now)
            return []
        result = run.result(now)
        return [] if result is None else [self._close(run, result)]

    def _make_room(self) -> list[AssembledRun]:
        ended: list[AssembledRun] = []
        while len(self._runs) >= self._settings.max_open_runs:
            # Runs that can't get a class any more make room first.
            idlest = min(self._runs.values(), key=lambda run: (not run.joined_late, run.last_document))
            ended += self._evict(idlest, f"more than {self._settings.max_open_runs} runs were open")
        return ended

    def _shed(self, current: RunAssembly) -> list[AssembledRun]:
        """Evict the idlest runs until the frames of all runs fit."""
        ended: list[AssembledRun] = []
        while self.nbytes > self._settings.max_total_bytes:
            holders = [run for run in self._runs.values() if run.nbytes]
            others = [run for run in holders if run is not current] or holders
            idlest = min(others, key=lambda run: run.last_document)
            ended += self._evict(idlest, f"open runs held more than {self._settings.max_total_bytes} bytes")
        return ended

    def _evict(self, run: RunAssembly, reason: str) -> list[AssembledRun]:
        self._counters.evictions += 1
        logger.warning("run %s evicted: %s", run.uid, reason)
        if run.is_scan:
            return [self._close(run, run.give_up(Ending.INVALID, f"evicted: {reason}"))]
        # A run not yet known to be a scan gets no record now; should its descriptor still come, it joined late.
        run.close()
        del self._runs[run.uid]
        self._closed.remember(run.uid, "evicted")
        return []

    def _close(self, run: RunAssembly, result: AssembledRun) -> AssembledRun:
        del self._runs[run.uid]
        self._closed.remember(run.uid, "ended")
        self._without_detector.recorded()
        return result

    def _ignore(self, run: RunAssembly, now: float) -> None:
        run.close()
        del self._runs[run.uid]
        self._closed.remember(run.uid, "ignored")
        self._counters.ignored_runs += 1
        if run.uid not in self._left_to_others:
            self._without_detector.note(run.uid, run.scan_id, run.data_keys, now)

    def _put_aside(self, orphan: _Orphan) -> None:
        self._orphans.append(orphan)
        while len(self._orphans) > self._settings.max_orphans or (
            sum(kept.nbytes for kept in self._orphans) > self._settings.max_orphan_bytes
        ):
            self._orphans.pop(0)
            self._counters.late += 1
