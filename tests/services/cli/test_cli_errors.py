"""A bad input is told in one line and a bug with its traceback, each with its own exit code."""

from __future__ import annotations

import ast
import builtins
import errno
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from braggwatch.models.bundling.bundle import BundleError
from braggwatch.services.cli import app
from braggwatch.services.cli.console import EXIT_CODES, ExitCode
from braggwatch.services.recording import recordings
from braggwatch.services.storage.result_store import ResultStore
from braggwatch.sim.errors import BraggwatchError, MissingPackageError

ROOT = Path(__file__).resolve().parents[3]
STOREYS = ("services", "callbacks", "models", "sim")


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def failing_with(error: BaseException) -> Callable[..., object]:
    def the_mistake(*_: object, **__: object) -> object:
        raise error

    return the_mistake


@pytest.mark.parametrize(
    "mistake",
    [
        KeyError("scan_id"),
        ValueError("operands could not be broadcast together"),
        TypeError("unsupported operand"),
        AttributeError("no attribute 'shape'"),
        IndexError("out of range"),
        RuntimeError("no current event loop"),
        AssertionError("never"),
        ImportError("cannot import name 'gone'", name="braggwatch.services.recording.recordings"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_programming_mistake_is_shown_as_a_bug(mistake: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "summarise", failing_with(mistake))
    result = run("inspect", "scan54.bwrec")
    assert result.exit_code == ExitCode.BUG
    assert "Traceback (most recent call last)" in result.stderr
    assert "the_mistake" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("bug: braggwatch ")
    assert type(mistake).__name__ in last
    assert "report it" in last
    assert result.stdout == ""


def test_a_programming_mistake_has_an_exit_code_of_its_own() -> None:
    assert sum(code == ExitCode.BUG for code in ExitCode) == 1
    assert f"{ExitCode.BUG.value} a bug" in EXIT_CODES


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which becomes the current one, with files that are not what they are called."""
    monkeypatch.chdir(tmp_path)
    for name in ("scan.bwrec", "counts.npz", "object.npz", "model.onnx", "data.pos", "data.rrng", "p.tif", "scan.h5"):
        (tmp_path / name).write_bytes(b"\x00garbage\xff")
    (tmp_path / "wrong.json").write_text(json.dumps({"nothing": 1}))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "wrong.toml").write_text("[stream]\naddres = 'x'\n")
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "other.npz", something=np.ones(3))
    ResultStore(tmp_path / "results.sqlite").close()
    recordings.RecordingWriter(tmp_path / "real.bwrec", source="test").close()
    return tmp_path


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("inspect absent.bwrec", "absent.bwrec"),
        ("inspect scan.bwrec", "not a Braggwatch recording"),
        ("inspect folder", "folder"),
        (
            "classify real.bwrec",
            "no geometry preset: name one with --geometry or [screening] geometry (34idc, simulated",
        ),
        ("classify real.bwrec", "'braggwatch inspect real.bwrec' lists what the recording holds"),
        ("explain real.bwrec", "no geometry preset"),
        ("classify scan.h5 --geometry 34idc --frames x --angles y", "Unable to"),
        ("classify scan.bwrec --geometry nowhere", "no preset 'nowhere'; there are"),
        ("classify scan.bwrec --geometry ./absent.json", "absent.json"),
        ("classify scan.bwrec --geometry ./wrong.json", "nothing: Extra inputs"),
        ("classify scan.bwrec --geometry ./broken.json", "broken.json: Invalid JSON"),
        ("classify scan.h5 --geometry 34idc --frames x --angles y --set energy=nan", "options: stated.energy: "),
        ("classify scan.h5 --geometry 34idc --frames x --angles y --set energy", "is no assignment"),
        ("replay scan.bwrec --frames 9:1", "9:1: frame range 9:1 is empty"),
        ("replay scan.bwrec --serializer json", "the serializer is 'pickle' or 'msgpack', not 'json'"),
        ("replay real.bwrec --to nowhere", "'nowhere' is no address to publish to"),
        ("explain counts.npz", "counts.npz is no NPZ file of counts"),
        ("explain other.npz", "holds no array 'intensity', only something"),
        ("explain nobody --store results.sqlite", "nobody is neither a file nor a run"),
        ("explain other.npz --model nobody", "no bundle goes by 'nobody'"),
        ("explain other.npz --out why.gif", "the picture is a .png or a .html"),
        ("gap --bundle nobody", "no bundle goes by 'nobody'"),
        ("gap --bundle production --object object.npz --hard 0", "object.npz is not a Braggwatch object"),
        ("cxdp simulate --out data --n 1 --config wrong.json", "wrong.json: nothing: Extra inputs"),
        ("cxdp simulate --out data --n 1 --config broken.json", "broken.json: Invalid JSON"),
        ("cxdp simulate --out data --n 1 --shard 3/2", "part 3 of 2"),
        ("cxdp relax --out data --n 1 --config wrong.json", "wrong.json: nothing: Extra inputs"),
        ("cxdp card absent", "no shards in absent"),
        ("apt simulate --out data --config wrong.json", "wrong.json: "),
        ("apt explain data.pos", "needs --ranges FILE and --at X Y Z"),
        ("apt scan data.pos --ranges data.rrng --out o --bundle nobody", "no bundle goes by 'nobody'"),
        ("sadp simulate --out data --zones 999", "no zone '999'"),
        ("sadp classify p.tif --model nobody", "no bundle goes by 'nobody'"),
        ("sadp watch folder --name-pattern (", "options: name_pattern: "),
        ("sadp watch folder --once --to nowhere", "'nowhere' is no address to publish to"),
        ("record out.bwrec --prefix=a\u00a0b --from= --wait 0.2", "options: "),
        ("benchmark model.onnx", "model.onnx"),
        ("engine bench --route nowhere", "there is no route 'nowhere'"),
        ("promote nobody/1.0.0", "no bundle 'nobody/1.0.0'"),
        ("models list --registry wrong.json", "wrong.json"),
    ],
)
def test_a_bad_input_is_told_in_one_line(files: Path, call: str, told: str) -> None:
    result = run(*call.split(" "))
    assert result.exit_code == ExitCode.BAD_INPUT, result.output
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert lines[-1].startswith("error: ")
    assert told in lines[-1]
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert "Traceback" not in result.output


def test_a_prefix_with_a_blank_is_told(files: Path) -> None:
    for command in (["replay", "real.bwrec"], ["sadp", "watch", "folder", "--once"]):
        result = run(*command, "--prefix", "a b", "--wait", "0.1")
        assert result.exit_code == ExitCode.BAD_INPUT
        assert "prefix 'a b' may not contain a space" in result.stderr


def test_wrong_settings_are_told_a_line_each(files: Path) -> None:
    result = run("screen", "--config", "wrong.toml")
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "wrong.toml: 1 wrong setting(s)" in result.stderr
    assert "stream.addres: Extra inputs" in result.stderr
    result = run("screen", "--from", "")
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "options of stream: address: " in result.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "scan54.bwrec"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "scan54.bwrec"), "Permission denied"),
        (MemoryError("Unable to allocate 80.0 GiB"), "not enough memory: Unable to allocate 80.0 GiB"),
        (MemoryError(), "not enough memory"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            "this needs the package 'torch', which isn't installed: pip install 'braggwatch[train]'",
        ),
        (ImportError("libcuda.so.1: cannot open shared object file", name="cuda"), "libcuda.so.1"),
        (MissingPackageError("PNG files need pillow"), "PNG files need pillow"),
        (BundleError("its hash is wrong"), "its hash is wrong"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_the_machine_lacks_is_no_bug(error: Exception, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "summarise", failing_with(error))
    result = run("inspect", "scan54.bwrec")
    assert result.exit_code == ExitCode.BAD_INPUT
    assert result.stderr.startswith("error: ")
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_interruption_and_silence_have_their_own_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, code in (
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (TimeoutError("nobody answered"), ExitCode.UNREACHABLE),
        (ConnectionRefusedError("refused"), ExitCode.UNREACHABLE),
        (BrokenPipeError(), ExitCode.OUTPUT_CLOSED),
    ):
        monkeypatch.setattr(recordings, "summarise", failing_with(error))
        result = run("inspect", "scan54.bwrec")
        assert result.exit_code == code
        assert "Traceback" not in result.output


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_a_closed_pipe_ends_quietly(form: list[str]) -> None:
    """As in ``braggwatch models list | head -0``."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "braggwatch.services.cli", "models", "list", *form]
        ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (ExitCode.OUTPUT_CLOSED, "")


def test_the_extra_that_is_named_brings_the_package() -> None:
    from importlib.metadata import requires

    from braggwatch.services.cli.console import _EXTRAS

    lines = requires("braggwatch") or []
    for package, extra in _EXTRAS.items():
        brings = [line for line in lines if f'extra == "{extra}"' in line or f"extra == '{extra}'" in line]
        assert any(line.startswith((package, f"{package}-lang")) or f"[{package}]" in line for line in brings), package


def test_every_error_of_ours_has_the_one_root() -> None:
    """A class that is raised and isn't under the root would be told as a bug."""
    found = 0
    for path in (path for storey in STOREYS for path in sorted((ROOT / storey).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            bases = [getattr(builtins, base.id, None) for base in node.bases if isinstance(base, ast.Name)]
            if any(isinstance(base, type) and issubclass(base, BaseException) for base in bases):
                name = ".".join(("braggwatch", *path.relative_to(ROOT).with_suffix("").parts))
                error = getattr(importlib.import_module(name), node.name)
                assert issubclass(error, BraggwatchError), f"{name}.{node.name}"
                found += 1
    assert found > 30
