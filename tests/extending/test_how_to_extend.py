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


@pytest.mark.timeout(600)
def test_what_the_page_adds_works(tmp_path: Path) -> None:
    copy_code(tmp_path)
    for step in STEPS:
        follow(step, tmp_path)
    tests = [step.path for step in STEPS if step.is_test]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=0", *tests],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "link"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def _as_in_a_row(section: str) -> str:
    return section[0].lower() + section[1:]
