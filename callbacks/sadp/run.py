"""Assembles one run's streams of diffraction patterns: documents in, frames with their readings out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.documents import start_facts
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.counters import MutableCounters
from braggwatch.callbacks.documents.document_checks import text
from braggwatch.callbacks.documents.frame_routes_inline import UnusableFrame
from braggwatch.callbacks.documents.frames import FrameFields, FrameSource
from braggwatch.callbacks.documents.readings import StreamReadings
from braggwatch.callbacks.documents.run_length import promised_events
from braggwatch.callbacks.sadp.declaration import (
    PatternDeclaration,
    declared_detectors,
    name_of,
    read_declaration,
    read_zone,
)
from braggwatch.callbacks.sadp.records import SetAside
from braggwatch.models.sadp.groups import Zone

_NOTHING_READ: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PatternFrame:
    """One frame with the readings of its own event, or why there is none.

    Attributes
    ----------
    problem
        None if ``frame`` is there.
    """

    stream: str
    seq_num: int
    declaration: PatternDeclaration
    particle: str
    visit: str | None
    zone: Zone | None
    frame: NDArray[np.generic] | None
    problem: tuple[SetAside, str] | None = None


@dataclass(frozen=True, slots=True)
class _Context:
    particle: str
    visit: str | None
    zone: Zone | None


@dataclass(slots=True)
class _Stream:
    """One detector of one descriptor; ``label`` is the stream's name, with the detector's where it has several."""

    name: str
    label: str
    declaration: PatternDeclaration
    source: FrameSource
    readings: StreamReadings
    external: bool
    contexts: dict[int, _Context] = field(default_factory=dict[int, _Context])


class PatternRun:
    """Collects everything known about one run's diffraction patterns.

    `accept` and `poll` return frames as soon as they can be read and joined, each once; a rewound plan's repeated
    sequence number is returned again. `over` says when there is nothing more to wait for.
    """

    def __init__(
        self, uid: str, settings: AssemblySettings, max_patterns: int, counters: MutableCounters, now: float
    ) -> None:
        self.uid = uid
        self.last_document = now
        self.start: Mapping[str, object] | None = None
        self.stop: Mapping[str, object] | None = None
        self._settings = settings
        self._max_patterns = max_patterns
        self._counters = counters
        self._stopped_at = now
        self._described: set[str] = set()
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._assets: list[tuple[str, Mapping[str, object]]] = []
        self._seen: dict[str, set[int]] = {}

    @property
    def has_patterns(self) -> bool:
        """Whether a descriptor with a declared detector has come."""
        return bool(self._streams)

    @property
    def scan_id(self) -> int | None:
        """Scan number of the start document."""
        return start_facts.scan_id(self.start)

    @property
    def sample(self) -> str | None:
        """Sample name of the start document."""
        return start_facts.sample_name(self.start, self._settings.sample_field)

    @property
    def started_at(self) -> float:
        """Time of the start document, else of the stop document, seconds since the epoch; 0 without either."""
        return start_facts.started_at(self.start, self.stop)

    @property
    def expected(self) -> int | None:
        """Events of the declared streams that the stop document counts."""
        if not isinstance((self.stop or {}).get("num_events"), Mapping):
            return None
        promised = promised_events(self.stop)
        names = {stream.label: stream.name for stream in self._streams.values()}
        return sum(promised.get(name, 0) for name in names.values())

    @property
    def seen(self) -> int:
        """Sequence numbers received in the declared streams."""
        return sum(len(numbers) for numbers in self._seen.values())

    def problem(self) -> str | None:
        """Why frames still wait for their file."""
        return next((s.source.problem for s in self._streams.values() if s.source.pending and s.source.problem), None)

    def declare(self, doc: Mapping[str, object]) -> frozenset[str]:
        """Take a descriptor; return the data keys declared as diffraction patterns."""
        uid, name = str(doc["uid"]), text(doc.get("name")) or "primary"
        self._described.add(name)
        detectors = declared_detectors(self.start, doc)
        for detector in detectors:
            if (uid, detector) in self._streams:
                self._counters.duplicates += 1
                continue
            declaration = read_declaration(self.start, doc, detector, self._settings.sample_field)
            fields = FrameFields(
                detector=detector, angle="", angle_scale=1.0, monitor=None, transmission=None, marks_gaps=False
            )
            data_keys = cast("Mapping[str, Mapping[str, object]]", doc["data_keys"])
            others = {s.declaration.detector for s in self._streams.values() if s.name == name} - {detector}
            label = f"{name}:{detector}" if others else name
            stream = _Stream(
                name=name,
                label=label,
                declaration=declaration,
                source=FrameSource(self.uid, fields, self._settings),
                readings=StreamReadings(name),
                external="external" in data_keys[detector],
            )
            stream.source.describe(data_keys)
            for asset, document in self._assets:
                stream.source.asset(asset, document)
            self._streams[uid, detector] = stream
            self._seen.setdefault(label, set())
        return frozenset(detectors)

    def asset(self, name: str, doc: Mapping[str, object]) -> None:
        """Take a resource, datum or stream resource, for streams known and still to come."""
        if len(self._assets) < self._max_patterns:
            self._assets.append((name, doc))
        for stream in self._streams.values():
            stream.source.asset(name, doc)

    def event(self, doc: Mapping[str, object]) -> list[PatternFrame]:
        """Take an event of a declared descriptor; return what of it can't be used, the rest comes from `poll`."""
        bad: list[PatternFrame] = []
        for (uid, _), stream in self._streams.items():
            if uid == doc["descriptor"]:
                bad += self._event(stream, doc)
        return bad

    def stream_datum(self, doc: Mapping[str, object]) -> None:
        """Take a stream datum of a declared descriptor.

        Raises
        ------
        RejectedDocument
            If it can't be used; its frames show as lost.
        """
        for (uid, _), stream in self._streams.items():
            if uid == doc["descriptor"]:
                new = stream.source.stream_datum(doc, stream.name, is_detector_stream=True)
                self._counters.duplicates += not new

    def open(self, doc: Mapping[str, object]) -> None:
        """Take the start document."""
        if self.start is None:
            self.start = doc
        elif self.has_patterns:
            self._counters.duplicates += 1

    def close(self, doc: Mapping[str, object], now: float) -> None:
        """Take the stop document."""
        if self.stop is None:
            self.stop, self._stopped_at = doc, now
        elif self.has_patterns:
            self._counters.duplicates += 1

    def awaits_descriptor(self, now: float) -> bool:
        """Tell whether the stop document promises a stream whose descriptor may still come."""
        if self.stop is None or now - self._stopped_at >= self._settings.grace_s:
            return False
        promised = promised_events(self.stop)
        unsaid = not isinstance(self.stop.get("num_events"), Mapping)
        return unsaid or any(n > 0 and name not in self._described for name, n in promised.items())

    def poll(self, now: float, *, force: bool = False) -> list[PatternFrame]:
        """Return the frames that can be read and joined now."""
        ready: list[PatternFrame] = []
        for stream in self._streams.values():
            if not stream.source.pending:
                continue

            def unusable(seq_num: int, reason: str, stream: _Stream = stream) -> None:
                ready.append(self._frame(stream, seq_num, None, (SetAside.SHAPE, reason)))

            for record in stream.source.poll(now, stream.readings, force=force, on_unusable=unusable):
                ready.append(self._frame(stream, record.index + 1, record.frame, None))
        return ready

    def over(self, now: float) -> bool:
        """Whether the run has stopped and there is nothing more to wait for."""
        if self.stop is None:
            return now - self.last_document > self._settings.run_timeout_s
        waiting = any(stream.source.pending for stream in self._streams.values())
        if not waiting and self.expected is not None and self.seen >= self.expected:
            return True
        grace = self._settings.file_grace_s if waiting else self._settings.grace_s
        return now - self._stopped_at >= grace

    def give_up(self) -> list[PatternFrame]:
        """Return the frames that could never be read, and free files and memory."""
        left: list[PatternFrame] = []
        for stream in self._streams.values():
            reason = stream.source.problem or "its event or its file never came"
            left += [
                self._frame(stream, seq_num, None, (SetAside.UNREADABLE, reason)) for seq_num in stream.source.waiting
            ]
            stream.source.close()
        return left

    def _event(self, stream: _Stream, doc: Mapping[str, object]) -> list[PatternFrame]:
        data = cast("Mapping[str, object]", doc["data"])
        seq_num, time, uid = int(cast("int", doc["seq_num"])), float(cast("float", doc["time"])), str(doc["uid"])
        if not stream.readings.put(seq_num, time, uid, data, _NOTHING_READ):
            self._counters.duplicates += 1
            return []
        declaration = stream.declaration
        stream.contexts[seq_num] = _Context(
            particle=name_of(data.get(declaration.particle_field)) or declaration.particle,
            visit=name_of(data.get(declaration.visit_field)),
            zone=read_zone(data.get(declaration.zone_field)),
        )
        value = data.get(declaration.detector)
        if seq_num not in self._seen[stream.label] and self.seen >= self._max_patterns:
            reason = f"a run may have {self._max_patterns} patterns"
            return [self._frame(stream, seq_num, None, (SetAside.LIMIT, reason))]
        if value is None and not stream.external:
            return [self._frame(stream, seq_num, None, (SetAside.UNREADABLE, "the event carries no frame"))]
        try:
            stream.source.event(seq_num, (time, uid), value)
        except UnusableFrame as error:
            return [self._frame(stream, seq_num, None, (SetAside.SHAPE, str(error)))]
        return []

    def _frame(
        self,
        stream: _Stream,
        seq_num: int,
        frame: NDArray[np.generic] | None,
        problem: tuple[SetAside, str] | None,
    ) -> PatternFrame:
        self._seen[stream.label].add(seq_num)
        context = stream.contexts.pop(seq_num, None) or _Context(stream.declaration.particle, None, None)
        return PatternFrame(
            stream=stream.label,
            seq_num=seq_num,
            declaration=stream.declaration,
            particle=context.particle,
            visit=context.visit,
            zone=context.zone,
            frame=frame,
            problem=problem,
        )
