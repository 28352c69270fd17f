"""``braggwatch sadp``: crystal structure from electron diffraction patterns."""

from __future__ import annotations

import typer

from braggwatch.services.cli.console import EXIT_CODES
from braggwatch.services.cli.sadp import classify_command as sadp_classify_command
from braggwatch.services.cli.sadp import simulate_command as sadp_simulate_command
from braggwatch.services.cli.sadp import train_command as sadp_train_command
from braggwatch.services.cli.sadp import train_resnet_command as sadp_train_resnet_command
from braggwatch.services.cli.sadp import watch_command as sadp_watch_command

app = typer.Typer(
    help="Space group of cubic crystals from zone-axis electron diffraction patterns.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command("simulate", epilog=EXIT_CODES)(sadp_simulate_command.simulate)
app.command("train", epilog=EXIT_CODES)(sadp_train_command.train)
app.command("train-resnet", epilog=EXIT_CODES)(sadp_train_resnet_command.train_resnet)
app.command("classify", epilog=EXIT_CODES)(sadp_classify_command.classify)
app.command("report", epilog=EXIT_CODES)(sadp_classify_command.report)
app.command("watch", epilog=EXIT_CODES)(sadp_watch_command.watch)
app.command("merlin", epilog=EXIT_CODES)(sadp_watch_command.merlin)
