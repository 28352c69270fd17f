"""What is committed speaks of the project alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Put together here, so that this file does not find itself.
_ROOTS = ("work", "root", "home/[a-z]+/(?!data)", "Users", "tmp/(?!kernels)")
MACHINE_PATH = re.compile(r"(?<![\w./:-])/(?:" + "|".join(_ROOTS) + r")/?[\w.-]+")
EXAMPLES = ("/home/me",)
LARGEST_BYTES = 20_000_000


def readable(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_no_path_of_one_machine(project_files: list[Path], root: Path) -> None:
    found = [
        f"{path.relative_to(root)}: {match[0]}"
        for path in project_files
        if path != Path(__file__)
        for match in MACHINE_PATH.finditer(readable(path))
        if not match[0].startswith(EXAMPLES)
    ]
    assert found == []


def test_nothing_is_left_of_a_merge(project_files: list[Path]) -> None:
    marks = re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE)
    assert [path for path in project_files if marks.search(readable(path))] == []


def test_no_file_is_larger_than_a_repository_should_carry(project_files: list[Path]) -> None:
    assert [path for path in project_files if path.stat().st_size > LARGEST_BYTES] == []


def test_every_link_inside_the_checkout_stays_inside(project_files: list[Path], root: Path) -> None:
    assert [path for path in project_files if path.is_symlink() and not path.resolve().is_relative_to(root)] == []


def test_what_ci_runs_can_be_run(root: Path) -> None:
    assert os.access(root / ".ci" / "run", os.X_OK)
