"""Builds a `RockingCurve` from the frames and their readings: angles, monitor, missing frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.corrections import frame_normalisation
from braggwatch.callbacks.cxdp.records import GeometryOrigin, RockingCurve
from braggwatch.callbacks.cxdp.run.frame_faults import FrameFault, find_faults
from braggwatch.callbacks.cxdp.run.geometry_resolution import (
    BASELINE,
    ResolvedGeometry,
    UnresolvedGeometry,
    fly_angles,
    resolve_geometry,
)
from braggwatch.callbacks.cxdp.run.scan_documents import ScanDocuments
from braggwatch.callbacks.cxdp.run.volume import InconsistentFrame, Volume
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.callbacks.documents.frame_record import FrameRecord
from braggwatch.callbacks.documents.frames import FrameSource

PASSED_BELOW = 0.1
"""The scan is past the peak once a frame has no more than this fraction of the brightest frame's counts."""

MONITOR = "_monitor"
"""How bluesky ends the name of a stream in which a signal is read whenever it changes, beside the frames."""

_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class CurveMaterials:
    """Everything that a curve of a given length is made of, except the frames.

    Attributes
    ----------
    documents
        Contents of the run's documents.
    source
        Values in files.
    beside
        Index → readings of each frame that arrived (their ``frame`` is empty).
    length
        Number of frames of the curve, missing ones included.
    """

    documents: ScanDocuments
    source: FrameSource
    beside: Mapping[int, FrameRecord]
    length: int


@dataclass(frozen=True, slots=True)
class BuiltCurve:
    """A curve, and what is missing from it; ``reason`` is None if no frame is missing.

    Attributes
    ----------
    faults
        Frames that arrived and count as missing because their neighbours contradict them.
    rocking_curve
        (N, 2) float64: angle in degrees and summed counts of each frame, NaN where absent.
    """

    curve: RockingCurve
    rocking_curve: NDArray[np.float64]
    reason: str | None
    classifiable: bool
    origins: tuple[GeometryOrigin, ...]
    faults: tuple[FrameFault, ...] = ()


def find_angles(materials: CurveMaterials, *, so_far: bool = False) -> tuple[NDArray[np.float64], str]:
    """Return (length,) readbacks of the scanned circle in degrees and where they came from.

    The frames' own events are taken first; then another stream that has one reading for each frame, from events or
    a file; then the plan's explicit statement.

    Parameters
    ----------
    so_far
        The run is in progress, with ``length`` frames so far: the detector's own stream may have more readings.

    Raises
    ------
    UnresolvedGeometry
        If none of these has them.
    """
    documents, length = materials.documents, materials.length
    signal, streams, promised = documents.fields.angle, documents.streams, documents.promised
    own = {index: r.angle_deg for index, r in materials.beside.items() if r.angle_deg is not None}
    if own:
        return unwound(joined(own, length)), f"event:{signal}"
    rejected: list[str] = []
    for stream in streams:
        if stream.name == BASELINE:
            continue
        series = stream.series(signal) or materials.source.scalars(stream.name, signal)
        if not series:
            continue
        if stream.name.endswith(MONITOR):
            rejected.append(
                f"stream {stream.name!r} is a monitor's: its readings have times of their own, not a frame's"
            )
            continue
        count = promised.get(stream.name, max(series))
        ahead = so_far and count > length and stream is streams[0]
        if count != length and not ahead:
            rejected.append(f"stream {stream.name!r} has {count} readings for {length} frames")
            continue
        scaled = {seq_num - 1: value * documents.fields.angle_scale for seq_num, value in series.items()}
        return unwound(joined(scaled, length)), f"event:{stream.name}/{signal}"
    stated = fly_angles(documents.start or {}, length)
    if stated is not None:
        return stated, "start:fly"
    looked = "; ".join(rejected) or "looked in the events of every stream, in stream resources and in start['fly']"
    raise UnresolvedGeometry(f"no readback of the scanned circle {documents.preset.scanned!r} ({signal!r}): {looked}")


def find_angles_so_far(complete: CurveMaterials, so_far: CurveMaterials) -> tuple[NDArray[np.float64], str]:
    """As `find_angles` for a run in progress: for the whole run if its angles are stated, else for the frames so far.

    Parameters
    ----------
    complete, so_far
        The same run, with the length of the complete run, and of the frames so far.
    """
    try:
        angles, origin = find_angles(complete)
    except UnresolvedGeometry:
        return find_angles(so_far, so_far=True)
    return angles[: so_far.length], origin


def find_geometry(
    documents: ScanDocuments, frame_shape: tuple[int, int], angles_deg: NDArray[np.float64], angle_origin: str
) -> ResolvedGeometry:
    """Resolve the preset's geometry from a run's documents.

    Raises
    ------
    UnresolvedGeometry
        As `resolve_geometry`.
    """
    return resolve_geometry(
        documents.preset,
        documents.sources,
        frame_shape,
        angles_deg,
        angle_origin,
        documents.settings.stationary_tolerance,
        documents.reflection,
    )


def build_curve(
    materials: CurveMaterials,
    volume: Volume,
    angles_deg: NDArray[np.float64],
    resolved: ResolvedGeometry,
    *,
    so_far: bool = False,
) -> BuiltCurve:
    """Take the frames out of the volume and describe what is missing.

    A frame without a readback of the scanned circle counts as missing: its place in reciprocal space is unknown. So
    does one that its neighbours contradict (`find_faults`).

    Parameters
    ----------
    so_far
        The run is in progress: leave the frames in place, and fail if any reading is missing.

    Raises
    ------
    InconsistentFrame
        If no frame arrived, or the length exceeds the limits.
    """
    documents, length = materials.documents, materials.length
    settings = documents.settings
    discarded = volume.discarded
    if so_far and (volume.view(length) is None or not np.isfinite(angles_deg).all()):
        raise InconsistentFrame(f"the first {length} frames are not all there yet")
    sums = volume.rocking_sums(length)
    finished = volume.view(length) if so_far else volume.finish(length)
    if finished is None:
        raise InconsistentFrame("no frame arrived")
    if length < settings.min_frames:
        raise InconsistentFrame(f"{length} frames are not a rocking curve")
    frames, present, crop_origin = finished
    blind = present & ~np.isfinite(angles_deg)
    present &= ~blind
    if blind.any():
        frames[blind] = 0
    monitor = _beside_frames(materials, {i: r.monitor for i, r in materials.beside.items()}, "monitor", present)
    transmission = _beside_frames(
        materials, {i: r.transmission for i, r in materials.beside.items()}, "transmission", present
    )
    faults: tuple[FrameFault, ...] = ()
    arrived = present.copy()
    if settings.leave_out_contradicted:
        scale, _ = frame_normalisation(length, monitor, transmission)
        faults = find_faults(frames, present, angles_deg, sums, scale)
        present[[index for fault in faults for index in fault.frames]] = False
    words = _in_words(faults)
    curve = RockingCurve(
        run_uid=documents.uid,
        frames=frames,
        angles_deg=np.where(present, angles_deg, np.nan),
        present=present,
        monitor=monitor,
        transmission=transmission,
        crop_origin=crop_origin,
        geometry=resolved.geometry,
        notes=words,
    )
    for array in (curve.frames, curve.angles_deg, curve.present):
        array.setflags(write=False)
    sums[~present] = np.nan
    plotted = np.stack([curve.angles_deg, sums], axis=1)
    missing = length - int(present.sum())
    if missing == 0:
        return BuiltCurve(curve, plotted, None, True, resolved.origins)
    guarded = near_peak(sums, present, settings)
    parts = [f"{missing} of {length} frames missing"]
    if guarded:
        parts.append(f"{len(guarded)} of them near the peak")
    if discarded:
        parts.append(f"{discarded} given up because the peak left the region first found: state the region")
    if blind.any():
        parts.append(f"{int(blind.sum())} without a readback of {documents.fields.angle!r}")
    if materials.source.problem is not None and materials.source.pending:
        parts.append(materials.source.problem)
    parts.extend(words)
    enough = curve.completeness >= settings.min_completeness
    if not enough and _ended_early(documents, arrived, plotted):
        parts.insert(0, "the plan ended it past the peak")
        enough = curve.completeness >= settings.min_completeness_ended_early
    classifiable = not guarded and enough
    return BuiltCurve(curve, plotted, "; ".join(parts), classifiable, resolved.origins, faults)


def _in_words(faults: tuple[FrameFault, ...]) -> tuple[str, ...]:
    more = len(faults) - _MOST_NAMED
    return (*(fault.in_words for fault in faults[:_MOST_NAMED]), *((f"and {more} more such",) if more > 0 else ()))


def _ended_early(documents: ScanDocuments, present: NDArray[np.bool_], rocking_curve: NDArray[np.float64]) -> bool:
    """Tell whether all missing frames come after the end stated by the stop document."""
    streams = documents.streams
    stated = documents.promised.get(streams[0].name) if streams else None
    if stated is None or not 0 < stated < present.size or not present[:stated].all():
        return False
    return peak_is_behind(rocking_curve[:stated])


def _beside_frames(
    materials: CurveMaterials, own: Mapping[int, float | None], kind: str, present: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Return (N,) monitor or transmission; None if the preset names none or it is missing for a frame."""
    documents = materials.documents
    field = documents.fields.monitor if kind == "monitor" else documents.fields.transmission
    if field is None:
        return None
    values = {index: value for index, value in own.items() if value is not None}
    for stream in documents.streams:
        if values or stream.name == BASELINE or stream.name.endswith(MONITOR):
            continue
        series = stream.series(field) or materials.source.scalars(stream.name, field)
        if series and documents.promised.get(stream.name, max(series)) == present.size:
            values = {seq_num - 1: value for seq_num, value in series.items()}
    result = joined(values, present.size)
    result[~present] = np.nan
    return result if present.any() and bool(np.isfinite(result[present]).all()) else None


def near_peak(sums: NDArray[np.float64], present: NDArray[np.bool_], settings: AssemblySettings) -> tuple[int, ...]:
    """Return the indices of missing frames near the rocking curve's maximum.

    Near means within ``peak_guard_frames`` of the brightest frame, or between neighbours of which one has more than
    ``peak_guard_fraction`` of its counts (the peak itself may be missing).
    """
    arrived = np.flatnonzero(present)
    if arrived.size == 0:
        return ()
    top = int(arrived[int(np.argmax(sums[arrived]))])
    bright = sums[top] * settings.peak_guard_fraction
    absent = np.flatnonzero(~present)
    near: list[int] = []
    for index in absent:
        after = int(np.searchsorted(arrived, index))
        neighbours = [int(arrived[i]) for i in (after - 1, after) if 0 <= i < arrived.size]
        close = abs(int(index) - top) <= settings.peak_guard_frames
        if close or any(sums[i] > bright for i in neighbours):
            near.append(int(index))
    return tuple(near)


def peak_is_behind(rocking_curve: NDArray[np.float64] | None) -> bool:
    """Tell whether the scan is past the peak: the newest frame is dark compared with the brightest.

    Parameters
    ----------
    rocking_curve
        (N, 2): angle and summed counts, as `AssembledRun` has it.
    """
    if rocking_curve is None or not len(rocking_curve):
        return False
    counts = rocking_curve[:, 1]
    return bool(counts[-1] <= PASSED_BELOW * np.nanmax(counts))


def unwound(angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return readbacks without a jump by a whole turn: some controllers count from 0 to 360 degrees."""
    known = np.isfinite(angles_deg)
    result = angles_deg.copy()
    result[known] = np.unwrap(angles_deg[known], period=360.0)
    return result


def joined(frames: Mapping[int, float], length: int) -> NDArray[np.float64]:
    """Return a (length,) float64 array filled by index, NaN where absent."""
    values = np.full(length, np.nan)
    for index, value in frames.items():
        if 0 <= index < length:
            values[index] = value
    return values
