"""``braggwatch cxdp``: coherent diffraction patterns, from simulated crystals to a tested bundle."""

from __future__ import annotations

import typer

from braggwatch.services.cli.bundles import export_command
from braggwatch.services.cli.console import EXIT_CODES
from braggwatch.services.cli.cxdp import (
    benchmark_command,
    explain_command,
    gap_command,
    recalibrate_command,
    relax_command,
    simulate_command,
    train_command,
)

app = typer.Typer(
    help="Coherent diffraction patterns: simulate, train, test and explain what tells dislocations.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

app.command("simulate", epilog=EXIT_CODES)(simulate_command.simulate)
app.command("card", epilog=EXIT_CODES)(simulate_command.card)
app.command("relax", epilog=EXIT_CODES)(relax_command.relax)
app.command("train", epilog=EXIT_CODES)(train_command.train)
app.command("recalibrate", epilog=EXIT_CODES)(recalibrate_command.recalibrate)
app.command("evaluate", epilog=EXIT_CODES)(train_command.evaluate)
app.command("benchmark", epilog=EXIT_CODES)(benchmark_command.benchmark)
app.command("gap", epilog=EXIT_CODES)(gap_command.gap)
app.command("export", epilog=EXIT_CODES)(export_command.export)
app.command("explain", epilog=EXIT_CODES)(explain_command.explain)
