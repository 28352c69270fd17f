"""What sites write into scripts, unit files and dashboards: commands, exit codes, settings, metrics.

More of them may come; what is there stays and keeps its meaning.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from braggwatch.services.cli import app
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.settings import Settings
from support.golden import Golden
from support.reference import load_reference
from support.schemas import fields

BAD_CALLS = (
    "no-such-command",
    "--no-such-option",
    "sim no-such-command",
    "inspect",
    "inspect absent.bwrec",
    "inspect absent.bwrec --no-such-option",
    "replay absent.bwrec",
    "replay absent.bwrec --repeat 0",
    "classify absent.bwrec",
    "doctor --config absent.toml",
    "screen --config absent.toml",
    "models verify nobody",
    "promote nobody/1.0.0",
    "sim card . --verify",
    "sim cxdp --out data --n 0",
    "apt scan absent.pos",
    "sadp classify absent.png",
    "record out.bwrec --from 127.0.0.1:9 --wait 0.2",
)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return load_reference()


def test_every_command_and_option_is_there_and_means_the_same(golden: Golden, reference: ModuleType) -> None:
    commands = dict(reference.commands(app))
    assert app.registered_callback is not None
    commands["braggwatch"] = app.registered_callback.callback
    walked = {name: _parameters(reference, commands[name]) for name in sorted(commands)}
    golden.at_least_json("cli/commands.json", walked)


def test_no_command_asks_for_more(golden: Golden, reference: ModuleType) -> None:
    """An option that is new may be left out: what was a whole command still is one."""
    needed = {
        name: [word for word, one in _parameters(reference, function).items() if one["required"]]
        for name, function in sorted(reference.commands(app))
    }
    path = golden.made_once("cli/required.json", lambda path: path.write_text(json.dumps(needed, indent=1) + "\n"))
    then = json.loads(path.read_text(encoding="utf-8"))
    assert {name: needed[name] for name in then} == then


def test_bad_calls_end_with_the_same_exit_codes(
    golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    golden.same_json(
        "cli/exit-codes.json", {call: CliRunner().invoke(app, call.split()).exit_code for call in BAD_CALLS}
    )


def test_every_setting_is_there_with_its_default(golden: Golden) -> None:
    golden.at_least_json("settings/settings.json", _settings(Settings.model_json_schema()))


def test_every_environment_variable_is_read(golden: Golden, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A setting with a plain default comes back changed where its variable says so."""
    monkeypatch.chdir(tmp_path)
    path = golden.made_once("settings/variables.json", _write_variables)
    known = json.loads(path.read_text(encoding="utf-8"))
    for name, (_, value) in known.items():
        monkeypatch.setenv(name, str(value))
    answer = CliRunner().invoke(app, ["screen", "--print-settings"])
    assert answer.exit_code == 0, answer.output
    printed = json.loads(answer.stdout)
    assert {place: _at(printed, place) for place, _ in known.values()} == dict(known.values())


def test_every_metric_is_there_with_type_and_labels(golden: Golden, reference: ModuleType) -> None:
    rows = [line.split("|")[1:4] for line in reference.metrics_page().splitlines() if line.startswith("| `")]
    table = {name.strip().strip("`"): {"type": kind.strip(), "labels": labels.strip()} for name, kind, labels in rows}
    golden.at_least_json("metrics/metrics.json", table)


def test_every_series_is_there_from_the_start(golden: Golden) -> None:
    series: dict[str, list[str]] = {}
    metrics = Metrics()
    metrics.expect_classes(("perfect", "screw", "edge"))
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            # Their values are versions, or what happens to be so.
            if sample.name.endswith(("_info", "_created")):
                continue
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            series.setdefault(sample.name, []).append(labels)
    golden.at_least_json("metrics/series.json", {name: sorted(series[name]) for name in sorted(series)})


def _parameters(reference: ModuleType, function: Callable[..., object]) -> dict[str, dict[str, object]]:
    """Each argument and option by its first spelling, or its place among the arguments."""
    hints = get_type_hints(function, include_extras=True)
    found: dict[str, dict[str, object]] = {}
    own = inspect.signature(function).parameters.values()
    for parameter, one in zip(own, reference.parameters(function), strict=True):
        annotation, info = get_args(hints[parameter.name])[:2]
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        place = f"argument {sum(not known['spellings'] for known in found.values()) + 1}"
        found[one.names[0] if one.names else place] = {
            "spellings": list(one.names),
            "type": _type(annotation),
            "required": parameter.default is inspect.Parameter.empty,
            "default": default if default is None or isinstance(default, (bool, int, float)) else str(default),
            "min": info.min,
            "max": info.max,
            "counts": getattr(info, "count", False),
        }
    return found


def _type(annotation: object) -> object:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    parts = [one for one in get_args(annotation) if one is not NoneType]
    if get_origin(annotation) in (list, tuple):
        word = "repeated" if get_origin(annotation) is list else "together"
        return {word: [_type(one) for one in parts]}
    return _type(parts[0]) if parts else getattr(annotation, "__name__", str(annotation))


def _at(settings: object, place: str) -> object:
    for part in place.split("."):
        assert isinstance(settings, dict)
        settings = settings[part]
    return settings


def _settings(schema: dict[str, Any]) -> dict[str, Any]:
    """Each setting by its dotted path: variable, type, bounds, default."""
    found: dict[str, Any] = {}
    resolved = fields(schema)
    assert isinstance(resolved, dict)
    for path, one in _leaves(resolved, ""):
        found[path] = {"variable": "BRAGGWATCH_" + path.replace(".", "__").upper(), **one}
    return found


def _leaves(schema: dict[str, Any], place: str) -> list[tuple[str, dict[str, Any]]]:
    required = schema.get("required", [])
    leaves: list[tuple[str, dict[str, Any]]] = []
    for name, one in schema["properties"].items():
        path = f"{place}.{name}".lstrip(".")
        group = next((part for part in (one, *one.get("anyOf", ())) if "properties" in part), None)
        if group is None:
            leaves.append((path, {**one, "default": json.dumps(one.get("default")), "required": name in required}))
        else:
            leaves += _leaves(group, path)
    return leaves


def _write_variables(path: Path) -> None:
    """Another value than the default for each setting whose default is plain."""
    changed: dict[str, tuple[str, object]] = {}
    for name, one in _settings(Settings.model_json_schema()).items():
        default = json.loads(one["default"])
        value: object = None
        if isinstance(default, bool):
            value = not default
        elif "enum" in one:
            value = next(choice for choice in reversed(one["enum"]) if choice != default)
        elif isinstance(default, (int, float)):
            value = round(default * 0.75, 6) if isinstance(default, float) else default + 1
        if value is not None:
            changed[one["variable"]] = (name, value)
    path.write_text(json.dumps(changed, indent=1) + "\n", encoding="utf-8")
