"""The ``braggwatch`` command: one file a command, each importing what it needs only when it runs.

Only the console script imports it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from braggwatch.services.cli.apt import app as apt_app
from braggwatch.services.cli.bundles import engine_command, export_command, models_command, promote_command
from braggwatch.services.cli.console import EXIT_CODES
from braggwatch.services.cli.cxdp import (
    benchmark_command,
    classify_command,
    explain_command,
    gap_command,
    relax_command,
    simulate_command,
    train_command,
)
from braggwatch.services.cli.live import demo_command, doctor_command, screen_command
from braggwatch.services.cli.recordings import import_command, inspect_command, record_command, replay_command
from braggwatch.services.cli.sadp import app as sadp_app

app = typer.Typer(
    name="braggwatch",
    help="Classify Bragg coherent diffraction scans live: perfect, screw or edge dislocation, and how sure.\n\n"
    "Begin with *braggwatch demo*: a simulated beamline, the service and its page on this machine.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("demo", epilog=EXIT_CODES)(demo_command.demo)
app.command("screen", epilog=EXIT_CODES)(screen_command.screen)
app.command("classify", epilog=EXIT_CODES)(classify_command.classify)
app.command("explain", epilog=EXIT_CODES)(explain_command.explain)
app.command("record", epilog=EXIT_CODES)(record_command.record)
app.command("replay", epilog=EXIT_CODES)(replay_command.replay)
app.command("inspect", epilog=EXIT_CODES)(inspect_command.inspect)
app.add_typer(apt_app.app, name="apt")
app.add_typer(import_command.app, name="import")
app.add_typer(models_command.app, name="models")
app.add_typer(engine_command.app, name="engine")
app.add_typer(simulate_command.app, name="sim")
app.add_typer(sadp_app.app, name="sadp")
simulate_command.app.command("relax", epilog=EXIT_CODES)(relax_command.relax)
app.command("train", epilog=EXIT_CODES)(train_command.train)
app.command("evaluate", epilog=EXIT_CODES)(train_command.evaluate)
app.command("benchmark", epilog=EXIT_CODES)(benchmark_command.benchmark)
app.command("export", epilog=EXIT_CODES)(export_command.export)
app.command("promote", epilog=EXIT_CODES)(promote_command.promote)
app.command("gap", epilog=EXIT_CODES)(gap_command.gap)
app.command("doctor", epilog=EXIT_CODES)(doctor_command.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        from braggwatch.services.recording.recordings import tool_version

        typer.echo(tool_version())
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[  # noqa: ARG001 - its callback has acted already
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log more: -v what happens, -vv also why.")
    ] = 0,
) -> None:
    """Set up logging for all commands."""
    import logging

    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
