"""``braggwatch doctor``: whether everything is there that the service needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import ExitCode, clear_errors, console, error_console, write_json

if TYPE_CHECKING:
    from braggwatch.callbacks.documents.contents import RunContents
    from braggwatch.services.settings import Settings


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings (TOML) that the service will have.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="Read documents too: the proxy's out-address, to listen there, or a recording's file."
        ),
    ] = None,
    geometry: Annotated[str | None, typer.Option(help="Geometry preset or its file; else the settings'.")] = None,
    listen: Annotated[float, typer.Option(min=0.1, help="Longest time to listen for a run, seconds.")] = 20.0,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Check proxy, geometry, model, accelerator, disk and port, and say what to do about each that is not well.

    With --from, also list what the runs that come or were recorded hold (keys, shapes, streams, motors), what of it
    the preset reads, and what is missing. Listening ends with the first run that ends.

    Exit code 1 where a check failed; warnings do not count.

    Example: **braggwatch doctor --config braggwatch.toml**

    Example: **braggwatch doctor --from 127.0.0.1:5578 --geometry 34idc**
    """
    with clear_errors():
        from braggwatch.services.doctor import Status, examine, examine_documents
        from braggwatch.services.settings import load_settings, override

        recording = Path(from_) if from_ is not None and Path(from_).is_file() else None
        settings = override(
            load_settings(config),
            stream={"address": from_ if recording is None else None},
            screening={"geometry": geometry},
        )
        runs: tuple[RunContents, ...] = ()
        with error_console().status("looking") as status:
            results = list(examine(settings, without=() if recording is None else ("stream",)))
            connected = all(result.status is not Status.FAIL for result in results if result.name == "stream")
            if from_ is not None and connected:
                status.update(f"reading {from_}" if recording is not None else f"listening to {from_}")
                runs = _heard(settings, recording, listen)
                results += examine_documents(settings, runs)
        failed = any(result.status is Status.FAIL for result in results)
        if as_json:
            checks = [result.model_dump(mode="json") for result in results]
            write_json({"ok": not failed, "checks": checks, "runs": [run.model_dump(mode="json") for run in runs]})
        else:
            from rich.markup import escape
            from rich.table import Table

            from braggwatch.services.cli.contents_table import show_contents

            for run in runs:
                show_contents(console(), run)
            colours = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}
            table = Table("", "part", "finding", "what to do")
            for result in results:
                mark = f"[{colours[result.status]}]{result.status}[/]"
                table.add_row(mark, escape(result.name), escape(result.finding), escape(result.advice or ""))
            console().print(table)
        if failed:
            raise typer.Exit(ExitCode.FAILED)


def _heard(settings: Settings, recording: Path | None, listen_s: float) -> tuple[RunContents, ...]:
    if recording is not None:
        from braggwatch.services.recording.recordings import summarise

        return summarise(recording).contents
    from braggwatch.services.recording.overheard import overhear

    return overhear(settings.stream, listen_s)
