"""``braggwatch inspect``: what a recording holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, write_json


def inspect(
    file: Annotated[Path, typer.Argument(help="Recording.", metavar="FILE")],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say what a recording holds: documents, and each run's streams, keys, shapes and motors; and whether it is whole.

    Example: **braggwatch inspect scan54.bwrec --json**
    """
    with clear_errors():
        from braggwatch.services.recording.recordings import summarise

        summary = summarise(file)
        if as_json:
            write_json(summary)
            return
        from rich.table import Table

        from braggwatch.services.cli.contents_table import show_contents

        table = Table("document", "number", title=f"{file.name}, {summary.duration_s:.1f} s, {summary.header.tool}")
        for name, count in summary.by_name.items():
            table.add_row(name, str(count))
        screen = console()
        screen.print(table)
        screen.print(f"source: {summary.header.source}", markup=False)
        for contents in summary.contents:
            show_contents(screen, contents)
        if summary.truncated:
            screen.print("[bold red]cut short[/]: no end record; the documents above are whole")
