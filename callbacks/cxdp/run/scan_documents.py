"""Collects what the documents of one run say about its scan, except the frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from braggwatch.callbacks.cxdp.run.geometry_resolution import (
    BASELINE,
    GeometrySources,
    look_up,
    scanned_signal,
    wanted_signals,
)
from braggwatch.callbacks.cxdp.run.one_curve import SamplePosition
from braggwatch.callbacks.cxdp.run.reflection import StatedReflection, stated_reflection
from braggwatch.callbacks.documents import start_facts
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.document_checks import RejectedDocument, finite, text
from braggwatch.callbacks.documents.frames import FrameFields
from braggwatch.callbacks.documents.readings import StreamReadings
from braggwatch.callbacks.documents.run_length import expected_frames, promised_events
from braggwatch.sim.geometry.model import GeometryPreset


class ScanDocuments:
    """Keeps a run's start and stop document, its streams' descriptors and the readings that a rocking curve needs.

    Documents may arrive in any order; each method that takes one returns False for a duplicate.

    Attributes
    ----------
    fields
        The data keys to read.
    start, stop
        None until they arrive.
    detector_stream
        Name of the stream that has the preset's detector; None before its descriptor.
    """

    def __init__(self, uid: str, preset: GeometryPreset, settings: AssemblySettings) -> None:
        self.uid = uid
        self.preset = preset
        self.settings = settings
        signal = scanned_signal(preset)
        self.fields = FrameFields(
            preset.detector_field, signal.signal, signal.scale, preset.monitor_field, preset.transmission_field
        )
        beside = {preset.monitor_field, preset.transmission_field, *settings.position_fields.values()} - {None}
        self._geometry = wanted_signals(preset)
        self._wanted = self._geometry | cast("set[str]", beside)
        self.start: Mapping[str, object] | None = None
        self.stop: Mapping[str, object] | None = None
        self.detector_stream: str | None = None
        self._stream_of: dict[str, str] = {}
        self._keys: dict[str, frozenset[str]] = {}
        self._readings: dict[str, StreamReadings] = {}
        self._configuration: dict[str, dict[str, float]] = {}
        self._described: set[str] = set()
        self._units: dict[str, str] = {}

    def begin(self, doc: Mapping[str, object]) -> bool:
        """Take the start document."""
        is_new = self.start is None
        self.start = self.start or doc
        return is_new

    def end(self, doc: Mapping[str, object]) -> bool:
        """Take the stop document."""
        is_new = self.stop is None
        self.stop = self.stop or doc
        return is_new

    def describe(self, doc: Mapping[str, object]) -> bool:
        """Take a descriptor."""
        uid = str(doc["uid"])
        if uid in self._stream_of:
            return False
        stream, keys = stream_name(doc), cast("Mapping[str, object]", doc["data_keys"])
        self._stream_of[uid] = stream
        self._keys[stream] = self._keys.get(stream, frozenset()) | frozenset(keys)
        self._readings.setdefault(stream, StreamReadings(stream))
        for key in self._wanted & set(keys):
            unit = (
                text(cast("Mapping[str, object]", keys[key]).get("units")) if isinstance(keys[key], Mapping) else None
            )
            if unit is not None:
                self._units[key] = unit
        stated: dict[str, float] = {}
        for device in cast("Mapping[str, object]", doc.get("configuration") or {}).values():
            data = cast("Mapping[str, object]", device).get("data") if isinstance(device, Mapping) else None
            for key, value in cast("Mapping[str, object]", data or {}).items():
                number = finite(value)
                if number is not None and key in self._wanted:
                    stated[key] = number
        self._configuration[uid] = stated
        return True

    def prefers(self, doc: Mapping[str, object]) -> bool | None:
        """Tell whether a descriptor's stream is rather the rocking curve than the detector's stream so far.

        Most says the start document's hints, then the name ``primary``, then that the scanned circle is read there.
        None if nothing tells them apart.
        """
        keys = cast("Mapping[str, object]", doc["data_keys"])
        new = self._rank(stream_name(doc), frozenset(keys))
        known = self._rank(self.detector_stream or "", self._keys.get(self.detector_stream or "", frozenset()))
        return None if new == known else new > known

    def _rank(self, stream: str, keys: frozenset[str]) -> tuple[bool, bool, bool]:
        hinted = stream in start_facts.scan_streams(self.start)
        return hinted, stream == "primary", self.fields.angle in keys

    def read(self, doc: Mapping[str, object]) -> bool:
        """Take an event whose stream `matters`.

        Raises
        ------
        RejectedDocument
            If the stream has too many of them, or its descriptor isn't known here.
        """
        stream = self.stream_of(doc)
        readings = self._readings[stream]
        if len(readings.rows) >= 8 * self.settings.max_frames:
            raise RejectedDocument("too_many_events", f"stream {stream!r} has more than {len(readings.rows)} events")
        seq_num, time = int(cast("int", doc["seq_num"])), float(cast("float", doc["time"]))
        return readings.put(seq_num, time, str(doc["uid"]), cast("Mapping[str, object]", doc["data"]), self._wanted)

    def stream_of(self, doc: Mapping[str, object]) -> str:
        """Return the stream of an event or a stream datum.

        Raises
        ------
        RejectedDocument
            If its descriptor isn't known here: the run was evicted while nothing was known of it, and is here again.
        """
        stream = self._stream_of.get(str(doc["descriptor"]))
        if stream is None:
            raise RejectedDocument("no_descriptor", f"the descriptor came before run {self.uid} was evicted")
        self._described.add(str(doc["descriptor"]))
        return stream

    def matters(self, stream: str) -> bool:
        """Tell whether a stream has the detector or anything else that is looked for."""
        return stream == self.detector_stream or bool(self._wanted & self._keys[stream])

    @property
    def may_be_scan(self) -> bool:
        """Whether a stream has the preset's detector, or might have: its descriptor was lost."""
        if self.detector_stream is not None:
            return True
        if self.start is None and self.stop is not None and not self._keys:
            return True
        return any(n > 0 and name not in self._keys for name, n in self.promised.items())

    @property
    def promised(self) -> dict[str, int]:
        """Stream → events as the stop document counts them."""
        return promised_events(self.stop)

    @property
    def promised_frames(self) -> int | None:
        """Events of the detector's stream as the stop document counts them."""
        return self.promised.get(self.detector_stream or "")

    @property
    def expected(self) -> int | None:
        """Number of frames announced by the start or stop document; None if neither says."""
        return expected_frames(self.start or {}, self.promised_frames, self.settings.max_frames)

    @property
    def announced(self) -> int | None:
        """Number of frames announced by the start document; None if it doesn't say."""
        return expected_frames(self.start or {}, None, self.settings.max_frames)

    @property
    def frames_read(self) -> StreamReadings | None:
        """Readings of the detector's stream."""
        return self._readings.get(self.detector_stream or "")

    @property
    def streams(self) -> list[StreamReadings]:
        """Readings of all streams, the detector's stream first."""
        return sorted(self._readings.values(), key=lambda stream: stream.name != self.detector_stream)

    @property
    def sources(self) -> GeometrySources:
        """The documents to search for geometry values."""
        return GeometrySources(self.start or {}, self._configured, self.streams)

    @property
    def _configured(self) -> dict[str, list[float]]:
        """Field → its values, in order, in the configuration of the detector's stream, else of the others.

        A descriptor without data says what was before any were taken.
        """
        own: dict[str, list[float]] = {}
        others: dict[str, list[float]] = {}
        for uid, stated in self._configuration.items():
            has_data = uid in self._described or not self._described
            of_detector = has_data and self._stream_of[uid] == self.detector_stream
            for key, value in stated.items():
                (own if of_detector else others).setdefault(key, []).append(value)
        return others | own

    @property
    def sample_positions(self) -> list[SamplePosition]:
        """Readings of the sample motors that were read with each frame."""
        frames, found = self.frames_read, list[SamplePosition]()
        for field in dict.fromkeys(self.settings.position_fields.values()):
            series = frames.series(field) if frames is not None else {}
            values = [series[seq_num] for seq_num in sorted(series)]
            if values and field not in self._geometry:
                found.append(SamplePosition(field, values, self._units.get(field)))
        return found

    @property
    def reflection(self) -> StatedReflection:
        """The reflection and the lattice, from the start document or the preset."""
        return stated_reflection(self.preset, self.start or {}, self.settings.hkl_field, self.settings.lattice_field)

    def lacks_events(self, in_files: frozenset[str]) -> bool:
        """Tell whether events counted by the stop document are missing from relevant streams.

        Parameters
        ----------
        in_files
            Streams whose values travel in files: they may have no events.
        """
        return any(
            name not in self._keys or (bool(self._wanted & self._keys[name]) and len(self._readings[name].rows) < count)
            for name, count in self.promised.items()
            if name not in in_files
        )

    @property
    def scan_id(self) -> int | None:
        """Scan number of the start document, None where it has none."""
        return start_facts.scan_id(self.start)

    @property
    def sample(self) -> str | None:
        """Name of the sample."""
        return start_facts.sample_name(self.start, self.settings.sample_field)

    @property
    def truth(self) -> str | None:
        """The simulated beamline's ground truth for its crystal."""
        simulation = (self.start or {}).get("braggwatch_simulation")
        return text(cast("Mapping[str, object]", simulation).get("truth")) if isinstance(simulation, Mapping) else None

    @property
    def started_at(self) -> float:
        """Time of the start document, else of the stop document, seconds since the epoch; 0 without either."""
        return start_facts.started_at(self.start, self.stop)

    @property
    def position(self) -> dict[str, float]:
        """Positions of the sample motors, by their names in the record, in their own units."""
        sources = GeometrySources(self.start or {}, self._configured, tuple(self._readings.values()))
        found = {name: look_up(signal, sources) for name, signal in self.settings.position_fields.items()}
        return {name: values[0][0] for name, values in found.items() if values is not None}


def stream_name(descriptor: Mapping[str, object]) -> str:
    """Return the name of a descriptor's stream."""
    return text(descriptor.get("name")) or "primary"


def has_detector(descriptor: Mapping[str, object], detector_field: str) -> bool:
    """Tell whether a descriptor shows the detector's frames; in the baseline there are none."""
    data_keys = cast("Mapping[str, object]", descriptor["data_keys"])
    return detector_field in data_keys and stream_name(descriptor) != BASELINE
