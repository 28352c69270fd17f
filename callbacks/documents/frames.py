"""Reads a detector's frames by any of three routes and yields `FrameRecord` values.

| route | frames are | joined by |
|---|---|---|
| inline | arrays in ``event.data`` | being in the event |
| Resource/Datum | rows of ``/entry/data/data`` | event → datum → resource |
| StreamResource/StreamDatum | rows of a SWMR dataset | ``seq_nums`` of the stream datum = ``seq_num`` of the event |

Frames are never joined by order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.asset_book import AssetBook
from braggwatch.callbacks.documents.document_checks import RejectedDocument, mapping, span
from braggwatch.callbacks.documents.dropped_rows import UNIQUE_IDS, rows_by_point
from braggwatch.callbacks.documents.frame_record import FrameRecord, Route
from braggwatch.callbacks.documents.frame_routes_hdf5 import (
    Hdf5Reader,
    Hdf5Rows,
    PathMap,
    UnusableReference,
)
from braggwatch.callbacks.documents.frame_routes_inline import UnusableFrame, check_shape, inline_frame, stated_shape
from braggwatch.callbacks.documents.markers import stacked
from braggwatch.callbacks.documents.readings import StreamReadings
from braggwatch.callbacks.documents.references import Streamed, datum_rows, streamed_rows
from braggwatch.callbacks.documents.written_rows import NotReadableYet, RowNotWritten


@dataclass(frozen=True, slots=True)
class FrameFields:
    """Data keys by meaning, None if the beamline has no such signal; ``angle_scale`` converts to degrees.

    ``marks_gaps``: the detector marks pixels without a reading (`markers.marked`).
    """

    detector: str
    angle: str
    angle_scale: float
    monitor: str | None
    transmission: str | None
    marks_gaps: bool = True


@dataclass(frozen=True, slots=True)
class _Inline:
    frame: NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class _Datum:
    datum_id: str


_Version = tuple[float, str]


class FrameSource:
    """The frames and file-borne scalars of one run's detector stream.

    Takes documents; `poll` returns each frame that can be read and joined now. A file that can't be opened yet is
    tried again at a later `poll`.

    Parameters
    ----------
    book
        References to files that runs share; None keeps this run's own.
    """

    def __init__(
        self, run_uid: str, fields: FrameFields, settings: AssemblySettings, book: AssetBook | None = None
    ) -> None:
        self._run_uid = run_uid
        self._fields = fields
        self._settings = settings
        self._paths = PathMap(settings.root_map, settings.allowed_roots)
        self._reader = Hdf5Reader(marks_gaps=fields.marks_gaps)
        self._exposures = 1
        self._stated: tuple[int, int] | None = None
        self._joins_event = True
        self._book = book or AssetBook()
        self._located: dict[int, tuple[_Version, _Inline | _Datum | Streamed]] = {}
        self._scalars: dict[tuple[str, str], dict[int, tuple[_Version, Streamed]]] = {}
        self._waiting: set[int] = set()
        self._not_before: dict[str, float] = {}
        self._problems: dict[int, str] = {}
        self._placed: dict[Hdf5Rows, Mapping[int, int]] = {}
        self.problem: str | None = None
        """Why a frame, the first of them, can't be read; None if all could that have come."""

    @property
    def pending(self) -> int:
        """Frames announced but not delivered: their file or event has not arrived yet."""
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
            If an array is no frame, or not of the descriptor's shape.
        """
        if isinstance(value, str):
            self._locate(seq_num, version, _Datum(value))
        elif value is not None:
            frame = inline_frame(value, marks_gaps=self._fields.marks_gaps)
            check_shape(frame, self._stated)
            self._locate(seq_num, version, _Inline(frame))
        elif seq_num in self._located:
            self._waiting.add(seq_num)

    def asset(self, name: str, doc: Mapping[str, object]) -> None:
        """Take a Resource, Datum or StreamResource document."""
        self._book.put(name, doc)

    def stream_datum(self, doc: Mapping[str, object], stream: str, *, is_detector_stream: bool) -> bool:
        """Take a StreamDatum; return False for one known already.

        Raises
        ------
        RejectedDocument
            If its StreamResource isn't known here, file indices and sequence numbers differ in length, or reach
            beyond ``max_frames``.
        """
        uid = str(doc["stream_resource"])
        if uid not in self._book.stream_resources:
            raise RejectedDocument("no_resource", f"the stream resource {uid!r:.80} never came to run {self._run_uid}")
        data_key = str(self._book.stream_resources[uid]["data_key"])
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
            # A plan that was rewound repeats points further on in the file, or in a file that came later.
            version = (float(self._book.order.get(uid, 0) * 2**32 + first + offset), uid)
            target = Streamed(uid, first + offset)
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
        blank_is_written: bool = True,
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
        blank_is_written
            As in `Hdf5Reader.read`; False while more may be written.
        on_unusable
            Called with the sequence number of a frame of the wrong shape, and why; other frames are still returned.

        Raises
        ------
        UnusableFrame
            Without ``on_unusable``, if a frame in a file doesn't have the descriptor's shape.
        """
        records: list[FrameRecord] = []
        for seq_num in sorted(self._waiting):
            row = readings.rows.get(seq_num) if readings is not None else None
            if row is None and self._joins_event:
                continue
            found = self._read(seq_num, now, force=force, blank_is_written=blank_is_written)
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
        if self._problems or records:
            self.problem = next((self._problems[seq_num] for seq_num in sorted(self._problems)), None)
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

    def place_rows(self) -> bool:
        """Place the rows of files whose writer dropped frames; return whether all frames are to be read again for it.

        Ask it once no more rows will come.

        Raises
        ------
        UnplacedRows
            If frames were dropped and it isn't known which point a row belongs to.
        """
        lacking: dict[Hdf5Rows, int] = {}
        for _, target in self._located.values():
            rows = self._rows_of(target)
            if len(rows) == 1:
                file = replace(rows[0], index=0)
                lacking[file] = max(lacking.get(file, 0), rows[0].index)
        for file, last in lacking.items():
            ids = self._reader.column(file.path, UNIQUE_IDS)
            if ids is None or ids.size >= (last + 1) * file.frames_per_event:
                continue
            placed = rows_by_point(ids, last, file.frames_per_event)
            if placed is not None:
                self._placed[file] = placed
        if self._placed:
            self._waiting = set(self._located)
        return bool(self._placed)

    def _rows_of(self, target: _Inline | _Datum | Streamed) -> tuple[Hdf5Rows, ...]:
        """Return where a frame lies; nothing for one that came inside its event, or can't be found."""
        try:
            if isinstance(target, _Datum):
                return self._datum_rows(target)
            return (self._streamed_rows(target),) if isinstance(target, Streamed) else ()
        except UnusableReference:
            return ()

    def restart(self) -> None:
        """Forget the frames so far: they are another stream's."""
        self._located.clear()
        self._waiting.clear()
        self._placed.clear()
        self._problems.clear()
        self.problem = None

    def close(self) -> None:
        """Close files and forget frames."""
        self._reader.close()
        self._located.clear()
        self._waiting.clear()

    def _locate(self, seq_num: int, version: _Version, target: _Inline | _Datum | Streamed) -> bool:
        known = self._located.get(seq_num)
        if known is not None and version <= known[0]:
            return False
        self._located[seq_num] = (version, target)
        self._waiting.add(seq_num)
        return True

    def _read(
        self, seq_num: int, now: float, *, force: bool, blank_is_written: bool
    ) -> tuple[NDArray[np.generic], Route] | None:
        version, target = self._located[seq_num]
        if isinstance(target, _Inline):
            self._located[seq_num] = (version, _Inline(np.empty((0, 0))))  # delivered: don't keep a second copy
            return target.frame, Route.INLINE
        try:
            rows = self._datum_rows(target) if isinstance(target, _Datum) else (self._streamed_rows(target),)
            rows = tuple(self._in_place(part) for part in rows)
            place = str(rows[0].path)
            row = f"{place} {rows[0].dataset} {rows[0].index}"
            if not force and any(now < self._not_before.get(key, now) for key in (place, row)):
                return None
            try:
                parts = [self._reader.read(part, blank_is_written=blank_is_written) for part in rows]
            except NotReadableYet as error:
                # A row that lacks doesn't keep from reading the others.
                key = row if isinstance(error, RowNotWritten) else place
                self._not_before[key] = now + self._settings.file_retry_s
                raise
        except (NotReadableYet, UnusableReference) as error:
            self._problems[seq_num] = str(error)
            return None
        self._problems.pop(seq_num, None)
        frame = parts[0] if len(parts) == 1 else stacked(np.stack(parts), marks_gaps=self._fields.marks_gaps)
        return frame, Route.RESOURCE_DATUM if isinstance(target, _Datum) else Route.STREAM_RESOURCE

    def _in_place(self, rows: Hdf5Rows) -> Hdf5Rows:
        placed = self._placed.get(replace(rows, index=0))
        if placed is None:
            return rows
        if rows.index not in placed:
            raise RowNotWritten(f"{rows.path.name}: its writer dropped frame {rows.index + 1}, by the unique ids")
        return replace(rows, index=placed[rows.index])

    def _datum_rows(self, target: _Datum) -> tuple[Hdf5Rows, ...]:
        datum = self._book.datums.get(target.datum_id)
        resource = self._book.resources.get(str(datum["resource"])) if datum is not None else None
        if datum is None or resource is None:
            raise UnusableReference(f"the datum {target.datum_id!r} or its resource never came")
        return datum_rows(mapping(datum, "datum_kwargs"), resource, self._exposures, self._paths)

    def _streamed_rows(self, target: Streamed, exposures: int | None = None) -> Hdf5Rows:
        resource = self._book.stream_resources[target.resource]
        return streamed_rows(resource, target.index, exposures or self._exposures, self._paths)
