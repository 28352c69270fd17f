"""Progress of making shards, with the time that is left: a bar on a terminal, a line a shard in a log file."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from braggwatch.services.cli.console import error_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from braggwatch.services.batch.shards import ShardDone


@dataclass
class ShardProgress:
    """Counts what is done; shards that were there already don't speed up the forecast."""

    total: int
    console: Console
    bar: Progress
    task: TaskID
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    made: int = 0
    kept: int = 0
    refused: int = 0
    remade: list[str] = field(default_factory=list[str])

    def finished(self, shard: ShardDone) -> None:
        """Count one shard and show it."""
        self.done += shard.asked
        self.refused += len(shard.refused)
        if shard.kept:
            self.kept += 1
        else:
            self.made += shard.asked
        if shard.problem:
            self.remade.append(shard.path.name)
        left = time_left(self.total - self.done, self.made, time.monotonic() - self.started)
        self.bar.update(self.task, completed=self.done, left=left)
        if not self.console.is_terminal:
            self.console.print(f"{shard.path.name}: {self.done} of {self.total} samples, {left}", soft_wrap=True)


@contextmanager
def shard_progress(total: int) -> Generator[ShardProgress]:
    """Show the progress of ``total`` samples on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = error_console()
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield ShardProgress(total, console, bar, bar.add_task("", total=total, left=""))


def time_left(left: int, made: int, elapsed_s: float) -> str:
    """Forecast in words from what was made in ``elapsed_s``; '' before anything was."""
    if left <= 0:
        return f"done in {timedelta(seconds=round(elapsed_s))}"
    return f"{timedelta(seconds=round(elapsed_s / made * left))} left" if made else ""
