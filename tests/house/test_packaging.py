"""What is installed is what is here: packages, data files, light imports."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STOREYS = ("sim", "models", "callbacks", "services")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
HEAVY = ("torch", "tensorrt", "cupy", "ophyd", "finufft", "matplotlib")


def folder_of(package: str) -> Path:
    return ROOT.joinpath(*package.removeprefix("braggwatch.").split("."))


def package_of(folder: Path) -> str:
    return ".".join(("braggwatch", *folder.relative_to(ROOT).parts))


def test_every_folder_with_code_is_a_package_that_is_shipped() -> None:
    folders = {
        package_of(path.parent) for storey in STOREYS for path in (ROOT / storey).rglob("*.py") if path.is_file()
    }
    assert folders == set(SETUPTOOLS["packages"])


def test_every_package_has_a_docstring_where_one_begins() -> None:
    for package in SETUPTOOLS["packages"]:
        text = (folder_of(package) / "__init__.py").read_text(encoding="utf-8")
        assert text.startswith('"""'), f"{package} doesn't say what it is"


def shipped_files() -> set[Path]:
    """Data files that the patterns in pyproject take in."""
    found: set[Path] = set()
    for package in SETUPTOOLS["packages"]:
        folder = folder_of(package)
        for pattern in (*SETUPTOOLS["package-data"]["*"], *SETUPTOOLS["package-data"].get(package, ())):
            found.update(path for path in folder.glob(pattern) if path.is_file())
    return found


def test_every_data_file_is_shipped() -> None:
    listed = subprocess.run(["git", "ls-files", "-z", *STOREYS], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("no git checkout: what belongs to the project isn't known")
    data = {ROOT / name for name in listed.stdout.split("\0") if name and not name.endswith(".py")}
    assert {path for path in data if path.is_file()} <= shipped_files()


@pytest.mark.parametrize(
    "module",
    [
        "services.cli",
        "services.serving",
        "services.page.app",
        "services.demo.whole_system",
        "services.recording.replay",
        "services.doctor",
        "callbacks.cxdp.screening_callback",
        "callbacks.plans.verdict_plans",
        "callbacks.plans.verdict_device",
        "callbacks.cxdp.preprocess.preprocessing",
        "models.cxdp.classifier",
        "models.cxdp.evaluation",
        "models.cxdp.report",
        "models.bundling.registry",
        "sim.geometry",
        "sim.cxdp.crystal",
    ],
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    program = f"import json, sys; import braggwatch.{module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert set(HEAVY).isdisjoint(json.loads(done.stdout))
