"""Finds every geometry value of the preset in a run's documents, and records its origin.

Searched in this order: events, baseline stream, descriptor configuration, start document. There are no defaults: the
error names what is missing, and a value that changed during the scan but should be constant is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.records import GeometryOrigin
from braggwatch.callbacks.cxdp.run.reflection import StatedReflection
from braggwatch.callbacks.documents.document_checks import finite
from braggwatch.callbacks.documents.readings import StreamReadings
from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.geometry.model import GeometryPreset, RockingGeometry, Signal, Value
from braggwatch.sim.geometry.resolve import MissingGeometry, geometry_from_values

BASELINE = "baseline"
"""Name of the stream that bluesky's baseline preprocessor writes before and after a run."""


class UnresolvedGeometry(BraggwatchError, ValueError):  # noqa: N818 the name says what is wrong
    """A geometry value is missing, moved, or makes no sense; the message names it and where it was looked for."""


@dataclass(frozen=True, slots=True)
class GeometrySources:
    """What a run's documents say.

    Attributes
    ----------
    streams
        Readings by stream name, the detector's first.
    configuration
        Field → values, of the descriptors' configuration; several where one changed between descriptors.
    """

    start: Mapping[str, object]
    configuration: Mapping[str, Sequence[float]]
    streams: Sequence[StreamReadings]


@dataclass(frozen=True, slots=True)
class ResolvedGeometry:
    """A complete geometry and where each of its values came from."""

    geometry: RockingGeometry
    origins: tuple[GeometryOrigin, ...]


def scanned_signal(preset: GeometryPreset) -> Signal:
    """Return the field that carries the scanned circle's readback, with the factor to degrees.

    A preset that states a plain number for the scanned circle means the field named like the circle, in degrees.
    """
    for circle in preset.sample_circles:
        if circle.name == preset.scanned:
            return circle.angle_deg if isinstance(circle.angle_deg, Signal) else Signal(signal=circle.name, scale=1.0)
    raise UnresolvedGeometry(f"the scanned circle {preset.scanned!r} is not among the preset's sample circles")


def wanted_signals(preset: GeometryPreset) -> frozenset[str]:
    """Return the names of all fields that the preset's geometry needs."""
    named = {value.signal for _, value in _values(preset) if isinstance(value, Signal)}
    return frozenset(named | {scanned_signal(preset).signal})


def resolve_geometry(
    preset: GeometryPreset,
    sources: GeometrySources,
    frame_shape: tuple[int, int],
    angles_deg: NDArray[np.float64],
    angle_origin: str,
    tolerance: float,
    reflection: StatedReflection | None = None,
) -> ResolvedGeometry:
    """Find every value of a preset in a run's documents.

    Parameters
    ----------
    frame_shape
        Shape of a delivered frame before any cropping, (rows, columns).
    angles_deg
        (N,) readbacks of the scanned circle in degrees, NaN where absent.
    angle_origin
        Where those came from, e.g. ``"event:th"``.
    tolerance
        Largest change of a value that should stand still: absolute, relative for values over 1.
    reflection
        What takes the place of the preset's ``hkl`` and, if the documents state a lattice, of what the preset says of
        it; None leaves them.

    Raises
    ------
    UnresolvedGeometry
        With the missing or moving fields, all of them, and where they were looked for.
    """
    scanned = scanned_signal(preset)
    readable = angles_deg[np.isfinite(angles_deg)]
    if readable.size == 0:
        raise UnresolvedGeometry(f"no readback of the scanned circle {preset.scanned!r} (field {scanned.signal!r})")
    values: dict[str, float] = {scanned.signal: float(readable[0]) / scanned.scale}
    origins: list[GeometryOrigin] = []
    problems: list[str] = []
    for field, value in _values(preset):
        if field == f"sample_circles.{preset.scanned}":
            origins.append(GeometryOrigin(field=field, value=float(readable[0]), origin=angle_origin))
        elif not isinstance(value, Signal):
            origins.append(GeometryOrigin(field=field, value=float(value), origin="preset"))
        else:
            found = look_up(value.signal, sources)
            if found is None:
                problems.append(f"{field} (field {value.signal!r}) is in no event, baseline, configuration or start")
                continue
            series, origin = found
            if "_circles." in field:
                # Some controllers count from 0 to 360 degrees: a motor at zero then seems to move by a turn.
                series = np.unwrap(series, period=abs(360.0 / value.scale)).tolist()
            spread = max(series) - min(series)
            if spread > tolerance * max(1.0, abs(series[0])):
                problems.append(f"{field} ({value.signal!r}) moved during the scan, {min(series):g} to {max(series):g}")
            values[value.signal] = series[0]
            origins.append(
                GeometryOrigin(field=field, value=series[0] * value.scale, origin=f"{origin}:{value.signal}")
            )
    if problems:
        raise UnresolvedGeometry("; ".join(problems))
    reflection = reflection or StatedReflection(preset.hkl, "preset", lattice=preset.crystal_lattice)
    preset = preset.model_copy(update={"hkl": reflection.hkl, **_documents_lattice(reflection)})
    for place, index in enumerate(reflection.hkl or ()):
        origins.append(GeometryOrigin(field=f"hkl.{place}", value=index, origin=reflection.origin or "preset"))
    try:
        geometry = geometry_from_values(preset, values, frame_shape)
    except (MissingGeometry, ValueError) as error:
        raise UnresolvedGeometry(str(error)) from error
    return ResolvedGeometry(geometry, tuple(origins))


def _documents_lattice(reflection: StatedReflection) -> dict[str, object]:
    lattice = reflection.lattice
    if lattice.origin is None or not lattice.origin.startswith("start:"):
        return {}
    # Material and space group are another crystal's, or this one's that the stated lattice is wanted for.
    return {"lattice": lattice.names[0] if lattice.names else None, "space_group": None, "material": None}


def fly_angles(start: Mapping[str, object], length: int) -> NDArray[np.float64] | None:
    """Return the (length,) angles in degrees that ``start["fly"]`` states, None where it does not.

    ``fly: {"start": …, "stop": …, "num": …}``: ``num`` frames at equal steps, first and last included, in degrees at
    the middle of each exposure.

    Raises
    ------
    UnresolvedGeometry
        If the statement is incomplete or about another number of frames.
    """
    stated = start.get("fly")
    if stated is None:
        return None
    if not isinstance(stated, Mapping):
        raise UnresolvedGeometry("the start document's 'fly' is not a mapping of start, stop and num")
    first, last, num = (finite(stated.get(key)) for key in ("start", "stop", "num"))
    if first is None or last is None or num is None:
        raise UnresolvedGeometry("the start document's 'fly' needs the numbers start, stop and num")
    if int(num) != num or int(num) != length:
        raise UnresolvedGeometry(f"the start document's 'fly' states {num:g} frames, the scan has {length}")
    return np.linspace(first, last, length)


def _values(preset: GeometryPreset) -> Iterator[tuple[str, Value]]:
    yield "energy_keV", preset.energy_keV
    for circle in preset.sample_circles:
        yield f"sample_circles.{circle.name}", circle.angle_deg
    for circle in preset.detector_circles:
        yield f"detector_circles.{circle.name}", circle.angle_deg
    yield "distance_m", preset.distance_m
    for index, value in enumerate(preset.direct_beam_px):
        yield f"direct_beam_px.{index}", value
    for index, value in enumerate(preset.roi_origin):
        yield f"roi_origin.{index}", value


def look_up(signal: str, sources: GeometrySources) -> tuple[list[float], str] | None:
    """Return the field's values in order of sequence number and where they are, from the first place that has it."""
    for stream in sorted(sources.streams, key=lambda stream: stream.name == BASELINE):
        series = stream.series(signal)
        if series:
            origin = "baseline" if stream.name == BASELINE else "event"
            return [series[seq_num] for seq_num in sorted(series)], origin
    if signal in sources.configuration:
        return list(sources.configuration[signal]), "configuration"
    value = finite(sources.start.get(signal))
    return None if value is None else ([value], "start")
