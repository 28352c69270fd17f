"""One run's state machine: documents in, one `AssembledRun` out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from braggwatch.callbacks.cxdp.records import FrameRecord
from braggwatch.callbacks.cxdp.run.assembled_run import AssembledRun, Ending, RunState
from braggwatch.callbacks.cxdp.run.curve import (
    BuiltCurve,
    CurveMaterials,
    build_curve,
    find_angles,
    find_angles_so_far,
    find_geometry,
)
from braggwatch.callbacks.cxdp.run.frame_mirror import FrameMirror
from braggwatch.callbacks.cxdp.run.geometry_resolution import (
    BASELINE,
    GeometrySources,
    UnresolvedGeometry,
    look_up,
    scanned_signal,
    wanted_signals,
)
from braggwatch.callbacks.cxdp.run.reflection import StatedReflection, stated_reflection
from braggwatch.callbacks.cxdp.run.volume import InconsistentFrame, Volume
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.counters import MutableCounters
from braggwatch.callbacks.documents.document_checks import RejectedDocument, finite, text
from braggwatch.callbacks.documents.frame_routes_inline import UnusableFrame
from braggwatch.callbacks.documents.frames import FrameFields, FrameSource
from braggwatch.callbacks.documents.readings import StreamReadings
from braggwatch.callbacks.documents.run_length import expected_frames, promised_events
from braggwatch.sim.geometry.model import GeometryPreset


class RunAssembly:
    """Everything known of one run until it ends.

    Documents may come in any order. `result` returns the run once it has ended: with its stop document as soon as
    everything promised is there, or when the grace period is over; without one after ``run_timeout_s`` of silence.
    """

    def __init__(
        self,
        uid: str,
        preset: GeometryPreset,
        settings: AssemblySettings,
        counters: MutableCounters,
        now: float,
        mirror: FrameMirror | None = None,
    ) -> None:
        self.uid = uid
        self.last_document = now
        self._preset = preset
        self._settings = settings
        self._counters = counters
        self._mirror = mirror
        signal = scanned_signal(preset)
        self._fields = FrameFields(
            preset.detector_field, signal.signal, signal.scale, preset.monitor_field, preset.transmission_field
        )
        beside = {preset.monitor_field, preset.transmission_field, *settings.position_fields.values()} - {None}
        self._wanted = wanted_signals(preset) | cast("set[str]", beside)
        self._start: Mapping[str, object] | None = None
        self._stop: Mapping[str, object] | None = None
        self._stopped_at = now
        self._stream_of: dict[str, str] = {}
        self._keys: dict[str, frozenset[str]] = {}
        self._streams: dict[str, StreamReadings] = {}
        self._configuration: dict[str, float] = {}
        self._detector_stream: str | None = None
        self._source = FrameSource(uid, self._fields, settings)
        self._volume: Volume | None = None
        self._beside: dict[int, FrameRecord] = {}
        self._fault: str | None = None

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        if self._stop is not None:
            return RunState.STOPPED
        return RunState.WAITING if self._detector_stream is None else RunState.OPEN

    @property
    def nbytes(self) -> int:
        """Bytes of frames held now."""
        return self._volume.nbytes if self._volume is not None else 0

    @property
    def is_scan(self) -> bool:
        """Whether a stream has the preset's detector, or might have: its descriptor was lost."""
        if self._detector_stream is not None:
            return True
        if self._start is None and self._stop is not None and not self._keys:
            return True
        return any(n > 0 and name not in self._keys for name, n in self._promised().items())

    @property
    def data_keys(self) -> Mapping[str, frozenset[str]]:
        """Stream → the data keys that its descriptors name."""
        return self._keys

    @property
    def scan_id(self) -> int | None:
        """Scan number of the start document, None where it has none."""
        number = finite((self._start or {}).get("scan_id"))
        return None if number is None else int(number)

    @property
    def joined_late(self) -> bool:
        """Whether the start document is missing."""
        return self._start is None

    def accept(self, name: str, doc: Mapping[str, object], now: float) -> None:
        """Take one checked document of this run whose descriptor, resource or stream resource has come before.

        Raises
        ------
        RejectedDocument
            Where it contradicts what is known.
        """
        self.last_document = now
        try:
            if name == "start":
                self._accept_start(doc)
            elif name == "descriptor":
                self._accept_descriptor(doc)
            elif name == "event":
                self._accept_event(doc)
            elif name == "resource":
                self._source.resource(doc)
            elif name == "datum":
                kwargs = cast("Mapping[str, object]", doc["datum_kwargs"])
                self._source.datum(str(doc["datum_id"]), str(doc["resource"]), kwargs)
            elif name == "stream_resource":
                self._source.stream_resource(doc)
            elif name == "stream_datum":
                self._accept_stream_datum(doc)
            elif name == "stop":
                self._accept_stop(doc, now)
            self._collect(now, force=name == "stop")
        except (UnusableFrame, InconsistentFrame) as error:
            self._fail(str(error))

    def poll(self, now: float) -> None:
        """Try again what could not be read before; call now and then while no documents come."""
        try:
            self._collect(now)
        except (UnusableFrame, InconsistentFrame) as error:
            self._fail(str(error))

    def result(self, now: float) -> AssembledRun | None:
        """Return the ended run, None while it goes on; once a run is returned its memory is free."""
        if self._stop is None:
            if now - self.last_document <= self._settings.run_timeout_s:
                return None
            return self.give_up(Ending.TIMEOUT, f"no stop document and silence for {self._settings.run_timeout_s:g} s")
        waited = now - self._stopped_at
        exit_status = self._stop.get("exit_status")
        if self._start is None:
            over = waited >= self._settings.grace_s
            return self.give_up(Ending.INVALID, f"the run ended with {exit_status}") if over else None
        if exit_status != "success":
            reason = text(self._stop.get("reason")) or "no reason given"
            return self.give_up(Ending.ABORTED, f"the run ended with {exit_status}: {reason:.300}")
        if self._fault is not None:
            return self.give_up(Ending.INVALID, self._fault)
        if self._detector_stream is None:
            over = waited >= self._settings.grace_s
            return self.give_up(Ending.INVALID, "the descriptor of its events was lost") if over else None
        return self._assemble(waited)

    @property
    def progress(self) -> tuple[int, int] | None:
        """Frames received and frames that the start document promises; None where the run has ended or doesn't say."""
        if self._stop is not None or self._fault is not None or self._start is None:
            return None
        expected = self._expected()
        return None if expected is None else (len(self._beside), expected)

    def so_far(self) -> AssembledRun | None:
        """Return the frames so far as a run, which goes on; None where one is missing among them, or its place."""
        if self.progress is None or self._volume is None or self._volume.frame_shape is None or not self._beside:
            return None
        materials, count = self._materials(), max(self._beside) + 1
        begun, problem = replace(materials, length=count), self._source.problem
        try:
            angles, origin = find_angles_so_far(materials, begun)
            resolved = find_geometry(begun, self._volume.frame_shape, angles, origin)
            built = build_curve(begun, self._volume, angles, resolved, so_far=True)
        except (UnresolvedGeometry, InconsistentFrame):
            return None
        finally:
            # a file that can't be read yet is no problem of a run that goes on
            self._source.problem = problem
        return self._record(Ending.PARTIAL, f"{count} frames so far", count, built)

    def give_up(self, ending: Ending, reason: str) -> AssembledRun:
        """End the run now without a curve and free its memory."""
        if self._start is None:
            ending, reason = Ending.INVALID, f"joined late: the start document was never seen ({reason})"
        elif self._fault is not None:
            ending, reason = Ending.INVALID, self._fault
        return self._finish(ending, reason, len(self._beside))

    def close(self) -> None:
        """Free memory and files."""
        self._source.close()
        if self._volume is not None:
            self._volume.clear()
            self._volume = None

    def _accept_start(self, doc: Mapping[str, object]) -> None:
        if self._start is not None:
            self._counters.duplicates += 1
            return
        self._start = doc

    def _accept_descriptor(self, doc: Mapping[str, object]) -> None:
        uid = str(doc["uid"])
        if uid in self._stream_of:
            self._counters.duplicates += 1
            return
        stream = text(doc.get("name")) or "primary"
        keys = cast("Mapping[str, object]", doc["data_keys"])
        self._stream_of[uid] = stream
        self._keys[stream] = self._keys.get(stream, frozenset()) | frozenset(keys)
        self._streams.setdefault(stream, StreamReadings(stream))
        for device in cast("Mapping[str, object]", doc.get("configuration") or {}).values():
            data = cast("Mapping[str, object]", device).get("data") if isinstance(device, Mapping) else None
            for key, value in cast("Mapping[str, object]", data or {}).items():
                number = finite(value)
                if number is not None and key in self._wanted:
                    self._configuration[key] = number
        if self._preset.detector_field not in keys or stream == BASELINE:
            return
        if self._detector_stream is None or (stream == "primary" != self._detector_stream):
            if self._beside:
                raise RejectedDocument("second_detector_stream", "the detector is in a second stream")
            self._detector_stream = stream
        if stream == self._detector_stream:
            self._source.describe(keys)

    def _accept_event(self, doc: Mapping[str, object]) -> None:
        stream = self._stream_of[str(doc["descriptor"])]
        data = cast("Mapping[str, object]", doc["data"])
        seq_num, time, uid = int(cast("int", doc["seq_num"])), float(cast("float", doc["time"])), str(doc["uid"])
        is_detector = stream == self._detector_stream
        if not is_detector and not self._wanted & self._keys[stream]:
            return
        readings = self._streams[stream]
        if len(readings.rows) >= 8 * self._settings.max_frames:
            raise RejectedDocument("too_many_events", f"stream {stream!r} has more than {len(readings.rows)} events")
        if not readings.put(seq_num, time, uid, data, self._wanted):
            self._counters.duplicates += 1
        elif is_detector and self._fault is None:
            self._source.event(seq_num, (time, uid), data.get(self._preset.detector_field))

    def _accept_stream_datum(self, doc: Mapping[str, object]) -> None:
        stream = self._stream_of[str(doc["descriptor"])]
        if self._fault is not None:
            return
        if not self._source.stream_datum(doc, stream, is_detector_stream=stream == self._detector_stream):
            self._counters.duplicates += 1

    def _accept_stop(self, doc: Mapping[str, object], now: float) -> None:
        if self._stop is not None:
            self._counters.duplicates += 1
            return
        self._stop = doc
        self._stopped_at = now

    def _collect(self, now: float, *, force: bool = False) -> None:
        """Move every frame that can be had into the volume."""
        if self._fault is not None or self._detector_stream is None or not self._source.pending:
            return
        for record in self._source.poll(now, self._streams.get(self._detector_stream), force=force):
            if self._volume is None:
                self._volume = Volume(
                    self._settings, self._expected(), self._preset.saturation_counts, self._mirror, self.uid
                )
            self._volume.put(record.index, record.frame)
            self._beside[record.index] = _without_frame(record)

    def _fail(self, reason: str) -> None:
        self._fault = reason
        self.close()

    def _promised(self) -> dict[str, int]:
        return promised_events(self._stop)

    def _expected(self) -> int | None:
        promised = self._promised().get(self._detector_stream or "")
        return expected_frames(self._start or {}, promised, self._settings.max_frames)

    def _assemble(self, waited: float) -> AssembledRun | None:
        """Build the curve if everything is there or waiting is over."""
        promised = self._promised().get(self._detector_stream or "") or self._expected()
        grace = self._settings.file_grace_s if self._source.problem is not None else self._settings.grace_s
        over = waited >= grace
        if not over and (promised is None or len(self._beside) < promised or self._source.pending):
            return None
        received = len(self._beside)
        if self._volume is None or self._volume.frame_shape is None:
            detail = f": {self._source.problem}" if self._source.problem else ""
            return self._finish(Ending.INVALID, f"no frame of {self._preset.detector_field!r} arrived{detail}", 0)
        materials = self._materials()
        try:
            angles, origin = find_angles(materials)
            resolved = find_geometry(materials, self._volume.frame_shape, angles, origin)
        except UnresolvedGeometry as error:
            if not over and self._documents_missing():
                return None
            return self._finish(Ending.INVALID, str(error), received)
        if not over and self._documents_missing() and any(not np.isfinite(angles[index]) for index in self._beside):
            return None
        try:
            built = build_curve(materials, self._volume, angles, resolved)
        except InconsistentFrame as error:
            return self._finish(Ending.INVALID, str(error), received)
        return self._finish(Ending.COMPLETE if built.reason is None else Ending.PARTIAL, built.reason, received, built)

    def _materials(self) -> CurveMaterials:
        return CurveMaterials(
            run_uid=self.uid,
            preset=self._preset,
            settings=self._settings,
            fields=self._fields,
            start=self._start or {},
            configuration=self._configuration,
            streams=sorted(self._streams.values(), key=lambda stream: stream.name != self._detector_stream),
            counts=self._promised(),
            beside=self._beside,
            source=self._source,
            length=max(self._expected() or 0, max(self._beside) + 1),
            reflection=self._reflection(),
        )

    def _documents_missing(self) -> bool:
        """Tell whether events that the stop document counts, of streams that matter, have not come."""
        if self._source.problem is not None:
            return True
        return any(
            name not in self._keys or (bool(self._wanted & self._keys[name]) and len(self._streams[name].rows) < count)
            for name, count in self._promised().items()
            if not self._travels_in_file(name)
        )

    def _travels_in_file(self, stream: str) -> bool:
        return any(stream == name for name, _ in self._source.external_fields)

    def _finish(
        self, ending: Ending, reason: str | None, received: int, built: BuiltCurve | None = None
    ) -> AssembledRun:
        """Make the record of the run, count it, free the memory."""
        run = self._record(ending, reason, received, built)
        self._counters.runs[ending.value] += 1
        self._counters.joined_late += self._start is None
        self._counters.frames_expected += run.frames_expected or received
        self._counters.frames_received += received
        self.close()
        return run

    def _record(self, ending: Ending, reason: str | None, received: int, built: BuiltCurve | None) -> AssembledRun:
        start = self._start or {}
        expected = self._expected()
        simulation = start.get("braggwatch_simulation")
        truth = cast("Mapping[str, object]", simulation).get("truth") if isinstance(simulation, Mapping) else None
        return AssembledRun(
            run_uid=self.uid,
            ending=ending,
            reason=reason,
            classifiable=built is not None and built.classifiable,
            curve=built.curve if built is not None else None,
            frames_expected=expected,
            frames_received=int(built.curve.present.sum()) if built is not None else received,
            started_at=finite(start.get("time")) or finite((self._stop or {}).get("time")) or 0.0,
            last_document=self.last_document,
            scan_id=self.scan_id,
            sample=text(start.get(self._settings.sample_field)),
            truth=text(truth),
            position=self._position(),
            origins=built.origins if built is not None else (),
            reflection=self._reflection(),
            rocking_curve=built.rocking_curve if built is not None else None,
        )

    def _reflection(self) -> StatedReflection:
        return stated_reflection(self._preset, self._start or {}, self._settings.hkl_field)

    def _position(self) -> dict[str, float]:
        sources = GeometrySources(self._start or {}, self._configuration, tuple(self._streams.values()))
        position: dict[str, float] = {}
        for name, signal in self._settings.position_fields.items():
            found = look_up(signal, sources)
            if found is not None:
                position[name] = found[0][0]
        return position


def _without_frame(record: FrameRecord) -> FrameRecord:
    """Return the readings that belong to a frame: its counts are in the volume."""
    return replace(record, frame=np.empty((0, 0)))
