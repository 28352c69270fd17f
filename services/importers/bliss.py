"""Import scans that BLISS wrote to HDF5 at ESRF beamlines (ID01, ID27) as Bluesky documents.

A scan is the group ``N.1`` of a data set's file, or ``NAME_N.1`` of a file that links to it: frames and counters in
``measurement``, every motor's position in ``instrument/positioners``, the detector's calibration in
``instrument/DETECTOR``. All of them become fields of the documents under BLISS' own names, unconverted: the geometry
preset says which fields the geometry uses, and in which units.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import h5py
import hdf5plugin
import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.services.importers.documents import Document, DocumentMaker, array_key, number_key, run_uid
from braggwatch.services.importers.importer import FoundScan, FrameProgress, Importer, WriteRecording
from braggwatch.services.importers.writing import write_whole
from braggwatch.services.recording.recordings import RecordedDocument
from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.unlocked_hdf5 import check_not_being_written, open_unlocked
from braggwatch.sim.validated import validated

if TYPE_CHECKING:
    from rich.console import Console

_PLUGINS = hdf5plugin.__name__  # importing it registers the compression filters that detectors use
_STACK_DIMENSIONS = 3
_ENTRY = re.compile(r"(?:.*_)?(?P<scan>\d+)\.1")


class BlissImportError(BraggwatchError, ValueError):
    """The file can't be converted without guessing; the message says what is missing and what to do."""


class BlissOptions(BaseModel):
    """What to import, and the user's choices where the file is ambiguous."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path
    scan: int = Field(ge=1)
    entry: str | None = Field(default=None, description="Group of the scan, if several have its number.")
    detector: str | None = Field(default=None, description="Dataset in 'measurement', if several hold frames.")
    rocking: str | None = Field(default=None, description="Motor that was rocked, if several moved.")
    sample: str | None = Field(default=None, description="Overrides the file's sample name.")
    allow_cut_short: bool = Field(default=False, description="Import the points that have frames, as an aborted run.")


class BlissReport(FoundScan):
    """What an import found."""

    entry: str
    title: str
    detector: str
    rocking: str
    points: int
    frames: int
    frame_shape: tuple[int, int]
    rocking_from: FiniteFloat
    rocking_to: FiniteFloat
    baseline: dict[str, FiniteFloat] = Field(description="Motors that did not move, and the detector's calibration.")
    counters: tuple[str, ...] = Field(description="Fields of each event besides the frame and the rocking angle.")

    def show(self, screen: Console, output: Path) -> None:
        """Print a table of the signals, and what is odd about the scan."""
        from rich.table import Table

        shape = " x ".join(str(length) for length in self.frame_shape)
        title = (
            f"{self.entry}: {self.frames} frames of {self.detector} ({shape}), {self.rocking} from "
            f"{self.rocking_from:g} to {self.rocking_to:g}, to {output}"
        )
        table = Table("signal", "value, as BLISS wrote it", title=title)
        for name, value in sorted(self.baseline.items()):
            table.add_row(name, f"{value:g}")
        screen.print(table)
        screen.print(f"with each frame: {', '.join(self.counters) or 'nothing else'}", markup=False)
        if self.frames < self.points:
            screen.print(f"[bold]{self.points - self.frames} points have no frame[/]: the run is told as aborted")


def import_bliss(
    options: BlissOptions,
    output: Path,
    *,
    overwrite: bool = False,
    progress: FrameProgress | None = None,
) -> BlissReport:
    """Write the scan as a recording.

    Parameters
    ----------
    progress
        Called with (frames done, frames in total).

    Raises
    ------
    BlissImportError
        If something is missing, ambiguous or contradictory; no output is left behind.
    OSError
        If the file can't be opened, or is not HDF5.
    FileExistsError
        If the output exists and ``overwrite`` is False.
    """
    with open_unlocked(options.file) as file:
        scan = BlissScan(file, options)
        write_whole(
            output,
            scan.documents(progress),
            source=f"BLISS: {options.file.name} {scan.entry}",
            overwrite=overwrite,
        )
        return scan.report()


class BlissScan:
    """One scan of an open file, checked and ready to be converted into documents.

    Raises
    ------
    BlissImportError
        If it can't be imported; see `import_bliss`.
    """

    def __init__(self, file: h5py.File, options: BlissOptions) -> None:
        self._options = options
        self.entry, group = _entry(file, options)
        measurement = _group(group, "measurement", self.entry)
        positioners = _group(group, "instrument/positioners", self.entry)
        self._detector, self._frames = _frames(measurement, options, self.entry)
        check_not_being_written(self._frames)
        columns = _columns(measurement) | _columns(positioners)
        self._rocking, angles = _rocking(columns, positioners, options, self.entry)
        self._points = len(angles)
        self._count = self._check_lengths(angles)
        self._columns = {
            name: values for name, values in columns.items() if len(values) == self._points and name != self._detector
        }
        self._baseline = {
            name: value for name, value in _numbers(positioners).items() if name not in self._columns
        } | _calibration(group, self._detector)
        self._title = _text(group, "title")
        self._sample = options.sample or _text(group, "sample/name")
        self._began, self._times = self._clock(group)
        status = options.file.stat()
        self._uid = run_uid(str(options.file.resolve()), self.entry, str(self._began), str(status.st_size))
        self._make = DocumentMaker(self._uid)

    def report(self) -> BlissReport:
        """Return what was found."""
        angles = self._columns[self._rocking]
        rows, columns = self._frames.shape[1:]
        return BlissReport(
            run_uid=self._uid,
            entry=self.entry,
            title=self._title,
            detector=self._detector,
            rocking=self._rocking,
            points=self._points,
            frames=self._count,
            frame_shape=(int(rows), int(columns)),
            rocking_from=float(angles[0]),
            rocking_to=float(angles[-1]),
            baseline=self._baseline,
            counters=tuple(sorted(set(self._columns) - {self._rocking})),
        )

    def documents(self, progress: FrameProgress | None = None) -> Iterator[RecordedDocument]:
        """Yield start, baseline, descriptor, one event per frame, stop; one frame is in memory at a time."""
        began = self._began
        yield RecordedDocument(0.0, "start", self._start())
        keys = {name: number_key("BLISS positioner or calibration") for name in self._baseline}
        yield RecordedDocument(0.0, "descriptor", self._make.descriptor("baseline", began, keys))
        yield RecordedDocument(0.0, "event", self._make.event("baseline", 1, began, self._baseline))
        keys = {name: number_key(f"BLISS {self.entry}, {name}") for name in self._columns}
        keys[self._detector] = array_key(
            f"BLISS {self.entry}/measurement/{self._detector}", self._frames.shape[1:], self._frames.dtype.str
        )
        yield RecordedDocument(0.0, "descriptor", self._make.descriptor("primary", began, keys))
        last = began
        for index in range(self._count):
            last = float(self._times[index])
            data: Document = {name: float(values[index]) for name, values in self._columns.items()}
            data[self._detector] = np.asarray(self._frames[index])
            yield RecordedDocument(max(last - began, 0.0), "event", self._make.event("primary", index + 1, last, data))
            if progress is not None:
                progress(index + 1, self._count)
        abort_reason = None
        if self._count < self._points:
            abort_reason = f"{self._count} frames for {self._points} points: the scan was cut short"
        events = {"baseline": 1, "primary": self._count}
        yield RecordedDocument(max(last - began, 0.0), "stop", self._make.stop(last, events, abort_reason=abort_reason))

    def _start(self) -> Document:
        start: Document = {
            "uid": self._uid,
            "time": self._began,
            "scan_id": self._options.scan,
            "plan_name": (self._title.split() or ["imported"])[0],
            "bliss_title": self._title,
            "source_file": self._options.file.name,
            "source_entry": self.entry,
            "detectors": [self._detector],
            "motors": [self._rocking],
            "num_points": self._points,
            "num_intervals": self._points - 1,
            "hints": {"dimensions": [[[self._rocking], "primary"]]},
        }
        if self._sample:
            start["sample_name"] = self._sample
        return start

    def _check_lengths(self, angles: NDArray[np.float64]) -> int:
        frames = int(self._frames.shape[0])
        cut_short = frames < len(angles) and self._options.allow_cut_short
        if frames > 0 and (frames == len(angles) or cut_short):
            return frames
        raise BlissImportError(
            f"{self.entry} has {frames} frames of {self._detector} and {len(angles)} positions of {self._rocking}: "
            "they can't be matched; if frames are missing at the end, --allow-cut-short imports the points with frames"
        )

    def _clock(self, group: h5py.Group) -> tuple[float, NDArray[np.float64]]:
        """Return when the scan began and the time of each point, (N,) float64, both in seconds since the epoch."""
        began = _seconds(_text(group, "start_time"))
        if "epoch" in self._columns:
            times = self._columns["epoch"]
            return (float(times[0]) if began is None else began), times
        if began is None:
            raise BlissImportError(f"{self.entry} has neither a start_time nor a counter 'epoch': its time is unknown")
        return began, began + self._columns.get("elapsed_time", np.zeros(self._points))


def _entry(file: h5py.File, options: BlissOptions) -> tuple[str, h5py.Group]:
    numbered: dict[str, int] = {}
    for name in _names(file):
        match = _ENTRY.fullmatch(name)
        if match is not None:
            numbered[name] = int(match["scan"])
    if options.entry is not None:
        names = [options.entry] if options.entry in file else []
    else:
        names = [name for name, scan in numbered.items() if scan == options.scan]
    if not names:
        present = sorted(numbered, key=lambda name: numbered[name])
        raise BlissImportError(
            f"{options.file.name} has no scan {options.entry or options.scan}; it has {_listed(present)}"
        )
    if len(names) > 1:
        raise BlissImportError(f"{_listed(sorted(names))} all have number {options.scan}: choose one with --entry")
    try:
        group = file[names[0]]
    except KeyError:
        raise BlissImportError(f"{names[0]} is a link to a missing file: copy that file too") from None
    if not isinstance(group, h5py.Group):
        raise BlissImportError(f"{names[0]} is not a group")
    return names[0], group


def _names(group: h5py.Group) -> list[str]:
    return [str(name) for name in group]


def _group(parent: h5py.Group, name: str, entry: str) -> h5py.Group:
    found = parent.get(name)
    if not isinstance(found, h5py.Group):
        raise BlissImportError(f"{entry} has no {name}: was it written by BLISS?")
    return found


def _datasets(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the numeric datasets; links to missing files are skipped."""
    for name in _names(group):
        found = group.get(name)
        if isinstance(found, h5py.Dataset) and found.dtype.kind in "iufb":
            yield name, found


def _frames(measurement: h5py.Group, options: BlissOptions, entry: str) -> tuple[str, h5py.Dataset]:
    stacks = {name: dataset for name, dataset in _datasets(measurement) if dataset.ndim == _STACK_DIMENSIONS}
    if options.detector is not None:
        if options.detector in stacks:
            return options.detector, stacks[options.detector]
        dangling = options.detector in measurement
        reason = "is a link to a missing file" if dangling else "does not exist"
        raise BlissImportError(f"{entry}/measurement/{options.detector} {reason}; frames: {_listed(sorted(stacks))}")
    if len(stacks) != 1:
        dangling = sorted(name for name in _names(measurement) if measurement.get(name) is None)
        hint = f" (links to missing files: {_listed(dangling)})" if dangling else ""
        problem = "several stacks of frames" if stacks else "no frames"
        raise BlissImportError(f"{entry}/measurement has {problem}: {_listed(sorted(stacks))}{hint}; choose --detector")
    return next(iter(stacks.items()))


def _columns(group: h5py.Group) -> dict[str, NDArray[np.float64]]:
    return {name: np.asarray(dataset[()], dtype=np.float64) for name, dataset in _datasets(group) if dataset.ndim == 1}


def _numbers(group: h5py.Group) -> dict[str, float]:
    found = {name: float(dataset[()]) for name, dataset in _datasets(group) if dataset.ndim == 0}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _calibration(entry: h5py.Group, detector: str) -> dict[str, float]:
    """Return the detector's calibration from the file, e.g. ``mpx1x4_distance``, ``mpx1x4_beam_center_x``."""
    found = entry.get(f"instrument/{detector}")
    if not isinstance(found, h5py.Group):
        return {}
    return {f"{detector}_{name}": value for name, value in _numbers(found).items()}


def _rocking(
    columns: Mapping[str, NDArray[np.float64]], positioners: h5py.Group, options: BlissOptions, entry: str
) -> tuple[str, NDArray[np.float64]]:
    moved = {name: columns[name] for name, _ in _datasets(positioners) if name in columns and np.ptp(columns[name]) > 0}
    if options.rocking is not None:
        if options.rocking in columns:
            return options.rocking, columns[options.rocking]
        raise BlissImportError(
            f"{entry} has no position of {options.rocking} at each point; motors that moved: {_listed(sorted(moved))}"
        )
    if len(moved) != 1:
        problem = f"{_listed(sorted(moved))} moved" if moved else "no motor moved"
        raise BlissImportError(f"in {entry} {problem}: name the rocked one with --rocking")
    return next(iter(moved.items()))


def _text(group: h5py.Group, name: str) -> str:
    found = group.get(name)
    if not isinstance(found, h5py.Dataset) or found.shape != ():
        return ""
    value = found[()]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _seconds(stamp: str) -> float | None:
    try:
        return datetime.fromisoformat(stamp).astimezone().timestamp()
    except ValueError:
        return None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"


def _command(
    file: Annotated[Path, typer.Argument(help="HDF5 file of a data set, or one that links to it.", metavar="FILE")],
    scan: Annotated[int, typer.Option(min=1, help="Scan number: 12 for the group 12.1.")],
    entry: Annotated[str | None, typer.Option(help="Group of the scan, where several have its number.")] = None,
    detector: Annotated[
        str | None, typer.Option(help="Stack of frames, where the scan holds several, e.g. mpx1x4.")
    ] = None,
    rocking: Annotated[str | None, typer.Option(help="Motor that was rocked, where several moved, e.g. eta.")] = None,
    sample: Annotated[str | None, typer.Option(help="Sample name instead of the file's.")] = None,
    allow_cut_short: Annotated[
        bool, typer.Option(help="Frames are missing at the end: import the others, as an aborted run.")
    ] = False,
) -> WriteRecording:
    """Import a scan of an ESRF beamline (ID01, ID27) from the HDF5 file that BLISS wrote.

    All motors and the detector's calibration keep BLISS' names and units: a geometry preset says which of them it
    takes, e.g. {"signal": "mpx1x4_distance", "scale": 1.0}. The table shows all there are.

    Example: **braggwatch import bliss PtNP_0001.h5 --scan 12 --out scan12.bwrec**
    """
    with validated("options"):
        options = BlissOptions(
            file=file,
            scan=scan,
            entry=entry,
            detector=detector,
            rocking=rocking,
            sample=sample,
            allow_cut_short=allow_cut_short,
        )
    return partial(import_bliss, options)


IMPORTER: Final = Importer("bliss", _command)
