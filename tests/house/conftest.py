"""The checkout and what the generator of the reference pages knows of the command line."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from support.reference import load_reference

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """``docs/generate_reference.py`` as a module."""
    return load_reference()


@pytest.fixture(scope="session")
def project_files(root: Path) -> list[Path]:
    """Every file that belongs to the project: what git tracks, or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("no git checkout: what belongs to the project isn't known")
    return [path for name in listed.stdout.split("\0") if name and (path := root / name).is_file()]
