"""``braggwatch doctor``: whether everything is there that the service needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import ExitCode, clear_errors, console, error_console, write_json


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings (TOML) that the service will have.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Check proxy, geometry, model, accelerator, disk and port, and say what to do about each that is not well.

    Exit code 1 where a check failed; warnings do not count.

    Example: **braggwatch doctor --config braggwatch.toml**
    """
    with clear_errors():
        from braggwatch.services.doctor import Status, examine
        from braggwatch.services.settings import load_settings

        settings = load_settings(config)
        with error_console().status("looking"):
            results = list(examine(settings))
        failed = any(result.status is Status.FAIL for result in results)
        if as_json:
            write_json({"ok": not failed, "checks": [result.model_dump(mode="json") for result in results]})
        else:
            from rich.markup import escape
            from rich.table import Table

            colours = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}
            table = Table("", "part", "finding", "what to do")
            for result in results:
                mark = f"[{colours[result.status]}]{result.status}[/]"
                table.add_row(mark, result.name, escape(result.finding), escape(result.advice or ""))
            console().print(table)
        if failed:
            raise typer.Exit(ExitCode.FAILED)
