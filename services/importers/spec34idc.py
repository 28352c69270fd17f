"""Import APS 34-ID-C scans (SPEC file plus one TIFF per point) as Bluesky documents.

Every geometry value comes from the scan's motors or is stated by the user, and the start document says which
(``import_origins``); a value found in neither place is an error. The detector counts prove that frames and angles are
paired correctly: SPEC's ``ImageTot`` of a point must equal the sum of its frame.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.services.importers.assignments import parse_assignments
from braggwatch.services.importers.documents import Document, DocumentMaker, array_key, number_key, run_uid
from braggwatch.services.importers.frame_files import FrameFilesError, find_frames, read_frame
from braggwatch.services.importers.importer import FoundScan, FrameProgress, Importer, WriteRecording
from braggwatch.services.importers.spec_file import SpecScan, read_spec_scan
from braggwatch.services.importers.writing import write_whole
from braggwatch.services.recording.recordings import RecordedDocument
from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.validated import validated

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger(__name__)

DETECTOR_FIELD = "34idcTIM2_image"
MONITOR_FIELD = "monitor"
IMAGE_TOTAL_COLUMN = "ImageTot"
MONITOR_COLUMN = "Monitor"
EPOCH_COLUMN = "Epoch"

SIGNAL_MOTORS: Mapping[str, tuple[str, float, str]] = {
    "energy": ("Energy", 1.0, "keV"),
    "delta": ("Delta", 1.0, "deg"),
    "gamma": ("Gamma", 1.0, "deg"),
    "chi": ("Chi", 1.0, "deg"),
    "phi": ("Phi", 1.0, "deg"),
    "detector_distance": ("camdist", 1e-3, "m"),
}
"""Signal → SPEC motor, factor to our unit, our unit. ``camdist`` is in millimetres."""

SAMPLE_MOTORS: Mapping[str, str] = {"sample_x": "Sample_X", "sample_y": "Sample_Y"}
"""Sample position: needed for a map of the sample but not for the geometry, so it may be absent."""


class ImportFailedError(BraggwatchError, ValueError):
    """The scan can't be converted without guessing; the message says what is missing and what to do."""


class ImportOptions(BaseModel):
    """What to import, and the values stated by the user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec_file: Path
    scan: int = Field(ge=0, description="Scan number as in '#S'.")
    frames: Path = Field(description="Folder of the TIFFs.")
    occurrence: int | None = Field(default=None, ge=1, description="Which one, if the file has the number twice.")
    stated: dict[str, FiniteFloat] = Field(
        default_factory=dict, description="Signals stated by the user (keV, deg, m); they override the motors."
    )
    sample: str | None = None
    allow_missing_frames: bool = Field(default=False, description="Leave out points without a file.")
    allow_total_mismatch: bool = Field(default=False, description="Import even if ImageTot differs, and report it.")


class ImportReport(FoundScan):
    """What an import found."""

    scan: int
    points: int
    frames: int
    frame_shape: tuple[int, int]
    missing_points: tuple[int, ...] = Field(description="Points without a file.")
    total_mismatches: tuple[int, ...] = Field(description="Points whose ImageTot differs from the sum of the frame.")
    stray_lines: tuple[str, ...] = Field(description="Lines of the data block that are not data; skipped.")
    signals: dict[str, FiniteFloat]
    origins: dict[str, str] = Field(description="Where each signal came from.")

    def show(self, screen: Console, output: Path) -> None:
        """Print a table of the signals, and what is odd about the scan."""
        from rich.table import Table

        table = Table("signal", "value", "origin", title=f"scan {self.scan}: {self.frames} frames to {output}")
        for name, value in self.signals.items():
            table.add_row(name, f"{value:g}", self.origins[name])
        screen.print(table)
        if self.missing_points:
            screen.print(f"[bold]{len(self.missing_points)} points have no frame[/]: {self.missing_points[:10]}")
        if self.total_mismatches:
            screen.print(f"[bold red]ImageTot differs from the frame's sum[/] at points {self.total_mismatches[:10]}")
        for line in self.stray_lines:
            screen.print(f"passed over a line that is no data: {line!r}", markup=False)


def import_scan(
    options: ImportOptions,
    output: Path,
    *,
    overwrite: bool = False,
    progress: FrameProgress | None = None,
) -> ImportReport:
    """Write the scan as a recording.

    Parameters
    ----------
    options
        What to import.
    output
        Recording to create.
    overwrite
        Replace an existing file.
    progress
        Called with (frames done, frames in total).

    Raises
    ------
    ImportFailedError, SpecFileError, FrameFilesError, FileNotFoundError
        If something is missing, ambiguous or contradictory; no output is left behind.
    FileExistsError
        If the output exists and ``overwrite`` is False.
    """
    scan = Scan34IDC(options)
    write_whole(
        output,
        scan.documents(progress),
        source=f"34idc: {options.spec_file.name} scan {options.scan}",
        overwrite=overwrite,
    )
    return scan.report()


class Scan34IDC:
    """One scan, checked and ready to be converted into documents.

    Raises
    ------
    ImportFailedError, SpecFileError, FrameFilesError, FileNotFoundError
        If it can't be imported; see `import_scan`.
    """

    def __init__(self, options: ImportOptions) -> None:
        self._options = options
        self._scan = read_spec_scan(options.spec_file, options.scan, occurrence=options.occurrence)
        self._files = find_frames(options.frames, options.scan)
        self._signals, self._origins = _signals(self._scan, options.stated)
        self._angles = _column(self._scan, self._scan.mnemonics.get(self._scan.scanned, self._scan.scanned))
        self._totals = _column(self._scan, IMAGE_TOTAL_COLUMN)
        self._monitor = _column(self._scan, MONITOR_COLUMN)
        self._times = _times(self._scan)
        self._mismatches: list[int] = []
        self._missing = tuple(i for i in range(self._scan.rows) if i not in self._files)
        self._check_files()
        self._shape, self._dtype = self._first_frame()
        self._uid = run_uid(self._scan.digest, repr(sorted(self._signals.items())))
        self._make = DocumentMaker(self._uid)

    @property
    def run_uid(self) -> str:
        """Uid of the run: the same scan with the same stated values always gets the same one."""
        return self._uid

    def report(self) -> ImportReport:
        """Return what was found; complete only once `documents` has been consumed."""
        return ImportReport(
            run_uid=self._uid,
            scan=self._scan.number,
            points=self._scan.rows,
            frames=self._scan.rows - len(self._missing),
            frame_shape=self._shape,
            missing_points=self._missing,
            total_mismatches=tuple(self._mismatches),
            stray_lines=self._scan.stray_lines,
            signals=self._signals,
            origins=self._origins,
        )

    def documents(self, progress: FrameProgress | None = None) -> Iterator[RecordedDocument]:
        """Yield start, baseline, descriptor, one event per frame, stop, with the times of the measurement.

        Raises
        ------
        ImportFailedError
            If a frame's sum differs from SPEC's ImageTot and ``allow_total_mismatch`` is False.
        FrameFilesError
            If a frame can't be read or its shape or dtype differs from the first frame's.
        """
        began = self._scan.started_at if self._scan.started_at is not None else float(self._times[0])
        yield RecordedDocument(0.0, "start", self._start(began))
        yield from (RecordedDocument(0.0, name, doc) for name, doc in self._baseline(began))
        yield RecordedDocument(0.0, "descriptor", self._primary_descriptor(began))
        last = began
        points = [i for i in range(self._scan.rows) if i not in self._missing]
        for done, index in enumerate(points, start=1):
            last = float(self._times[index])
            yield RecordedDocument(max(last - began, 0.0), "event", self._event(index, last))
            if progress is not None:
                progress(done, len(points))
        yield RecordedDocument(max(last - began, 0.0), "stop", self._stop(last, len(points)))

    def _start(self, time: float) -> Document:
        scan = self._scan
        start: Document = {
            "uid": self._uid,
            "time": time,
            "scan_id": scan.number,
            "plan_name": scan.command.split()[0],
            "plan_type": "generator",
            "spec_command": scan.command,
            "spec_file": self._options.spec_file.name,
            "beamline_id": "34-ID-C",
            "detectors": ["34idcTIM2"],
            "motors": [scan.scanned],
            "num_points": scan.expected_rows,
            "num_intervals": scan.expected_rows - 1,
            "hints": {"dimensions": [[[scan.scanned], "primary"]]},
            "import_origins": dict(self._origins),
        }
        if self._options.sample is not None:
            start["sample_name"] = self._options.sample
        return start

    def _baseline(self, time: float) -> Iterator[tuple[str, Document]]:
        values = dict(self._signals)
        keys: Document = {
            name: number_key(self._origins[name], SIGNAL_MOTORS[name][2] if name in SIGNAL_MOTORS else None)
            for name in values
        }
        for name, motor in SAMPLE_MOTORS.items():
            if motor in self._scan.motors and name not in values:
                values[name] = self._scan.motors[motor]
                keys[name] = number_key(f"SPEC motor {motor} ({self._scan.motor_lines[motor]})")
        yield "descriptor", self._make.descriptor("baseline", time, keys)
        yield "event", self._make.event("baseline", 1, time, dict(values))

    def _primary_descriptor(self, time: float) -> Document:
        keys: Document = {
            DETECTOR_FIELD: array_key(f"TIFF {self._options.frames.name}", self._shape, self._dtype.str),
            self._scan.scanned: number_key("SPEC column of the scanned motor", "deg"),
            MONITOR_FIELD: number_key(f"SPEC column {MONITOR_COLUMN}"),
        }
        keys.update({name: number_key(f"SPEC column {label}") for name, label in self._counters().items()})
        return self._make.descriptor("primary", time, keys)

    def _counters(self) -> dict[str, str]:
        """Return a field name for every other column, e.g. ``spec_ImageTot``, so that no column is lost."""
        used = {self._scan.mnemonics.get(self._scan.scanned, self._scan.scanned), MONITOR_COLUMN}
        return {"spec_" + re.sub(r"\W+", "_", label): label for label in self._scan.columns if label not in used}

    def _event(self, index: int, time: float) -> Document:
        frame = self._frame(index)
        total = int(frame.sum(dtype=np.int64)) if frame.dtype.kind in "iu" else float(frame.sum(dtype=np.float64))
        if total != self._totals[index]:
            message = (
                f"scan {self._scan.number}, point {index}: the frame {self._files[index].name} sums to {total}, "
                f"SPEC's {IMAGE_TOTAL_COLUMN} says {self._totals[index]:g}: is it the right folder?"
            )
            if not self._options.allow_total_mismatch:
                raise ImportFailedError(message)
            logger.warning("%s", message)
            self._mismatches.append(index)
        data: Document = {
            DETECTOR_FIELD: frame,
            self._scan.scanned: float(self._angles[index]),
            MONITOR_FIELD: float(self._monitor[index]),
        }
        data.update({name: float(self._scan.columns[label][index]) for name, label in self._counters().items()})
        return self._make.event("primary", index + 1, time, data)

    def _stop(self, time: float, events: int) -> Document:
        abort_reason = None
        if self._scan.rows < self._scan.expected_rows:
            abort_reason = f"SPEC wrote {self._scan.rows} of {self._scan.expected_rows} points: the scan was cut short"
        return self._make.stop(time, {"baseline": 1, "primary": events}, abort_reason=abort_reason)

    def _check_files(self) -> None:
        surplus = sorted(set(self._files) - set(range(self._scan.rows)))
        if surplus:
            raise ImportFailedError(
                f"scan {self._scan.number} has {self._scan.rows} points, but there are frames of points {surplus[:5]}"
            )
        if self._missing and not self._options.allow_missing_frames:
            raise ImportFailedError(
                f"scan {self._scan.number}: no frame for {len(self._missing)} of {self._scan.rows} points "
                f"(first: {self._missing[0]}); allow missing frames to import the rest as a partial scan"
            )

    def _first_frame(self) -> tuple[tuple[int, int], np.dtype[np.generic]]:
        frame = read_frame(self._files[min(self._files)])
        rows, columns = frame.shape
        return (rows, columns), frame.dtype

    def _frame(self, index: int) -> NDArray[np.generic]:
        frame = read_frame(self._files[index])
        if frame.shape != self._shape or frame.dtype != self._dtype:
            raise FrameFilesError(
                f"{self._files[index].name} is {frame.shape} {frame.dtype}, the first frame {self._shape} {self._dtype}"
            )
        return frame


def _signals(scan: SpecScan, stated: Mapping[str, float]) -> tuple[dict[str, float], dict[str, str]]:
    signals: dict[str, float] = dict(stated)
    origins = dict.fromkeys(stated, "stated by the user at import")
    for signal, (motor, factor, unit) in SIGNAL_MOTORS.items():
        if signal in signals:
            continue
        if motor not in scan.motors:
            unfit = f" ({'; '.join(scan.unfit_lines)}: those motors are left out)" if scan.unfit_lines else ""
            raise ImportFailedError(
                f"scan {scan.number} has no motor {motor!r} to take {signal} from{unfit}: state it in {unit}, "
                f"e.g. --set {signal}=VALUE"
            )
        signals[signal] = scan.motors[motor] * factor
        line = scan.motor_lines[motor]
        origins[signal] = f"SPEC motor {motor} ({line})" + (f" x {factor:g}" if factor != 1.0 else "")
    return signals, origins


def _column(scan: SpecScan, label: str) -> NDArray[np.float64]:
    if label not in scan.columns:
        raise ImportFailedError(f"scan {scan.number} has no column {label!r} (there are: {', '.join(scan.columns)})")
    return scan.columns[label]


def _times(scan: SpecScan) -> NDArray[np.float64]:
    """Return the time of each point, (N,) float64, in seconds since the epoch."""
    if scan.file_epoch is None:
        raise ImportFailedError(f"scan {scan.number}: the file has no #E line, so its points have no times")
    return scan.file_epoch + _column(scan, EPOCH_COLUMN)


def _command(
    spec_file: Annotated[Path, typer.Argument(help="SPEC data file.", metavar="SPECFILE")],
    scan: Annotated[int, typer.Option(help="Scan number as in '#S', not its place in the file.")],
    frames: Annotated[Path, typer.Option(help="Folder with the scan's TIFFs, PREFIX_S0054_00000.tif and so on.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=NUMBER", help="State a signal (keV, deg, m) instead of SPEC's motor."),
    ] = None,
    sample: Annotated[str | None, typer.Option(help="Sample name for the start document.")] = None,
    occurrence: Annotated[
        int | None, typer.Option(min=1, help="Which one, where the file holds the scan number more than once.")
    ] = None,
    allow_missing_frames: Annotated[
        bool, typer.Option(help="Leave out points without a TIFF: the run will be partial.")
    ] = False,
    allow_total_mismatch: Annotated[
        bool, typer.Option(help="Import though ImageTot is not the frame's sum, and list those points.")
    ] = False,
) -> WriteRecording:
    """Import a 34-ID-C scan: SPEC file plus TIFFs.

    Energy, delta, gamma, chi, phi and the detector distance come from the scan's own motors or from --set; the
    report says which. Each frame's sum must be SPEC's ImageTot.

    Example: **braggwatch import 34idc example.spec --scan 54 --frames frames/ --out scan54.bwrec**
    """
    with validated("options"):
        options = ImportOptions(
            spec_file=spec_file,
            scan=scan,
            frames=frames,
            occurrence=occurrence,
            stated=parse_assignments(set_ or []),
            sample=sample,
            allow_missing_frames=allow_missing_frames,
            allow_total_mismatch=allow_total_mismatch,
        )
    return partial(import_scan, options)


IMPORTER: Final = Importer("34idc", _command)
