"""``braggwatch record``: live documents become a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import ExitCode, clear_errors, console, error_console, write_json


def record(
    out: Annotated[Path, typer.Argument(help="Recording to write, e.g. night1.bwrec.", metavar="FILE")],
    from_: Annotated[str, typer.Option("--from", help="The proxy's out-address.")] = "127.0.0.1:5578",
    prefix: Annotated[str, typer.Option(help="Only documents with this prefix; empty takes all.")] = "",
    runs: Annotated[int | None, typer.Option(min=1, help="End after so many runs.")] = None,
    idle: Annotated[float | None, typer.Option(min=0.1, help="End after so many seconds without a document.")] = None,
    wait: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the proxy.")] = 10.0,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as one JSON object at the end.")] = False,
) -> None:
    """Record the documents of a proxy until Ctrl-C, SIGTERM, so many runs or silence.

    Frames that lie in external files stay references to those files. Exit code 1 where documents were refused,
    lost or shed.

    Example: **braggwatch record night1.bwrec --from 127.0.0.1:5578 --runs 10**
    """
    with clear_errors():
        from rich.progress import Progress, SpinnerColumn, TextColumn

        from braggwatch.services.live.supervision import stop_on_signal
        from braggwatch.services.recording.recorder import Recorder
        from braggwatch.services.recording.recordings import RecordingWriter
        from braggwatch.services.stream.stream_settings import StreamSettings
        from braggwatch.sim.validated import validated

        with validated("options"):
            settings = StreamSettings(address=from_, prefix=prefix)
        with stop_on_signal() as stop, RecordingWriter(out, source=settings.address, overwrite=overwrite) as writer:
            recorder = Recorder(settings, writer)
            with Progress(
                SpinnerColumn(), TextColumn("{task.description}"), console=error_console(), transient=True
            ) as bar:
                task = bar.add_task(f"waiting for {settings.address}")
                report = recorder.record(
                    stop,
                    runs=runs,
                    connect_timeout_s=wait,
                    idle_timeout_s=idle,
                    progress=lambda r: bar.update(
                        task, description=f"{r.documents} documents, {r.runs_finished} runs, {r.lost} lost"
                    ),
                )
        if as_json:
            write_json(report)
        else:
            console().print(
                f"{report.documents} documents of {report.runs_started} runs in {out}; "
                f"{report.rejected} refused, {report.lost} lost, {report.shed_runs} runs shed"
            )
        if report.rejected or report.lost or report.shed_runs:
            raise typer.Exit(ExitCode.FAILED)
