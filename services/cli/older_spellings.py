"""Commands as they were spelt before ``braggwatch cxdp``: they go on working, and ``--help`` doesn't list them."""

from __future__ import annotations

import typer

from braggwatch.services.cli.bundles import export_command
from braggwatch.services.cli.console import EXIT_CODES
from braggwatch.services.cli.cxdp import (
    benchmark_command,
    explain_command,
    gap_command,
    relax_command,
    simulate_command,
    train_command,
)


def add_older_spellings(app: typer.Typer) -> None:
    """Let ``braggwatch train`` and the like stand for ``braggwatch cxdp train``."""
    sim = typer.Typer(help="Older spelling of 'braggwatch cxdp'.", no_args_is_help=True, rich_markup_mode="markdown")
    sim.command("cxdp", epilog=EXIT_CODES)(simulate_command.simulate)
    sim.command("card", epilog=EXIT_CODES)(simulate_command.card)
    sim.command("relax", epilog=EXIT_CODES)(relax_command.relax)
    app.add_typer(sim, name="sim", hidden=True)
    for name, function in (
        ("train", train_command.train),
        ("evaluate", train_command.evaluate),
        ("benchmark", benchmark_command.benchmark),
        ("gap", gap_command.gap),
        ("export", export_command.export),
        ("explain", explain_command.explain),
    ):
        app.command(name, epilog=EXIT_CODES, hidden=True)(function)
