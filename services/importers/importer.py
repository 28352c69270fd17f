"""What an importer is: a command's options that become something which writes a recording and says what it found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from rich.console import Console

FrameProgress = Callable[[int, int], None]
"""Called with (frames done, frames in all)."""


class FoundScan(BaseModel, ABC):
    """What an import found: printed as one JSON object with ``--json``, else shown to a person."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_uid: str

    @abstractmethod
    def show(self, screen: Console, output: Path) -> None:
        """Print what a person wants to know of it; ``output`` is the recording."""


class WriteRecording(Protocol):
    """Writes one scan as a recording."""

    def __call__(self, output: Path, *, overwrite: bool = False, progress: FrameProgress | None = None) -> FoundScan:
        """Write it; where it fails, no output is left behind.

        Parameters
        ----------
        output
            Recording to create.
        overwrite
            Replace an existing file; otherwise FileExistsError.
        """
        ...


@dataclass(frozen=True, slots=True)
class Importer:
    """One beamline's or program's own format.

    Attributes
    ----------
    name
        The command: ``braggwatch import NAME``.
    command
        Its parameters are the command's own arguments and options, annotated for Typer, and its docstring is the
        command's help. What it returns writes the recording. ``--out``, ``--overwrite`` and ``--json`` are every
        importer's and are added to them. Raises ValueError where the options contradict each other.
    """

    name: str
    command: Callable[..., WriteRecording]
