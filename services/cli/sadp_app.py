"""``braggwatch sadp``: crystal structure from electron diffraction patterns."""

from __future__ import annotations

import typer

from braggwatch.services.cli import (
    sadp_classify_command,
    sadp_simulate_command,
    sadp_train_command,
    sadp_train_resnet_command,
    sadp_watch_command,
)
from braggwatch.services.cli.console import EXIT_CODES

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
