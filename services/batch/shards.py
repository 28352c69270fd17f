"""What data making of every system says of its shards, and how it is shared out over jobs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class ShardDone:
    """One finished shard: how many samples were asked for, and why some were refused.

    Attributes
    ----------
    kept
        It was there already and sound.
    problem
        Why one that was there had to be made again; '' where none had to.
    """

    path: Path
    asked: int
    refused: tuple[str, ...]
    kept: bool = False
    problem: str = ""


def part_of(text: str) -> tuple[int, int]:
    """Understand 'i/n', counted from 1.

    Raises
    ------
    InputError
        If it is anything else.
    """
    try:
        part, parts = (int(word) for word in text.split("/"))
    except ValueError as error:
        raise InputError(f"a part is written i/n, e.g. 3/8, not {text!r}") from error
    if not 1 <= part <= parts:
        raise InputError(f"part {part} of {parts} does not exist: i runs from 1 to n")
    return part, parts
