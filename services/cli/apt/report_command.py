"""``braggwatch apt report``: a scan as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, error_console


def report(
    folder: Annotated[Path, typer.Argument(help="Folder that 'braggwatch apt scan' wrote.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The page to write; default: report.html in the folder.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page; default: the folder's name.")] = None,
) -> None:
    """Make one HTML page of a scan: rotatable 3D view, sizes, isoconcentration, controls, z-SDM of each phase.

    The page is self-contained and can be sent by mail.

    Example: **braggwatch apt report R76**
    """
    with clear_errors():
        from braggwatch.services.apt.scanning.report import write_report

        path = out or folder / "report.html"
        write_report(folder, path, title)
        error_console().print(f"written to {path}")
