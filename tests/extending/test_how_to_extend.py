"""The page on extending is followed to the letter, on a copy of the code, and what it adds works as its tests say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.followed_page import ROOT, copy_code, follow, steps_of

PAGE = ROOT / "docs/how-to/extend.md"
STEPS = steps_of(PAGE)
SECTIONS = list(dict.fromkeys(step.section for step in STEPS))


def test_the_table_of_files_is_what_the_examples_touched() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Files touched")[2]
    rows = {row[1].strip(): row[2:4] for row in (line.split("|") for line in table.splitlines()) if len(row) == 5}
    assert SECTIONS
    assert set(rows) >= {_as_in_a_row(section) for section in SECTIONS}
    for section in SECTIONS:
        own, lines = (set(re.findall(r"`([^`]+)`", cell)) for cell in rows[_as_in_a_row(section)])
        steps = [step for step in STEPS if step.section == section and not step.is_test]
        assert own == {step.path for step in steps if not step.is_change}
        assert lines == {step.path for step in steps if step.is_change}
        assert any(step.is_test for step in STEPS if step.section == section), f"{section} has no test"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("extended")
    copy_code(root)
    for step in STEPS:
        follow(step, root)
    return root


@pytest.mark.timeout(600)
@pytest.mark.parametrize("speed", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_what_the_page_adds_works(extended: Path, speed: str) -> None:
    tests = [step.path for step in STEPS if step.is_test]
    done = run_in(extended, "-m", "pytest", "-p", "no:cacheprovider", "--timeout", "500", "-m", speed, *tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_what_the_page_adds_keeps_to_the_layers(extended: Path) -> None:
    lint = (
        "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command(['--no-cache']))"
    )
    done = run_in(extended, "-c", lint)
    assert done.returncode == 0, done.stdout + done.stderr


def run_in(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "link"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def _as_in_a_row(section: str) -> str:
    return section[0].lower() + section[1:]
