"""Write the reference pages that follow from the code: settings, command line, metrics.

``make docs`` runs it; a test in ``tests/house`` fails where a page is behind the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import cast, get_args, get_type_hints

import typer
from prometheus_client import Metric
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo, OptionInfo

from braggwatch.services.cli import app
from braggwatch.services.cli.recordings import import_command
from braggwatch.services.metrics.gpu_metrics import gpu_families
from braggwatch.services.metrics.gpu_readings import ECC_KINDS, GpuReading
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.settings import Settings

REFERENCE = Path(__file__).resolve().parent / "reference"

_SETTINGS_HEAD = """# Settings

<!-- Written by docs/generate_reference.py from services/settings.py: change it there. -->

A TOML file (`braggwatch screen --config FILE`) and the environment; the environment wins over the file, the command
line over both. A variable's name is `BRAGGWATCH_`, then the path with two underscores between its parts:
`[stream] address` is `BRAGGWATCH_STREAM__ADDRESS`. An unknown name is an error, not a warning.
`braggwatch screen --print-settings` shows what is in force.
"""

_METRICS_HEAD = """# Metrics

<!-- Written by docs/generate_reference.py from services/metrics/prometheus.py and gpu_metrics.py: change it there. -->

`GET /metrics`, Prometheus' text format. Units are seconds, bytes and ratios from 0 to 1. Labels are closed sets known
at the start, never a uid, scan or sample. Alert rules, their tests and a dashboard are in
[`deploy/`](../../deploy/README.md), what to do about an alert in the [runbooks](../how-to/runbooks.md).

| metric | type | labels | what |
|---|---|---|---|
"""

_CLI_HEAD = """# Command line

<!-- Written by docs/generate_reference.py from services/cli: change it there. -->

`braggwatch COMMAND --help` says the same. Results go to standard output (`--json`: one object a line), everything else
to standard error.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | ran, but the answer is no |
| 2 | wrong usage |
| 3 | an input that can't be used, or this machine lacks memory, disk or a package |
| 4 | nobody answered in time |
| 70 | a bug of Braggwatch: please report it with the traceback that it prints |
| 130 | interrupted |
| 141 | nobody reads the output any more |

Options of `braggwatch` itself, before the command: `--version`; `-v` logs what happens, `-vv` also why.
"""

_OLDER_HEAD = """
## Older spellings

These go on working and take the same options.

| older | now |
|---|---|
"""


def main() -> None:
    """Write all pages."""
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    return {"settings.md": settings_page(), "cli.md": cli_page(), "metrics.md": metrics_page()}


def settings_page() -> str:
    """One table for each group of settings."""
    return _SETTINGS_HEAD + "".join(_settings_group(Settings, ""))


def _settings_group(model: type[BaseModel], path: str) -> Iterator[str]:
    plain: list[str] = []
    groups: list[tuple[str, type[BaseModel], FieldInfo]] = []
    for name, field in model.model_fields.items():
        group = _group_of(field)
        if group is not None:
            groups.append((f"{path}.{name}".lstrip("."), group, field))
        else:
            plain.append(f"| `{name}` | {_type_name(field)} | {_default(field)} | {_cell(field.description or '')} |\n")
    if plain:
        yield f"\n## `[{path}]`\n" if path else "\n## At the top of the file\n"
        yield f"\n{_own_words(model)}\n\n| setting | type | default | what |\n|---|---|---|---|\n"
        yield from plain
    for inner, group, _ in groups:
        yield from _settings_group(group, inner)


def _own_words(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0] if model is not Settings else "What belongs to no group."


def _group_of(field: FieldInfo) -> type[BaseModel] | None:
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _type_name(field: FieldInfo) -> str:
    annotation = field.annotation
    options = [a for a in (get_args(annotation) or (annotation,)) if a is not type(None) and a is not Ellipsis]
    text = str(annotation)
    if "Literal" in text:
        return " or ".join(f"`{option}`" for option in options)
    if text.startswith("tuple"):
        return "list of text"
    if text.startswith("dict"):
        return "table of text"
    first = options[0]
    if isinstance(first, type) and issubclass(first, Enum):
        return " or ".join(f"`{member.value}`" for member in first)
    names = {"str": "text", "float": "number", "int": "whole number", "bool": "true or false", "Path": "path"}
    name = getattr(first, "__name__", str(first))
    return names.get(name, "text, secret" if name == "SecretStr" else name)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value) or "empty"
    if isinstance(value, dict):
        pairs = cast("dict[str, str]", value)
        return ", ".join(f"`{key}` = `{one}`" for key, one in pairs.items()) or "empty"
    return f"`{value}`" if str(value) else "empty"


def metrics_page() -> str:
    """One table of all metrics."""
    families = sorted([*Metrics().registry.collect(), *gpu_families((_A_GPU,))], key=lambda family: family.name)
    return _METRICS_HEAD + "".join(_metric_row(family) for family in families)


def _metric_row(family: Metric) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = _LABELS.get(name, _labels_of(family))
    return f"| `{name}` | {family.type} | {', '.join(f'`{label}`' for label in labels)} | {family.documentation} |\n"


# GPUs have series only where there are some.
_A_GPU = GpuReading(
    index=0,
    uuid="",
    name="",
    driver="",
    answering=True,
    utilisation=0.0,
    memory_used_bytes=0,
    memory_total_bytes=0,
    temperature_celsius=0,
    power_watts=0.0,
    power_limit_watts=0.0,
    throttled=frozenset(),
    ecc_errors=dict.fromkeys(ECC_KINDS, 0),
)

# Families that have no series before the first event.
_LABELS = {
    "braggwatch_predictions_total": ("class",),
    "braggwatch_feedback_publishes_total": ("sink", "result"),
    "braggwatch_assembly_events_total": ("kind",),
    "braggwatch_backend_info": ("model", "version", "sha256", "runtime"),
    "braggwatch_disk_free_bytes": ("volume",),
}


def _labels_of(family: Metric) -> tuple[str, ...]:
    found = dict.fromkeys(label for sample in family.samples for label in sample.labels)
    return tuple(label for label in found if label != "le")


def cli_page() -> str:
    """One section for each command, then the older spellings."""
    older = older_spellings(app)
    now = ((path, function) for path, function in commands(app) if path not in older)
    rows = "".join(f"| `{old}` | `{new}` |\n" for old, new in older.items())
    return _CLI_HEAD + "".join(_command_section(path, function) for path, function in now) + _OLDER_HEAD + rows


def commands(group: typer.Typer, path: str = "braggwatch") -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield what a user types for each command, older spellings too, with the function behind it."""
    for typed, function, _ in _walk(group, path, older=False):
        yield typed, function


def older_spellings(group: typer.Typer) -> dict[str, str]:
    """Return the spelling of today for each command that ``--help`` doesn't list."""
    walked = list(_walk(group, "braggwatch", older=False))
    now = {function: path for path, function, older in walked if not older}
    return {path: now[function] for path, function, older in walked if older}


def _walk(group: typer.Typer, path: str, *, older: bool) -> Iterator[tuple[str, Callable[..., object], bool]]:
    for command in group.registered_commands:
        if command.callback is not None:
            name = command.name or command.callback.__name__.replace("_", "-")
            yield f"{path} {name}", command.callback, older or command.hidden
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            hidden = older or inner.hidden is True  # not stated, it is a placeholder
            # The importers' commands are loaded when they are called: here all of them are wanted.
            whole = import_command.loaded_app() if inner.typer_instance is import_command.app else inner.typer_instance
            yield from _walk(whole, f"{path} {inner.name}", older=hidden)


@dataclass(frozen=True, slots=True)
class CommandParameter:
    """One argument or option as a user types it.

    Attributes
    ----------
    names
        All spellings of an option, empty for an argument.
    """

    names: tuple[str, ...]
    usage: str
    default: str
    text: str


def parameters(function: Callable[..., object]) -> list[CommandParameter]:
    """Read the arguments and options of a command off its signature."""
    hints = get_type_hints(function, include_extras=True)
    return [_parameter(p, hints[p.name]) for p in inspect.signature(function).parameters.values()]


def _parameter(parameter: inspect.Parameter, hint: object) -> CommandParameter:
    annotation, info = get_args(hint)[0], get_args(hint)[1]
    required = parameter.default is inspect.Parameter.empty
    default = "must be given" if required else ""
    if not (required or parameter.default is None or isinstance(parameter.default, bool)):
        default = f"`{parameter.default}`" if str(parameter.default) else "empty"
    if isinstance(info, ArgumentInfo):
        name = str(info.metavar or parameter.name.upper())
        return CommandParameter((), name if required else f"[{name}]", default, info.help or "")
    assert isinstance(info, OptionInfo)  # noqa: S101
    # In Annotated, typer takes the first spelling for a default and puts it right only when it builds the command.
    stated = (*([info.default] if isinstance(info.default, str) else []), *(info.param_decls or ()))
    option = f"--{parameter.name.replace('_', '-')}"
    kinds = [a for a in (get_args(annotation) or (annotation,)) if a is not type(None)]
    if kinds == [bool]:
        names = stated or (option, option.replace("--", "--no-", 1))
        return CommandParameter(names, ", ".join(names), default, info.help or "")
    names = stated or (option,)
    word = {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(kinds[0], "TEXT")
    return CommandParameter(names, f"{', '.join(names)} {info.metavar or word}", default, info.help or "")


def _command_section(path: str, function: Callable[..., object]) -> str:
    found = parameters(function)
    arguments = [p for p in found if not p.names]
    options = [p for p in found if p.names]
    usage = " ".join([path, *(["[OPTIONS]"] if options else []), *(a.usage for a in arguments)])
    rows = "".join(f"| `{p.usage}` | {p.default} | {_cell(p.text)} |\n" for p in (*arguments, *options))
    table = f"\n| | default | what |\n|---|---|---|\n{rows}" if rows else ""
    return f"\n## {path}\n{_markdown(inspect.getdoc(function) or '')}\n```text\n{usage}\n```\n{table}"


def _markdown(text: str) -> str:
    """Return a docstring as Markdown, its examples as code."""
    text = re.sub(r"\*\*(.+?)\*\*", r"`\1`", "\n".join(line.rstrip() for line in text.strip().splitlines()))
    return f"\n{text}\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
