"""``braggwatch import``: other formats become Bluesky recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from braggwatch.services.cli.console import (
    EXIT_CODES,
    clear_errors,
    console,
    error_console,
    parse_assignments,
    write_json,
)

if TYPE_CHECKING:
    from braggwatch.services.importers.bliss import BlissReport
    from braggwatch.services.importers.spec34idc import ImportReport

_Report = TypeVar("_Report")

app = typer.Typer(
    help="Turn a beamline's own files into a recording that *replay* and *classify* read.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command("34idc", epilog=EXIT_CODES)
def import_34idc(
    spec_file: Annotated[Path, typer.Argument(help="SPEC data file.", metavar="SPECFILE")],
    scan: Annotated[int, typer.Option(help="Scan number as in '#S', not its place in the file.")],
    frames: Annotated[Path, typer.Option(help="Folder with the scan's TIFFs, PREFIX_S0054_00000.tif and so on.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Recording to write, e.g. scan54.bwrec.")],
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
    overwrite: Annotated[bool, typer.Option(help="Replace an existing recording.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as one JSON object.")] = False,
) -> None:
    """Import a 34-ID-C scan: SPEC file plus TIFFs.

    Energy, delta, gamma, chi, phi and the detector distance come from the scan's own motors or from --set; the
    report says which. Each frame's sum must be SPEC's ImageTot.

    Example: **braggwatch import 34idc example.spec --scan 54 --frames frames/ --out scan54.bwrec**
    """
    with clear_errors():
        from braggwatch.services.importers.spec34idc import ImportOptions, import_scan

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
        report = _reading(lambda progress: import_scan(options, out, overwrite=overwrite, progress=progress))
        if as_json:
            write_json(report)
        else:
            _show(report, out)


@app.command("bliss", epilog=EXIT_CODES)
def import_bliss(
    file: Annotated[Path, typer.Argument(help="HDF5 file of a data set, or one that links to it.", metavar="FILE")],
    scan: Annotated[int, typer.Option(min=1, help="Scan number: 12 for the group 12.1.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Recording to write, e.g. scan12.bwrec.")],
    entry: Annotated[str | None, typer.Option(help="Group of the scan, where several have its number.")] = None,
    detector: Annotated[
        str | None, typer.Option(help="Stack of frames, where the scan holds several, e.g. mpx1x4.")
    ] = None,
    rocking: Annotated[str | None, typer.Option(help="Motor that was rocked, where several moved, e.g. eta.")] = None,
    sample: Annotated[str | None, typer.Option(help="Sample name instead of the file's.")] = None,
    allow_cut_short: Annotated[
        bool, typer.Option(help="Frames are missing at the end: import the others, as an aborted run.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing recording.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as one JSON object.")] = False,
) -> None:
    """Import a scan of an ESRF beamline (ID01, ID27) from the HDF5 file that BLISS wrote.

    All motors and the detector's calibration keep BLISS' names and units: a geometry preset says which of them it
    takes, e.g. {"signal": "mpx1x4_distance", "scale": 1.0}. The table shows all there are.

    Example: **braggwatch import bliss PtNP_0001.h5 --scan 12 --out scan12.bwrec**
    """
    with clear_errors():
        from braggwatch.services.importers.bliss import BlissOptions
        from braggwatch.services.importers.bliss import import_bliss as run

        options = BlissOptions(
            file=file,
            scan=scan,
            entry=entry,
            detector=detector,
            rocking=rocking,
            sample=sample,
            allow_cut_short=allow_cut_short,
        )
        report = _reading(lambda progress: run(options, out, overwrite=overwrite, progress=progress))
        if as_json:
            write_json(report)
        else:
            _show_bliss(report, out)


def _reading(run: Callable[[Callable[[int, int], None]], _Report]) -> _Report:
    """Run an import with a progress bar that it tells (frames done, frames in all)."""
    from rich.progress import Progress

    with Progress(console=error_console(), transient=True) as bar:
        task = bar.add_task("reading frames", total=None)
        return run(lambda done, total: bar.update(task, completed=done, total=total))


def _show_bliss(report: BlissReport, out: Path) -> None:
    from rich.table import Table

    shape = " x ".join(str(length) for length in report.frame_shape)
    title = (
        f"{report.entry}: {report.frames} frames of {report.detector} ({shape}), {report.rocking} from "
        f"{report.rocking_from:g} to {report.rocking_to:g}, to {out}"
    )
    table = Table("signal", "value, as BLISS wrote it", title=title)
    for name, value in sorted(report.baseline.items()):
        table.add_row(name, f"{value:g}")
    screen = console()
    screen.print(table)
    screen.print(f"with each frame: {', '.join(report.counters) or 'nothing else'}", markup=False)
    if report.frames < report.points:
        screen.print(f"[bold]{report.points - report.frames} points have no frame[/]: the run is told as aborted")


def _show(report: ImportReport, out: Path) -> None:
    from rich.table import Table

    table = Table("signal", "value", "origin", title=f"scan {report.scan}: {report.frames} frames to {out}")
    for name, value in report.signals.items():
        table.add_row(name, f"{value:g}", report.origins[name])
    screen = console()
    screen.print(table)
    if report.missing_points:
        screen.print(f"[bold]{len(report.missing_points)} points have no frame[/]: {report.missing_points[:10]}")
    if report.total_mismatches:
        screen.print(f"[bold red]ImageTot differs from the frame's sum[/] at points {report.total_mismatches[:10]}")
    for line in report.stray_lines:
        screen.print(f"passed over a line that is no data: {line!r}", markup=False)
