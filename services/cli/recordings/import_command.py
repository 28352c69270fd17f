"""``braggwatch import``: other formats become Bluesky recordings, by whatever importer the registry lists."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from braggwatch.services.cli.console import EXIT_CODES, clear_errors, console, error_console, write_json
from braggwatch.services.importers.registry import IMPORTERS, importer_named

if TYPE_CHECKING:
    from braggwatch.services.importers.importer import FoundScan, WriteRecording

_OUT = inspect.Parameter(
    "out",
    inspect.Parameter.KEYWORD_ONLY,
    annotation=Annotated[Path, typer.Option("--out", "-o", help="Recording to write, e.g. scan54.bwrec.")],
)
_OVERWRITE = inspect.Parameter(
    "overwrite",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option(help="Replace an existing recording.")],
)
_AS_JSON = inspect.Parameter(
    "as_json",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="Report as one JSON object.")],
)


class _ImporterGroup(TyperGroup):
    """Knows the importers by name, and loads one when its command is asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands.update({name: TyperCommand(name) for name in IMPORTERS})

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | None:  # noqa: ARG002 (the signature is Typer's)
        if cmd_name not in IMPORTERS:
            return None
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        alone.command(cmd_name, epilog=EXIT_CODES)(_command(cmd_name))
        return cast("TyperCommand", typer.main.get_command(alone))


_HELP = "Turn a beamline's own files into a recording that *replay* and *classify* read."

app = typer.Typer(cls=_ImporterGroup, help=_HELP, no_args_is_help=True, rich_markup_mode="markdown")


@cache
def loaded_app() -> typer.Typer:
    """Return the commands with every importer loaded, for who walks through them without calling one."""
    loaded = typer.Typer(help=_HELP)
    for name in IMPORTERS:
        loaded.command(name, epilog=EXIT_CODES)(_command(name))
    return loaded


@cache
def _command(name: str) -> Callable[..., None]:
    """Make the command of one importer: its own options, and those that all have."""
    prepare = importer_named(name).command

    def run(*, out: Path, overwrite: bool, as_json: bool, **own: object) -> None:
        with clear_errors():
            report = _reading(prepare(**own), out, overwrite=overwrite)
            if as_json:
                write_json(report)
            else:
                report.show(console(), out)

    hints = get_type_hints(prepare, include_extras=True)
    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[one.name])
        for one in inspect.signature(prepare).parameters.values()
    ]
    needed = [one for one in own if one.default is inspect.Parameter.empty]
    parameters = [*needed, _OUT, *own[len(needed) :], _OVERWRITE, _AS_JSON]
    run.__name__ = f"import_{name}"
    run.__doc__ = prepare.__doc__
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    return run


def _reading(write: WriteRecording, out: Path, *, overwrite: bool) -> FoundScan:
    """Run an import with a progress bar."""
    from rich.progress import Progress

    with Progress(console=error_console(), transient=True) as bar:
        task = bar.add_task("reading frames", total=None)
        return write(
            out, overwrite=overwrite, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
