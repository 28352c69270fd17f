"""One run's state machine: documents in, one `AssembledRun` out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.run.assembled_run import AssembledRun, Ending
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
    UnresolvedGeometry,
)
from braggwatch.callbacks.cxdp.run.one_curve import why_not_one_curve
from braggwatch.callbacks.cxdp.run.scan_documents import ScanDocuments, has_detector, stream_name
from braggwatch.callbacks.cxdp.run.stream_choice import StreamChoice
from braggwatch.callbacks.cxdp.run.volume import InconsistentFrame, Volume
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.asset_book import AssetBook
from braggwatch.callbacks.documents.counters import MutableCounters
from braggwatch.callbacks.documents.document_checks import text
from braggwatch.callbacks.documents.dropped_rows import UnplacedRows
from braggwatch.callbacks.documents.frame_record import FrameRecord
from braggwatch.callbacks.documents.frame_routes_inline import UnusableFrame
from braggwatch.callbacks.documents.frames import FrameSource
from braggwatch.callbacks.documents.run_sorter import ASSETS
from braggwatch.sim.geometry.model import GeometryPreset


class RunAssembly:
    """Collects everything known about one run until it ends; implements `Run` for the sorter.

    Documents may come in any order. `conclude` ends the run: with its stop document as soon as everything promised is
    there, or when the grace period is over; without one after ``run_timeout_s`` without documents.

    Parameters
    ----------
    report
        Called once with the ended run; its memory is free by then.
    book
        References to files that runs share; None: this run's own.
    """

    def __init__(
        self,
        uid: str,
        preset: GeometryPreset,
        settings: AssemblySettings,
        counters: MutableCounters,
        now: float,
        report: Callable[[AssembledRun], None],
        mirror: FrameMirror | None = None,
        book: AssetBook | None = None,
    ) -> None:
        self._last_document = now
        self._report = report
        self._settings = settings
        self._counters = counters
        self._mirror = mirror
        self._documents = ScanDocuments(uid, preset, settings)
        self._stopped_at = now
        self._source = FrameSource(uid, self._documents.fields, settings, book)
        self._volume: Volume | None = None
        self._beside: dict[int, FrameRecord] = {}
        self._choice = StreamChoice()
        self._placed = False
        self._fault: str | None = None

    @property
    def uid(self) -> str:
        """Uid of the run."""
        return self._documents.uid

    @property
    def last_document(self) -> float:
        """Arrival of its last document, monotonic seconds."""
        return self._last_document

    @property
    def has_stopped(self) -> bool:
        """Whether the stop document has arrived; documents or files it announces may still be missing."""
        return self._documents.stop is not None

    @property
    def nbytes(self) -> int:
        """Bytes of frames held now."""
        return self._volume.nbytes if self._volume is not None else 0

    @property
    def makes_room_first(self) -> bool:
        """Whether the start document is missing: such a run can no longer get a class."""
        return self._documents.start is None

    def is_wanted(self, now: float) -> bool:  # noqa: ARG002 part of `Run`
        """Tell whether a stream has the preset's detector, or might have: its descriptor was lost."""
        return self._documents.may_be_scan

    def accept(self, name: str, doc: Mapping[str, object], now: float) -> None:
        """Take one checked document of this run whose descriptor, resource or stream resource has come before.

        Raises
        ------
        RejectedDocument
            If it contradicts what is known.
        """
        if name not in ASSETS:  # those may be another run's
            self._last_document = now
        try:
            self._counters.duplicates += not self._take(name, doc, now)
            self._collect(now, force=name == "stop")
        except (UnusableFrame, InconsistentFrame) as error:
            self._fail(str(error))

    def poll(self, now: float) -> None:
        """Try again what could not be read before; call now and then while no documents come."""
        try:
            self._collect(now)
        except (UnusableFrame, InconsistentFrame) as error:
            self._fail(str(error))

    def conclude(self, now: float) -> bool:
        """End and report the run if it is over; return whether it is."""
        run = self._result(now)
        if run is not None:
            self._report(run)
        return run is not None

    def give_up(self, reason: str, *, timed_out: bool) -> None:
        """End and report the run now, without a curve."""
        self._report(self._without_curve(Ending.TIMEOUT if timed_out else Ending.INVALID, reason))

    @property
    def progress(self) -> tuple[int, int] | None:
        """Frames received, and frames announced by the start document; None if the run has ended or doesn't say."""
        if self._documents.stop is not None or self._fault is not None or self._documents.start is None:
            return None
        expected = self._documents.expected
        return None if expected is None else (len(self._beside), expected)

    def so_far(self) -> AssembledRun | None:
        """Return the frames so far as a run, without ending it; None if one of them or its angle is missing."""
        if self.progress is None or self._volume is None or self._volume.frame_shape is None or not self._beside:
            return None
        materials, count = self._materials(), max(self._beside) + 1
        begun, problem = replace(materials, length=count), self._source.problem
        try:
            angles, origin = find_angles_so_far(materials, begun)
            resolved = find_geometry(self._documents, self._volume.frame_shape, angles, origin)
            if self._why_not_one_curve(angles) is not None:
                return None
            built = build_curve(begun, self._volume, angles, resolved, so_far=True)
        except (UnresolvedGeometry, InconsistentFrame):
            return None
        finally:
            # in a run in progress, a file that can't be read yet is not a problem
            self._source.problem = problem
        return self._record(Ending.PARTIAL, f"{count} frames so far", count, built)

    def close(self) -> None:
        """Free memory and files."""
        self._source.close()
        if self._volume is not None:
            self._volume.clear()
            self._volume = None

    def _result(self, now: float) -> AssembledRun | None:
        """Return the ended run, None while it is in progress; its memory is freed with that."""
        if self._documents.stop is None:
            if now - self.last_document <= self._settings.run_timeout_s:
                return None
            return self._without_curve(
                Ending.TIMEOUT, f"no stop document and silence for {self._settings.run_timeout_s:g} s"
            )
        waited = now - self._stopped_at
        exit_status = self._documents.stop.get("exit_status")
        if self._documents.start is None:
            over = waited >= self._settings.grace_s
            return self._without_curve(Ending.INVALID, f"the run ended with {exit_status}") if over else None
        if exit_status != "success":
            reason = text(self._documents.stop.get("reason")) or "no reason given"
            return self._without_curve(Ending.ABORTED, f"the run ended with {exit_status}: {reason:.300}")
        if self._fault is not None:
            return self._without_curve(Ending.INVALID, self._fault)
        if self._documents.detector_stream is None:
            over = waited >= self._settings.grace_s
            return self._without_curve(Ending.INVALID, "the descriptor of its events was lost") if over else None
        return self._assemble(waited)

    def _without_curve(self, ending: Ending, reason: str) -> AssembledRun:
        """Return the run ended now, without a curve, its memory freed."""
        if self._documents.start is None:
            ending, reason = Ending.INVALID, f"joined late: the start document was never seen ({reason})"
        elif self._fault is not None:
            ending, reason = Ending.INVALID, self._fault
        return self._finish(ending, reason, len(self._beside))

    def _take(self, name: str, doc: Mapping[str, object], now: float) -> bool:
        """Take one document; return False if it is a duplicate."""
        if name == "start":
            return self._documents.begin(doc)
        if name == "descriptor":
            return self._accept_descriptor(doc)
        if name == "event":
            return self._accept_event(doc)
        if name == "stream_datum":
            return self._accept_stream_datum(doc)
        if name == "stop":
            return self._accept_stop(doc, now)
        self._source.asset(name, doc)
        return True

    def _accept_descriptor(self, doc: Mapping[str, object]) -> bool:
        documents = self._documents
        if not documents.describe(doc):
            return False
        if not has_detector(doc, documents.fields.detector):
            return True
        stream = stream_name(doc)
        if documents.detector_stream is None:
            documents.detector_stream = stream
        elif stream != documents.detector_stream and self._choice.takes(
            documents, doc, len(self._beside) + self._source.pending
        ):
            documents.detector_stream = stream
            self._source.restart()
            self._begin_again()
        if stream == documents.detector_stream:
            self._source.describe(cast("Mapping[str, object]", doc["data_keys"]))
        return True

    def _begin_again(self) -> None:
        """Give up the frames so far: they belong to another stream, or elsewhere in the curve."""
        self._beside.clear()
        self._fault = None
        if self._volume is not None:
            self._volume.clear()
            self._volume = None
            if self._mirror is not None:
                self._mirror.dropped(self.uid)

    def _accept_event(self, doc: Mapping[str, object]) -> bool:
        documents = self._documents
        stream = documents.stream_of(doc)
        if not documents.matters(stream):
            return True
        if not documents.read(doc):
            return False
        if stream == documents.detector_stream and self._fault is None:
            version = float(cast("float", doc["time"])), str(doc["uid"])
            value = cast("Mapping[str, object]", doc["data"]).get(documents.fields.detector)
            self._source.event(int(cast("int", doc["seq_num"])), version, value)
        return True

    def _accept_stream_datum(self, doc: Mapping[str, object]) -> bool:
        stream = self._documents.stream_of(doc)
        if self._fault is not None:
            return True
        is_detector_stream = stream == self._documents.detector_stream
        return self._source.stream_datum(doc, stream, is_detector_stream=is_detector_stream)

    def _accept_stop(self, doc: Mapping[str, object], now: float) -> bool:
        is_new = self._documents.end(doc)
        if is_new:
            self._stopped_at = now
        return is_new

    def _collect(self, now: float, *, force: bool = False) -> None:
        """Move every available frame into the volume."""
        if self._fault is not None or self._documents.detector_stream is None or not self._source.pending:
            return
        # More may be written until the run ends.
        stopped = self._documents.stop is not None
        records = self._source.poll(now, self._documents.frames_read, force=force, blank_is_written=stopped)
        for record in records:
            if self._volume is None:
                saturation = self._documents.preset.saturation_counts
                self._volume = Volume(self._settings, self._documents.expected, saturation, self._mirror, self.uid)
            self._volume.put(record.index, record.frame)
            self._beside[record.index] = _without_frame(record)

    def _fail(self, reason: str) -> None:
        self._fault = reason
        self.close()

    def _assemble(self, waited: float) -> AssembledRun | None:
        """Build the curve if everything is there or waiting is over."""
        promised = self._documents.promised_frames or self._documents.expected
        grace = self._settings.file_grace_s if self._source.problem is not None else self._settings.grace_s
        over = waited >= grace
        if not over and (promised is None or len(self._beside) < promised or self._source.pending):
            return None
        if self._source.pending and not self._placed:
            self._placed = True
            try:
                if self._source.place_rows():
                    self._begin_again()
                    self._collect(self._stopped_at + waited, force=True)
            except UnplacedRows as error:
                return self._finish(Ending.INVALID, str(error), len(self._beside))
        received = len(self._beside)
        if self._volume is None or self._volume.frame_shape is None:
            detail = f": {self._source.problem}" if self._source.problem else ""
            return self._finish(Ending.INVALID, f"no frame of {self._documents.fields.detector!r} arrived{detail}", 0)
        materials = self._materials()
        try:
            angles, origin = find_angles(materials)
            resolved = find_geometry(self._documents, self._volume.frame_shape, angles, origin)
        except UnresolvedGeometry as error:
            if not over and self._documents_missing():
                return None
            return self._finish(Ending.INVALID, str(error), received)
        if not over and self._documents_missing() and any(not np.isfinite(angles[index]) for index in self._beside):
            return None
        several = self._why_not_one_curve(angles)
        if several is not None:
            return self._finish(Ending.INVALID, several, received)
        try:
            built = build_curve(materials, self._volume, angles, resolved)
        except InconsistentFrame as error:
            return self._finish(Ending.INVALID, str(error), received)
        return self._finish(Ending.COMPLETE if built.reason is None else Ending.PARTIAL, built.reason, received, built)

    def _why_not_one_curve(self, angles_deg: NDArray[np.float64]) -> str | None:
        documents = self._documents
        undecided = self._choice.why_undecided(documents, len(self._beside))
        if undecided is not None:
            return undecided
        return why_not_one_curve(documents.start or {}, documents.sample_positions, angles_deg)

    def _materials(self) -> CurveMaterials:
        length = max(self._documents.expected or 0, max(self._beside) + 1)
        return CurveMaterials(self._documents, self._source, self._beside, length)

    def _documents_missing(self) -> bool:
        """Tell whether events counted by the stop document are missing from relevant streams."""
        in_files = frozenset(stream for stream, _ in self._source.external_fields)
        return self._source.problem is not None or self._documents.lacks_events(in_files)

    def _finish(
        self, ending: Ending, reason: str | None, received: int, built: BuiltCurve | None = None
    ) -> AssembledRun:
        """Make the result of the run, count it, and free the memory."""
        run = self._record(ending, reason, received, built)
        self._counters.runs[ending.value] += 1
        self._counters.joined_late += self._documents.start is None
        self._counters.frames_expected += run.frames_expected or received
        self._counters.frames_received += received
        if built is not None:
            self._counters.frames_contradicted += sum(len(fault.frames) for fault in built.faults)
        self.close()
        return run

    def _record(self, ending: Ending, reason: str | None, received: int, built: BuiltCurve | None) -> AssembledRun:
        documents = self._documents
        return AssembledRun(
            run_uid=self.uid,
            ending=ending,
            reason=reason,
            classifiable=built is not None and built.classifiable,
            curve=built.curve if built is not None else None,
            frames_expected=documents.expected,
            frames_received=int(built.curve.present.sum()) if built is not None else received,
            started_at=documents.started_at,
            last_document=self.last_document,
            scan_id=documents.scan_id,
            sample=documents.sample,
            truth=documents.truth,
            position=documents.position,
            origins=built.origins if built is not None else (),
            reflection=documents.reflection,
            rocking_curve=built.rocking_curve if built is not None else None,
        )


def _without_frame(record: FrameRecord) -> FrameRecord:
    """Return the readings that belong to a frame: its counts are in the volume."""
    return replace(record, frame=np.empty((0, 0)))
