"""``braggwatch geometry``: what recorded scans tell of the geometry that they are read with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import EXIT_CODES, ExitCode, clear_errors, console, error_console, say, write_json
from braggwatch.services.cli.cxdp.scan_input import (
    AllowTruncated,
    Angles,
    Config,
    Frames,
    Geometry,
    Monitor,
    Read,
    ScanInput,
    Stated,
    numbered,
    scan_documents,
)

if TYPE_CHECKING:
    from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
    from braggwatch.services.cxdp.geometry_reports import GeometryReport

app = typer.Typer(help="What recorded scans tell of their geometry.", no_args_is_help=True, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES)
def check(
    file: Annotated[Path, typer.Argument(help="Recording, or HDF5 file of one rocking curve.", metavar="SCAN")],
    geometry: Geometry = None,
    config: Config = None,
    picture: Annotated[
        Path | None, typer.Option(help="PNG with the streaks about the peak, and where the crystal's facets have them.")
    ] = None,
    frames: Frames = None,
    angles: Angles = None,
    monitor: Monitor = None,
    set_: Stated = None,
    read: Read = None,
    hkl: Annotated[
        str | None, typer.Option(metavar="'H K L'", help="HDF5: the reflection; else the geometry's.")
    ] = None,
    allow_truncated: AllowTruncated = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a run.")] = False,
) -> None:
    """Tell whether scans contradict their geometry, and which change of it would mend that.

    d is compared with the stated reflection, and the streaks of facets with a cubic crystal's. The same frames are read
    again with each single change of a sign, direction, unit or factor, and where none mends a contradiction, with two
    at once. Changes that the scan can't show are listed. The picture has Q in the middle and the directions
    perpendicular to it at the rim; orange rings are streaks found, crosses the facets expected ({111} blue, {100}
    green, {110} light blue); beside it, the same with the change that mends it.

    Exit code 1 where a scan contradicts its geometry, or none could be read. Several runs and --picture: the run's
    place is put into the file name.

    Example: **braggwatch geometry check scan54.bwrec --geometry 34idc --picture streaks.png**
    """
    with clear_errors():
        from braggwatch.services.cxdp.geometry_reports import geometry_reports
        from braggwatch.services.cxdp.preprocessing import preprocessing_settings
        from braggwatch.services.cxdp.preset import chosen_preset
        from braggwatch.services.settings import load_settings

        settings = load_settings(config)
        scan = ScanInput(
            file, frames, angles, monitor, tuple(set_ or ()), tuple(read or ()), hkl, allow_truncated=allow_truncated
        )
        preset = chosen_preset(settings, geometry, hint=scan.hint)
        records = scan_documents(scan, settings, preset)
        reports: list[GeometryReport] = []
        unrecorded: list[UnrecordedRun] = []
        with error_console().status("reading with each geometry"):
            for report in geometry_reports(
                records,
                preset,
                preprocessing_settings(settings.preprocessing, preset),
                settings.assembly,
                unrecorded.append,
            ):
                reports.append(report)
                if picture is not None and report.examined.views:
                    _draw(report, picture, len(reports))
                if as_json:
                    _write(report)
        if not as_json:
            for report in reports:
                _show(report)
        for run in unrecorded:
            say(run.in_words)
        checks = [report.examined.check for report in reports]
        if not any(checks) or any(one is not None and one.verdict == "inconsistent" for one in checks):
            raise typer.Exit(ExitCode.FAILED)


def _show(report: GeometryReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    examined, screen = report.examined, console()
    check = examined.check
    if check is None:
        screen.print(f"scan {report.scan}: [bold]can't tell[/]: {escape(examined.reason or 'it could not be read')}")
        return
    colour = {"consistent": "green", "inconsistent": "bold red"}.get(check.verdict, "yellow")
    screen.print(f"scan {report.scan}: [{colour}]{check.verdict}[/]: {escape(check.statement)}")
    table = Table("change tried", "d (Å)", "off the reflection", "streaks", "off the facets", "fits")
    for one in check.tried:
        table.add_row(
            escape(" = ".join(one.changes)),
            f"{one.d_spacing_A:.4g}",
            "" if one.d_deviation is None else f"{one.d_deviation:+.1%}",
            "" if one.streaks is None else str(one.streaks),
            "" if one.misfit_deg is None else f"{one.misfit_deg:.1f}°",
            "yes" if one.fits else "",
        )
    screen.print(table)
    if examined.no_trace:
        screen.print(escape(f"leave no trace in this scan: {'; '.join(examined.no_trace)}"))


def _write(report: GeometryReport) -> None:
    examined = report.examined
    write_json(
        {
            "run_uid": report.run_uid,
            "scan": report.scan,
            "check": None if examined.check is None else examined.check.model_dump(mode="json"),
            "reason": examined.reason,
            "no_trace": list(examined.no_trace),
        }
    )


def _draw(report: GeometryReport, picture: Path, place: int) -> None:
    from braggwatch.callbacks.cxdp.geometry_check.streak_picture import streak_picture
    from braggwatch.models.slice_picture import write_png

    path = numbered(picture, place)
    write_png(path, streak_picture(report.examined.views))
