"""``braggwatch screen``: the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import ExitCode, clear_errors, say, write_json

if TYPE_CHECKING:
    from braggwatch.services.settings import Settings


def screen(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings (TOML); the environment BRAGGWATCH_* wins over it.")
    ] = None,
    from_: Annotated[str | None, typer.Option("--from", help="The proxy's out-address, e.g. 127.0.0.1:5578.")] = None,
    geometry: Annotated[str | None, typer.Option(help="Geometry preset or its file; none is assumed.")] = None,
    model: Annotated[str | None, typer.Option(help="Bundle name, alias or folder.")] = None,
    store: Annotated[Path | None, typer.Option(help="SQLite file of the results.")] = None,
    host: Annotated[str | None, typer.Option(help="Address of the page; any but loopback needs a token.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")] = None,
    print_settings: Annotated[
        bool, typer.Option("--print-settings", help="Print the settings in force as JSON and end.")
    ] = False,
) -> None:
    """Screen a live document stream: receiver, verdicts, page, metrics, feedback.

    Runs until SIGTERM or Ctrl-C; open runs are then ended and their records stored. Options win over the
    environment, the environment over the file. Under systemd it reports readiness and feeds the watchdog.

    Without a geometry preset it receives, says what the runs hold, and names no class: a geometry is never assumed.

    Example: **braggwatch screen --from 127.0.0.1:5578 --geometry 34idc --store results.sqlite**
    """
    with clear_errors():
        from braggwatch.services.settings import load_settings, override

        settings = override(
            load_settings(config),
            stream={"address": from_},
            screening={"geometry": geometry, "model": model},
            store={"path": store},
            page={"host": host, "port": port},
        )
        if print_settings:
            write_json(settings)
            return
        _serve(settings)


def _serve(settings: Settings) -> None:
    import logging

    from braggwatch.callbacks.cxdp.without_preset import no_preset
    from braggwatch.services.live.supervision import Notifier, stop_on_signal
    from braggwatch.services.serving import serve

    logging.getLogger().setLevel(settings.log_level)
    notifier = Notifier.from_environment()
    with stop_on_signal() as stopping, serve(settings, on_beat=notifier.alive) as running:
        say(f"page: {running.url}  stream: {settings.stream.address}")
        if settings.screening.geometry is None:
            say(f"rocking curves get no class: {no_preset()}")
        told = False
        while not stopping.wait(0.2):
            report = running.health.report()
            if report.ready and not told:
                told = True
                say("ready")
                notifier.ready(f"screening {settings.stream.address}")
            if not running.composed.service.alive:
                say("error: a part of the service ended")
                raise typer.Exit(ExitCode.FAILED)
        say("stopping")
        notifier.stopping()
