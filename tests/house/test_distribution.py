"""What PyPI would hand out holds everything, and runs where there is no checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STOREYS = ("services", "callbacks", "models", "sim")


def run(command: list[str | Path], cwd: Path, timeout: float = 300) -> str:
    # Without what points at the checkout: an installation has to do without.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(project_files: list[Path], root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, made of what belongs to the project, and the wheel that is built from that sdist alone."""
    checkout, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for path in project_files:
        copy = checkout / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    # Not isolated, so that no build tool is fetched: setuptools is among the tools of developers.
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, checkout], cwd=out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def names_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_four_storeys_and_nothing_else(
    distributions: tuple[Path, Path], project_files: list[Path], root: Path
) -> None:
    ours = {path.relative_to(root) for path in project_files if path.relative_to(root).parts[0] in STOREYS}
    shipped = {name for name in names_of(distributions[1]) if ".dist-info/" not in name}
    assert shipped == {f"braggwatch/{path.as_posix()}" for path in ours}


def test_the_wheel_states_its_licence_and_where_to_read_on(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
    assert "License-Expression: BSD-3-Clause" in text
    assert {"Documentation", "Source", "Changelog"} <= set(re.findall(r"^Project-URL: (\w+),", text, re.MULTILINE))


def test_the_sdist_is_of_the_same_version(distributions: tuple[Path, Path]) -> None:
    sdist, wheel = distributions
    assert wheel.name.startswith(sdist.name.removesuffix(".tar.gz") + "-")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= inside


@pytest.fixture(scope="module")
def installed(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel in it, and with the libraries that this one has."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (site_packages,) = folder.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    # Folders named here are searched, but the .pth files in them are not read: no editable installation comes along.
    (site_packages / "libraries.pth").write_text("".join(f"{path}\n" for path in libraries), encoding="utf-8")
    # Its programs, too: an installation of Bluesky brings the proxy that the demo starts.
    (proxy,) = entry_points(group="console_scripts", name="bluesky-0MQ-proxy")
    program = python.parent / proxy.name
    program.write_text(f"#!{python}\nfrom {proxy.module} import {proxy.attr}\n{proxy.attr}()\n", encoding="utf-8")
    program.chmod(0o755)
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--ignore-installed"]
    run([sys.executable, "-m", "pip", "--python", python, "install", *options, distributions[1]], cwd=folder)
    return python


def test_it_is_the_wheel_that_is_imported(installed: Path, tmp_path: Path) -> None:
    program = (
        "import importlib, json; print(json.dumps([importlib.import_module(f'braggwatch.{s}').__file__ for s in %r]))"
    )
    found = json.loads(run([installed, "-c", program % (STOREYS,)], cwd=tmp_path))
    assert [Path(path).is_relative_to(installed.parents[1]) for path in found] == [True] * len(STOREYS)


def test_every_shipped_bundle_is_whole(installed: Path, tmp_path: Path, root: Path) -> None:
    index = json.loads((root / "models" / "bundles" / "index.json").read_text(encoding="utf-8"))
    command = installed.parent / "braggwatch"
    for alias in index["aliases"]:
        run([command, "models", "verify", alias], cwd=tmp_path)


def test_the_demo_ends_in_verdicts(installed: Path, tmp_path: Path) -> None:
    command = [installed.parent / "braggwatch", "demo", "--scans", "3", "--exit", "--json"]
    *records, summary = [json.loads(line) for line in run(command, cwd=tmp_path, timeout=500).splitlines()]
    assert len(records) == summary["results"] == 3
    assert {record["truth"] for record in records} <= {"perfect", "screw", "edge"}
    assert summary["classified"] >= 1
    assert summary["documents_lost"] == 0
