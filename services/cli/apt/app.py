"""``braggwatch apt``: L1₂ order in atom probe reconstructions."""

from __future__ import annotations

import typer

from braggwatch.services.cli.apt import explain_command as apt_explain_command
from braggwatch.services.cli.apt import report_command as apt_report_command
from braggwatch.services.cli.apt import scan_by_votes_command as apt_scan_by_votes_command
from braggwatch.services.cli.apt import scan_command as apt_scan_command
from braggwatch.services.cli.apt import simulate_command as apt_simulate_command
from braggwatch.services.cli.apt import train_command as apt_train_command
from braggwatch.services.cli.apt import train_paper_command as apt_train_paper_command
from braggwatch.services.cli.console import EXIT_CODES

app = typer.Typer(
    help="Find L1₂ order in atom probe reconstructions, through spatial distribution maps.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

app.command("simulate", epilog=EXIT_CODES)(apt_simulate_command.simulate)
app.command("train", epilog=EXIT_CODES)(apt_train_command.train)
app.command("train-paper", epilog=EXIT_CODES)(apt_train_paper_command.train_paper)
app.command("scan", epilog=EXIT_CODES)(apt_scan_command.scan)
app.command("report", epilog=EXIT_CODES)(apt_report_command.report)
app.command("explain", epilog=EXIT_CODES)(apt_explain_command.explain)
app.command("scan-by-votes", epilog=EXIT_CODES)(apt_scan_by_votes_command.scan_by_votes)
