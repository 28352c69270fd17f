"""What ``classify`` and ``geometry check`` read: the runs of a recording, or a rocking curve in an HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    from braggwatch.services.recording.recordings import RecordedDocument
    from braggwatch.services.settings import Settings
    from braggwatch.sim.crystallography.fcc import Miller
    from braggwatch.sim.geometry.model import GeometryPreset


Geometry = Annotated[str | None, typer.Option(help="Geometry preset or its file; else the settings'.")]
Config = Annotated[Path | None, typer.Option("--config", "-c", help="Settings (TOML).")]
Frames = Annotated[str | None, typer.Option(help="HDF5: dataset of the frames, (N, rows, columns).")]
Angles = Annotated[str | None, typer.Option(help="HDF5: dataset of the scanned circle, degrees.")]
Monitor = Annotated[str | None, typer.Option(help="HDF5: dataset of the incident intensity.")]
Stated = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=NUMBER", help="HDF5: state a signal of the geometry.")
]
Read = Annotated[
    list[str] | None, typer.Option("--read", metavar="NAME=DATASET", help="HDF5: read a signal from a dataset.")
]
AllowTruncated = Annotated[bool, typer.Option(help="Take a recording that was cut short.")]


def numbered(picture: Path, place: int) -> Path:
    """Return the picture's path for a file's run at a place from 1: from the second on, the place is in its name."""
    return picture if place == 1 else picture.with_stem(f"{picture.stem}_{place}")


@dataclass(frozen=True, slots=True)
class ScanInput:
    """A file, and of an HDF5 file where everything is; the options of the commands say what each is."""

    file: Path
    frames: str | None = None
    angles: str | None = None
    monitor: str | None = None
    stated: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    hkl: str | None = None
    allow_truncated: bool = False

    @property
    def hint(self) -> str:
        """How to see what the file holds, after an error about the geometry."""
        return (
            "" if self.frames is not None else f"; 'braggwatch inspect {self.file.name}' lists what the recording holds"
        )


def scan_documents(scan: ScanInput, settings: Settings, preset: GeometryPreset) -> Iterator[RecordedDocument]:
    """Return the documents of the file's runs.

    Raises
    ------
    typer.BadParameter
        If options are missing or don't go together.
    InputError
        If the file isn't what the options say.
    OSError
        If it can't be read.
    """
    from braggwatch.services.importers.assignments import parse_assignments, parse_names
    from braggwatch.services.importers.hdf5 import Hdf5Options, hdf5_documents
    from braggwatch.sim.validated import validated

    if scan.frames is not None or scan.angles is not None:
        if scan.frames is None or scan.angles is None:
            raise typer.BadParameter("an HDF5 file needs both", param_hint="--frames and --angles")
        with validated("options"):
            options = Hdf5Options(
                file=scan.file,
                frames=scan.frames,
                angles=scan.angles,
                monitor=scan.monitor,
                detector_field=preset.detector_field,
                scanned=preset.scanned,
                monitor_field=preset.monitor_field,
                stated=parse_assignments(list(scan.stated)),
                read=parse_names(list(scan.read)),
                hkl=None if scan.hkl is None else _reflection(scan.hkl),
                hkl_field=settings.assembly.hkl_field,
            )
        return hdf5_documents(options)
    if scan.hkl is not None:
        raise typer.BadParameter(
            "goes with --frames and --angles; a recording states its own reflection", param_hint="--hkl"
        )
    return _recording(scan.file, scan.allow_truncated)


def _recording(file: Path, allow_truncated: bool) -> Iterator[RecordedDocument]:
    from braggwatch.services.recording.recordings import read_header, read_recording

    with file.open("rb") as opened:
        if opened.read(8) == b"\x89HDF\r\n\x1a\n":
            raise InputError(f"{file.name} is an HDF5 file: say where the frames and angles are (--frames, --angles)")
    read_header(file)
    return read_recording(file, allow_truncated=allow_truncated)


def _reflection(text: str) -> Miller:
    from braggwatch.callbacks.cxdp.run.reflection import read_miller

    found = read_miller(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not three whole numbers: write e.g. '1 -1 1'", param_hint="--hkl")
    return found
