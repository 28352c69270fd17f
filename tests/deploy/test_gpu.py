"""The service on a GPU: an image, a compose file and a unit that keep the sandbox and keep what was compiled."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

import pytest
import yaml

from braggwatch.models.runtimes.engine_cache import default_cache_folder

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "Containerfile.gpu"
COMPOSE = DEPLOY / "compose.gpu.yaml"
UNIT = DEPLOY / "systemd/braggwatch.service"
DROP_IN = DEPLOY / "systemd/braggwatch.service.d/gpu.conf"
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
needs_systemd = pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd-analyze is not installed")


def final_stage() -> str:
    return CONTAINERFILE.read_text().rpartition("\nFROM ")[2]


def environment() -> dict[str, str]:
    block = re.search(r"^ENV (.*?[^\\])$", final_stage(), re.MULTILINE | re.DOTALL)
    assert block
    return dict(re.findall(r"(\w+)=(\S+)", block[1]))


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
@pytest.mark.parametrize("file", sorted(DEPLOY.glob("Containerfile*")), ids=lambda file: file.name)
def test_hadolint_finds_nothing_to_say(file: Path) -> None:
    checked = subprocess.run(
        [str(HADOLINT), "--failure-threshold", "warning", file], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_image_holds_every_storey_and_extras_that_exist() -> None:
    text = CONTAINERFILE.read_text()
    assert set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE)) == {"sim", "models", "callbacks", "services"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r'pip install "\.\[(.+)\]"', text)
    assert named
    assert set(named[0].split(",")) <= set(extras)


def test_onnxruntime_is_replaced_never_doubled() -> None:
    text = CONTAINERFILE.read_text()
    assert text.index("pip uninstall --yes onnxruntime ") < text.index('pip install "onnxruntime-gpu')


def test_it_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\S+)$", final_stage(), re.MULTILINE)
    # a number: Kubernetes can't see of a name that it isn't root's
    assert users
    assert int(users[-1]) >= 1000
    assert f"--uid {users[-1]} " in final_stage()


def test_all_that_is_written_lies_in_a_volume() -> None:
    """The rest of the container is read-only; in the cache lie engines, which nobody else may write."""
    listed = re.search(r"^VOLUME \[(.+)\]$", final_stage(), re.MULTILINE)
    assert listed
    volumes = [PurePosixPath(path) for path in re.findall(r'"([^"]+)"', listed[1])]
    written = [value for name, value in environment().items() if name.endswith(("CACHE_PATH", "_DIR", "_HOME", "PATH"))]
    paths = [PurePosixPath(value) for value in (*written, environment()["BRAGGWATCH_ENGINES"]) if "$" not in value]
    assert len(paths) >= 5
    for path in paths:
        assert any(path.is_relative_to(volume) for volume in volumes), path
    assert re.search(r"install .*--mode=0700 /var/cache/braggwatch$", final_stage(), re.MULTILINE)


def test_engines_go_where_the_image_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        if name.startswith("BRAGGWATCH_ENGINES"):
            monkeypatch.setenv(name, value)
    assert default_cache_folder().as_posix() == "/var/cache/braggwatch/engines"


def test_it_asks_the_container_runtime_for_compute_and_nvml() -> None:
    assert set(environment()["NVIDIA_DRIVER_CAPABILITIES"].split(",")) == {"compute", "utility"}


def test_it_has_a_health_check_like_the_other_image() -> None:
    checks = [
        re.search(r"CMD (\[\"python.+\])$", file.read_text(), re.MULTILINE) for file in DEPLOY.glob("Containerf*")
    ]
    assert len({check[1] for check in checks if check}) == 1
    assert all(checks)


def test_the_compose_file_follows_the_specification() -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, COMPOSE], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_on_a_gpu_the_service_keeps_its_sandbox() -> None:
    base, gpu = (yaml.safe_load(file.read_text()) for file in (DEPLOY / "compose.yaml", COMPOSE))
    assert base["name"] == gpu["name"]
    assert set(gpu["services"]) <= set(base["services"])
    service = gpu["services"]["braggwatch"]
    assert set(service) == {"image", "build", "volumes", "deploy"}
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    device = service["deploy"]["resources"]["reservations"]["devices"][0]
    assert device["capabilities"] == ["gpu"]
    assert base["services"]["braggwatch"]["read_only"]
    mounted = {volume.split(":")[1] for one in (base, gpu) for volume in one["services"]["braggwatch"]["volumes"]}
    assert mounted == {"/var/lib/braggwatch", "/var/cache/braggwatch"}


def with_drop_in(folder: Path) -> Path:
    """The unit as systemd reads it on a machine with a GPU, with a program that exists."""
    program = folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = folder / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={program}", UNIT.read_text(), flags=re.MULTILINE))
    beside = folder / DROP_IN.parent.name
    beside.mkdir()
    shutil.copy(DROP_IN, beside)
    return unit


@needs_systemd
def test_systemd_takes_every_line_of_the_drop_in(tmp_path: Path) -> None:
    unit = with_drop_in(tmp_path)
    command = [str(SYSTEMD_ANALYZE), "verify", "--man=no", "--recursive-errors=no", str(unit)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    # that the drop-in is read at all
    (tmp_path / DROP_IN.parent.name / "wrong.conf").write_text("[Service]\nNoSuchKey=1\n")
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "NoSuchKey" in verified.stderr


@needs_systemd
def test_with_a_gpu_the_unit_is_still_sandboxed(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    # a later line wins, as a drop-in's does
    body = re.sub(r"^\[Unit\]\n(?:.+\n)+\n", "", DROP_IN.read_text(), flags=re.MULTILINE)
    unit = folder / UNIT.name
    unit.write_text(UNIT.read_text().replace("[Install]", body + "\n[Install]"))
    rated = subprocess.run(
        [str(SYSTEMD_ANALYZE), "security", "--offline=yes", "--threshold=25", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-600:] + rated.stderr


def test_the_unit_opens_the_gpus_devices_and_no_others() -> None:
    lines = DROP_IN.read_text().splitlines()
    assert [line for line in lines if line.startswith("DeviceAllow=")] == ["DeviceAllow=char-nvidia* rw"]
    assert "DevicePolicy=closed" in lines
    assert "BRAGGWATCH_ENGINES=/var/cache/braggwatch/engines" in DROP_IN.read_text()
    assert "CacheDirectory=braggwatch" in UNIT.read_text()
