"""What every command shares: exit codes, clear errors, output for people and for scripts."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

import typer

from braggwatch.sim.errors import BraggwatchError

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
    BUG = 70
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141


EXIT_CODES = (
    "Exit codes: 0 done; 1 ran, but the answer is no; 2 wrong usage; 3 an input that can't be used, or this machine "
    "lacks memory, disk or a package; 4 nobody answered in time; 70 a bug of Braggwatch; 130 interrupted; 141 nobody "
    "reads the output."
)

_EXTRAS = {
    "captum": "train",
    "dask": "dask",
    "distributed": "dask",
    "finufft": "sim",
    "onnx": "train",
    "onnxscript": "train",
    "openvino": "openvino",
    "ophyd": "sim",
    "p4p": "epics",
    "safetensors": "train",
    "torch": "train",
    "warp": "sim",
}


def console() -> Console:
    """Return a console on standard output."""
    from rich.console import Console

    class Output(Console):
        """A console that leaves it to `clear_errors` to end the command where nobody reads."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Output(highlight=False)


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
    """Tell an error that isn't Braggwatch's fault in one line, and a bug as one; end with the right exit code.

    Not its fault are its own :class:`BraggwatchError`, and what the machine refuses: files, connections, memory, a
    package that isn't installed. Anything else is a programming mistake and is shown with its traceback.
    """
    try:
        yield
    except (typer.BadParameter, typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError as error:
        _drop_output()
        raise typer.Exit(ExitCode.OUTPUT_CLOSED) from error
    except (TimeoutError, ConnectionError) as error:
        _fail(error, str(error), ExitCode.UNREACHABLE)
    except (BraggwatchError, OSError) as error:  # h5py's errors of a file are OSErrors without a file name
        _fail(error, str(error), ExitCode.BAD_INPUT)
    except MemoryError as error:
        _fail(error, f"not enough memory: {error}" if str(error) else "not enough memory", ExitCode.BAD_INPUT)
    except ImportError as error:
        if _is_own_module(error.name):
            _tell_bug(error)
        _fail(error, _lacking(error), ExitCode.BAD_INPUT)
    except Exception as error:  # noqa: BLE001 - whatever else there is, is a bug and told as one
        _tell_bug(error)


def _fail(error: Exception, text: str, code: ExitCode) -> NoReturn:
    logger.debug("failed", exc_info=error)
    say(f"error: {text or type(error).__name__}")
    raise typer.Exit(code) from error


def _tell_bug(error: Exception) -> NoReturn:
    import traceback

    from braggwatch.services.version import tool_version

    say("".join(traceback.format_exception(error)).rstrip())
    say(
        f"bug: {tool_version()} failed by a mistake of its own, {type(error).__name__}. Please report it, with the "
        "lines above and what you typed."
    )
    raise typer.Exit(ExitCode.BUG) from error


def _drop_output() -> None:
    """Let nothing more be written where nobody reads, or Python would complain once more as it ends."""
    with suppress(OSError, ValueError):  # a stream without a descriptor, as in a test, has nothing to drop
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_own_module(name: str | None) -> bool:
    return name is not None and name.split(".")[0] == "braggwatch"


def _lacking(error: ImportError) -> str:
    package = (error.name or "").split(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not package:
        return str(error)
    extra = _EXTRAS.get(package)
    how = "" if extra is None else f": pip install 'braggwatch[{extra}]'"
    return f"this needs the package '{package}', which isn't installed{how}"
