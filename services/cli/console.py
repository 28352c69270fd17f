"""What every command shares: exit codes, clear errors, output for people and for scripts."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.progress import Progress

logger = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """Exit status of every command (2, wrong usage, is the command line parser's own)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BAD_INPUT = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit codes: 0 done; 1 ran, but the answer is no; 2 wrong usage; 3 an input that can't be read; "
    "4 nobody answered in time; 130 interrupted."
)


def console() -> Console:
    """Return a console on standard output."""
    from rich.console import Console

    return Console(highlight=False)


def error_console() -> Console:
    """Return a console on standard error: progress and messages, so that standard output stays for results."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def counted_progress() -> Progress:
    """Return a bar on standard error for tasks with a description, how many are done and the time that is left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=error_console())


def say(message: str) -> None:
    """Write a line for people to standard error."""
    typer.echo(message, err=True)


def write_json(value: BaseModel | dict[str, object] | list[object]) -> None:
    """Write one JSON object as one line on standard output."""
    text = (
        json.dumps(value, allow_nan=False, default=str) if isinstance(value, dict | list) else value.model_dump_json()
    )
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def clear_errors() -> Generator[None]:
    """Turn what can go wrong with a user's input into one line on standard error and the right exit code."""
    try:
        yield
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except (TimeoutError, ConnectionError) as error:
        _fail(error, ExitCode.UNREACHABLE)
    except _input_errors() as error:
        _fail(error, ExitCode.BAD_INPUT)


def _input_errors() -> tuple[type[Exception], ...]:
    """List the errors that blame the input or the settings; called only once something went wrong."""
    from braggwatch.models.bundling.bundle import BundleError
    from braggwatch.models.bundling.registry import RegistryError
    from braggwatch.models.runtimes.base import RuntimeUnavailableError
    from braggwatch.services.settings_error import SettingsError
    from braggwatch.services.storage.schema import StoreError

    own = (BundleError, RegistryError, RuntimeUnavailableError, SettingsError, StoreError)
    return (ValueError, LookupError, OSError, ImportError, *own)


def _fail(error: Exception, code: ExitCode) -> None:
    logger.debug("failed", exc_info=error)
    say(f"error: {error or type(error).__name__}")
    raise typer.Exit(code) from error


def parse_assignments(pairs: list[str]) -> dict[str, float]:
    """Read ``name=number`` options.

    Raises
    ------
    ValueError
        If one is no such pair or a name comes twice.
    """
    form = "NAME=NUMBER, e.g. detector_distance=0.5"
    values: dict[str, float] = {}
    for name, text in _assigned(pairs, form).items():
        try:
            values[name] = float(text)
        except ValueError:
            raise ValueError(f"'{name}={text}' is no assignment: write {form}") from None
    return values


def parse_names(pairs: list[str]) -> dict[str, str]:
    """Read ``name=text`` options.

    Raises
    ------
    ValueError
        If one is no such pair or a name comes twice.
    """
    return _assigned(pairs, "NAME=DATASET, e.g. energy=/entry/energy")


def _assigned(pairs: list[str], form: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if not name or not text:
            raise ValueError(f"{pair!r} is no assignment: write {form}")
        if name in values:
            raise ValueError(f"{name} is set twice")
        values[name] = text
    return values
