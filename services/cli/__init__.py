"""The ``braggwatch`` command: one file a command, each importing what it needs only when it runs.

Only the console script imports it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from braggwatch.services.cli.apt import app as apt_app
from braggwatch.services.cli.bundles import engine_command, models_command, promote_command
from braggwatch.services.cli.console import EXIT_CODES
from braggwatch.services.cli.cxdp import app as cxdp_app
from braggwatch.services.cli.cxdp import classify_command, geometry_command
from braggwatch.services.cli.live import demo_command, doctor_command, screen_command
from braggwatch.services.cli.older_spellings import add_older_spellings
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

for _panel, _commands in {
    "Live": {"demo": demo_command.demo, "screen": screen_command.screen, "doctor": doctor_command.doctor},
    "Recordings": {
        "record": record_command.record,
        "replay": replay_command.replay,
        "inspect": inspect_command.inspect,
        "classify": classify_command.classify,
    },
    "Bundles": {"promote": promote_command.promote},
}.items():
    for _name, _command in _commands.items():
        app.command(_name, epilog=EXIT_CODES, rich_help_panel=_panel)(_command)
app.add_typer(import_command.app, name="import", rich_help_panel="Recordings")
app.add_typer(geometry_command.app, name="geometry", rich_help_panel="Recordings")
app.add_typer(models_command.app, name="models", rich_help_panel="Bundles")
app.add_typer(engine_command.app, name="engine", rich_help_panel="Bundles")
app.add_typer(cxdp_app.app, name="cxdp", rich_help_panel="CXDP")
app.add_typer(sadp_app.app, name="sadp", rich_help_panel="SADP")
app.add_typer(apt_app.app, name="apt", rich_help_panel="APT")
add_older_spellings(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from braggwatch.services.version import tool_version

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
