"""Prints what a run's documents hold, in one form for every command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from braggwatch.callbacks.documents.contents import RunContents


def show_contents(screen: Console, contents: RunContents) -> None:
    """Print a run's streams with their keys and shapes, its motors, and how it ended."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("stream", "events", "key", "shape", "type", title=escape(f"run {contents.named}"))
    for stream in contents.streams:
        for place, key in enumerate(stream.keys):
            table.add_row(
                escape(stream.name) if place == 0 else "",
                str(stream.events) if place == 0 else "",
                escape(key.name),
                " × ".join(map(str, key.frame_shape)),
                f"{escape(key.dtype or '')}{', in files' if key.external else ''}",
            )
    screen.print(table)
    for what, names in (
        ("motors", contents.motors),
        ("configuration", tuple(dict.fromkeys(name for s in contents.streams for name in s.configuration))),
        ("numbers in the start document", contents.start_numbers),
    ):
        if names:
            screen.print(f"{what}: {', '.join(names)}", markup=False)
    plan = "" if contents.plan_name is None else f"plan {contents.plan_name}; "
    screen.print(f"{plan}the run {contents.ending}", markup=False)
