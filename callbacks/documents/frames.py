"""One frame source for three routes: whatever way a detector's frames travel, out come `FrameRecord` values.

| route | frames are | joined by |
|---|---|---|
| inline | arrays in ``event.data`` | being in the event |
| Resource/Datum | rows of ``/entry/data/data`` | event → datum → resource |
| StreamResource/StreamDatum | rows of a SWMR dataset | ``seq_nums`` of the stream datum = ``seq_num`` of the event |

Nothing is joined by order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.document_checks import RejectedDocument, integer, mapping, span, text
from braggwatch.callbacks.documents.frame_record import FrameRecord, Route
from braggwatch.callbacks.documents.frame_routes_hdf5 import (
    DEFAULT_DATASET,
    Hdf5Reader,
    Hdf5Rows,
    NotReadableYet,
    PathMap,
    UnusableReference,
)
from braggwatch.callbacks.documents.frame_routes_inline import UnusableFrame, check_shape, inline_frame, stated_shape
from braggwatch.callbacks.documents.readings import StreamReadings


@dataclass(frozen=True, slots=True)
class FrameFields:
    """Which data keys hold what, None where the beamline has no such signal; ``angle_scale`` makes degrees."""

    detector: str
    angle: str
    angle_scale: float
    monitor: str | None
    transmission: str | None


@dataclass(frozen=True, slots=True)
class _Inline:
    frame: NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class _Datum:
    datum_id: str


@dataclass(frozen=True, slots=True)
class _Streamed:
    resource: str
    index: int


_Version = tuple[float, str]


class FrameSource:
    """The frames and file-borne scalars of one run's detector stream.

    Feed it documents; `poll` returns each frame that can be read and joined now. A file that can't be opened yet is
    tried again at a later `poll`.
    """

    def __init__(self, run_uid: str, fields: FrameFields, settings: AssemblySettings) -> None:
        self._run_uid = run_uid
        self._fields = fields
        self._settings = settings
        self._paths = PathMap(settings.root_map, settings.allowed_roots)
        self._reader = Hdf5Reader()
        self._exposures = 1
        self._stated: tuple[int, int] | None = None
        self._joins_event = True
        self._resources: dict[str, Mapping[str, object]] = {}
        self._datums: dict[str, Mapping[str, object]] = {}
        self._stream_resources: dict[str, Mapping[str, object]] = {}
        self._located: dict[int, tuple[_Version, _Inline | _Datum | _Streamed]] = {}
        self._scalars: dict[tuple[str, str], dict[int, tuple[_Version, _Streamed]]] = {}
        self._waiting: set[int] = set()
        self._not_before: dict[str, float] = {}
        self.problem: str | None = None
        """Why the last frame could not be read, in words; None after one could."""

    @property
    def pending(self) -> int:
        """Frames announced and not delivered: their file or event is not there yet."""
        return len(self._waiting)

    @property
    def waiting(self) -> tuple[int, ...]:
        """Sequence numbers of those frames."""
        return tuple(sorted(self._waiting))

    @property
    def external_fields(self) -> frozenset[tuple[str, str]]:
        """(stream, data key) of the scalars that travel in files."""
        return frozenset(self._scalars)

    def describe(self, data_keys: Mapping[str, object]) -> None:
        """Take the detector stream's data keys from its descriptor."""
        self._exposures, self._stated = stated_shape(data_keys.get(self._fields.detector))
        external = {key: isinstance(value, dict) and "external" in value for key, value in data_keys.items()}
        self._joins_event = not external.get(self._fields.detector, False) or not all(external.values())

    def event(self, seq_num: int, version: tuple[float, str], value: object) -> None:
        """Take the detector's value in an event: an array, a datum id, or None where the frame is in a stream.

        Raises
        ------
        UnusableFrame
            Where an array is no frame, or not of the descriptor's shape.
        """
        if isinstance(value, str):
            self._locate(seq_num, version, _Datum(value))
        elif value is not None:
            frame = inline_frame(value)
            check_shape(frame, self._stated)
            self._locate(seq_num, version, _Inline(frame))
        elif seq_num in self._located:
            self._waiting.add(seq_num)

    def asset(self, name: str, doc: Mapping[str, object]) -> None:
        """Take a Resource, Datum or StreamResource document."""
        if name == "resource":
            self._resources[str(doc["uid"])] = doc
        elif name == "datum":
            self._datums[str(doc["datum_id"])] = {"resource": str(doc["resource"]), "kwargs": doc["datum_kwargs"]}
        else:
            self._stream_resources[str(doc["uid"])] = doc

    def stream_datum(self, doc: Mapping[str, object], stream: str, *, is_detector_stream: bool) -> bool:
        """Take a StreamDatum; return False for one known already.

        Raises
        ------
        RejectedDocument
            Where its StreamResource isn't known here, file indices and sequence numbers differ in length, or reach
            beyond ``max_frames``.
        """
        uid = str(doc["stream_resource"])
        if uid not in self._stream_resources:
            raise RejectedDocument("no_resource", f"the stream resource {uid!r:.80} never came to run {self._run_uid}")
        data_key = str(self._stream_resources[uid]["data_key"])
        first, last = span(doc, "indices", at_least=0)
        seq_first, seq_last = span(doc, "seq_nums", at_least=1)
        if last - first != seq_last - seq_first:
            raise RejectedDocument(
                "schema", f"stream datum: {last - first} indices for {seq_last - seq_first} seq_nums"
            )
        if last - first > self._settings.max_frames:
            raise RejectedDocument("too_many_frames", f"one stream datum announces {last - first} frames")
        new = False
        for offset in range(last - first):
            version, target = (float(first + offset), uid), _Streamed(uid, first + offset)
            if is_detector_stream and data_key == self._fields.detector:
                new |= self._locate(seq_first + offset, version, target)
            elif data_key in (self._fields.angle, self._fields.monitor, self._fields.transmission):
                column = self._scalars.setdefault((stream, data_key), {})
                known = column.get(seq_first + offset)
                if known is None or known[0] < version:
                    column[seq_first + offset] = (version, target)
                    new = True
            else:
                return True
        return new

    def poll(
        self,
        now: float,
        readings: StreamReadings | None,
        *,
        force: bool = False,
        on_unusable: Callable[[int, str], None] | None = None,
    ) -> list[FrameRecord]:
        """Return the frames that can be delivered now, each joined with the readings of its own event.

        Parameters
        ----------
        now
            Monotonic seconds; files that failed less than ``file_retry_s`` ago are left alone.
        readings
            The detector stream's events.
        force
            Try every file whatever its last failure.
        on_unusable
            Told the sequence number of a frame that has not the descriptor's shape, and why; the others go on.

        Raises
        ------
        UnusableFrame
            Without ``on_unusable``, where a frame in a file has not the descriptor's shape.
        """
        records: list[FrameRecord] = []
        for seq_num in sorted(self._waiting):
            row = readings.rows.get(seq_num) if readings is not None else None
            if row is None and self._joins_event:
                continue
            found = self._read(seq_num, now, force=force)
            if found is None:
                continue
            frame, route = found
            self._waiting.discard(seq_num)
            try:
                check_shape(frame, self._stated)
            except UnusableFrame as error:
                if on_unusable is None:
                    raise
                on_unusable(seq_num, str(error))
                continue
            values = row.values if row is not None else {}
            angle = values.get(self._fields.angle)
            frame = frame.view()
            frame.setflags(write=False)
            records.append(
                FrameRecord(
                    run_uid=self._run_uid,
                    index=seq_num - 1,
                    angle_deg=None if angle is None else angle * self._fields.angle_scale,
                    frame=frame,
                    monitor=values.get(self._fields.monitor) if self._fields.monitor else None,
                    transmission=values.get(self._fields.transmission) if self._fields.transmission else None,
                    route=route,
                )
            )
        return records

    def scalars(self, stream: str, data_key: str) -> dict[int, float]:
        """Return the values of a file-borne scalar by sequence number, as far as they can be read now."""
        values: dict[int, float] = {}
        for seq_num, (_, target) in self._scalars.get((stream, data_key), {}).items():
            try:
                value = self._reader.read(self._streamed_rows(target, exposures=1))
            except (NotReadableYet, UnusableReference) as error:
                self.problem = str(error)
                break
            if value.size == 1 and np.isfinite(value.item()):
                values[seq_num] = float(value.item())
        return values

    def close(self) -> None:
        """Close files and forget frames."""
        self._reader.close()
        self._located.clear()
        self._waiting.clear()

    def _locate(self, seq_num: int, version: _Version, target: _Inline | _Datum | _Streamed) -> bool:
        known = self._located.get(seq_num)
        if known is not None and version <= known[0]:
            return False
        self._located[seq_num] = (version, target)
        self._waiting.add(seq_num)
        return True

    def _read(self, seq_num: int, now: float, *, force: bool) -> tuple[NDArray[np.generic], Route] | None:
        version, target = self._located[seq_num]
        if isinstance(target, _Inline):
            self._located[seq_num] = (version, _Inline(np.empty((0, 0))))  # delivered: don't hold the frame twice
            return target.frame, Route.INLINE
        try:
            rows = self._datum_rows(target) if isinstance(target, _Datum) else self._streamed_rows(target)
            if rows is None:
                return None
            if not force and now < self._not_before.get(str(rows.path), now):
                return None
            try:
                frame = self._reader.read(rows)
            except NotReadableYet:
                self._not_before[str(rows.path)] = now + self._settings.file_retry_s
                raise
        except (NotReadableYet, UnusableReference) as error:
            self.problem = str(error)
            return None
        self.problem = None
        return frame, Route.RESOURCE_DATUM if isinstance(target, _Datum) else Route.STREAM_RESOURCE

    def _datum_rows(self, target: _Datum) -> Hdf5Rows | None:
        """Follow datum → resource; None while either is missing."""
        datum = self._datums.get(target.datum_id)
        resource = self._resources.get(str(datum["resource"])) if datum is not None else None
        if datum is None or resource is None:
            self.problem = f"the datum {target.datum_id!r} or its resource never came"
            return None
        spec = str(resource.get("spec"))
        if not spec.startswith("AD_HDF5"):
            raise UnusableReference(f"resources of spec {spec!r} can't be read")
        kwargs = mapping({"resource_kwargs": resource.get("resource_kwargs", {})}, "resource_kwargs")
        try:
            exposures = integer({"frame_per_point": 1} | dict(kwargs), "frame_per_point", at_least=1)
            index = integer(mapping(datum, "kwargs"), "point_number", at_least=0)
        except RejectedDocument as error:
            raise UnusableReference(str(error)) from error
        path = str(resource.get("root", "")).rstrip("/") + "/" + str(resource.get("resource_path", "")).lstrip("/")
        dataset = text(kwargs.get("dataset")) or DEFAULT_DATASET
        return Hdf5Rows(self._paths.local(path), dataset, index, exposures, swmr="SWMR" in spec)

    def _streamed_rows(self, target: _Streamed, exposures: int | None = None) -> Hdf5Rows:
        resource = self._stream_resources[target.resource]
        if resource.get("mimetype") != "application/x-hdf5":
            raise UnusableReference(f"stream resources of type {resource.get('mimetype')!r} can't be read")
        parameters = mapping(resource, "parameters")
        dataset = text(parameters.get("dataset"))
        if dataset is None:
            raise UnusableReference("the stream resource does not name its dataset")
        path = self._paths.from_uri(str(resource["uri"]))
        return Hdf5Rows(path, dataset, target.index, exposures or self._exposures, swmr=True)
