"""Units and containers: valid, sandboxed, and in step with the settings and the command line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from braggwatch.services.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd-analyze is not installed")


def in_place(unit: Path, folder: Path) -> Path:
    """Copy a unit so that its program exists: systemd-analyze also looks whether it can be run."""
    program = folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = folder / unit.name
    copy.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={program}", unit.read_text(), flags=re.MULTILINE))
    return copy


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_every_line_of_a_unit(unit, tmp_path: Path):
    # The exit status is 0 also for keys that systemd ignores: what it prints is the verdict.
    verified = subprocess.run(
        [str(SYSTEMD_ANALYZE), "verify", "--man=no", "--recursive-errors=no", str(in_place(unit, tmp_path))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_sandboxed(unit, tmp_path: Path):
    rated = subprocess.run(
        [str(SYSTEMD_ANALYZE), "security", "--offline=yes", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-600:] + rated.stderr


def test_the_service_unit_is_watched():
    unit = (DEPLOY / "systemd/braggwatch.service").read_text()
    assert "Type=notify" in unit
    assert re.search(r"^WatchdogSec=\d+", unit, re.MULTILINE)


def test_the_compose_file_follows_the_specification():
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, DEPLOY / "compose.yaml"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_containers_publish_to_loopback_only():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def setting_names(model: type[BaseModel] = Settings, prefix: str = "BRAGGWATCH_") -> set[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():
        full = f"{prefix}{name.upper()}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= setting_names(kind, f"{full}__")
        else:
            names.add(full)
    return names


def test_every_setting_named_here_exists():
    files = [DEPLOY / "systemd/braggwatch.env.example", DEPLOY / "compose.yaml", *DEPLOY.glob("Containerfile*")]
    files += [DEPLOY / "README.md", ROOT / "docs/how-to/runbooks.md", ROOT / "docs/how-to/gpu.md"]
    named = {name for file in files for name in re.findall(r"BRAGGWATCH_[A-Z]+__[A-Z_]*[A-Z]", file.read_text())}
    assert named
    assert named - setting_names() == set()


def test_the_environment_example_gives_working_settings(monkeypatch: pytest.MonkeyPatch):
    for line in (DEPLOY / "systemd/braggwatch.env.example").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.feedback.publisher.enabled
    assert settings.page.host == "127.0.0.1"


def shown_help(*arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", *arguments, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "200", "NO_COLOR": "1", "PATH": "/usr/bin:/bin"},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_commands_that_are_started_exist():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    unit = (DEPLOY / "systemd/braggwatch.service").read_text()
    started = re.search(r"^ExecStart=\S+ (.+)$", unit, re.MULTILINE)
    assert started
    for command, *options in (services["braggwatch"]["command"], started[1].split()):
        text = shown_help("braggwatch.services.cli", command)
        assert all(option in text for option in options if option.startswith("--"))


def test_the_simulator_that_is_started_exists():
    script = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["simulator"]["command"][0]
    started = re.search(r"python -m (\S+) (.*)", script)
    assert started
    text = shown_help(started[1])
    assert all(option in text for option in re.findall(r"--\w+", started[2]))


def test_the_image_holds_every_storey():
    copied = set(re.findall(r"^COPY (\w+) \1$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE))
    assert copied == {"sim", "models", "callbacks", "services"}
