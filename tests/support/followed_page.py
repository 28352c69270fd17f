"""Follows a page that shows, file by file, how the code is extended: on a copy of it."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STOREYS = ("services", "callbacks", "models", "sim")
_FENCE = re.compile(
    r'^(?:## (?P<section>[^\n]+)|```(?P<kind>\w+) title="(?P<path>[^"]+)"\n(?P<text>.*?)^```)$', re.M | re.S
)


@dataclass(frozen=True)
class Step:
    """One block of the page: a new file, or a change of one that is there (``diff``)."""

    section: str
    path: str
    text: str
    is_change: bool

    @property
    def is_test(self) -> bool:
        return self.path.startswith("tests/")


def steps_of(page: Path) -> list[Step]:
    """Return the blocks that have a file's path as their title, with the section that each is in."""
    steps, section = [], ""
    for found in _FENCE.finditer(page.read_text(encoding="utf-8")):
        if found["section"] is not None:
            section = found["section"]
        else:
            steps.append(Step(section, found["path"], found["text"], found["kind"] == "diff"))
    return steps


def copy_code(to: Path) -> None:
    """Copy the code, and what its tests share; linked are bundles, and what was compiled from the same files before."""
    for storey in STOREYS:
        shutil.copytree(ROOT / storey, to / storey, ignore=_left_out)
        for compiled in (ROOT / storey).rglob("__pycache__"):
            (to / compiled.relative_to(ROOT)).symlink_to(compiled)
        (to / "link" / "braggwatch").mkdir(parents=True, exist_ok=True)
        (to / "link" / "braggwatch" / storey).symlink_to(to / storey)
    for folder in ("models/bundles", "tests/support"):
        (to / folder).parent.mkdir(parents=True, exist_ok=True)
        (to / folder).symlink_to(ROOT / folder)
    for shared in ("pyproject.toml", "tests/conftest.py", "tests/services/conftest.py"):
        (to / shared).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / shared, to / shared)
    shutil.copy(ROOT / "tests/services/service_process.py", to / "tests/services")


def _left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__" or Path(folder, name) == ROOT / "models/bundles"}


def follow(step: Step, root: Path) -> None:
    """Do what one block says."""
    path = root / step.path
    if not step.is_change:
        assert not path.exists(), f"{step.path} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.text, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    for hunk in step.text.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        assert all(line[0] in " +-\n" for line in lines), f"{step.path}: a line that is neither kept, added nor removed"
        before = "".join(line[1:] or line for line in lines if line[0] != "+")
        after = "".join(line[1:] or line for line in lines if line[0] != "-")
        assert text.count(before) == 1, f"{step.path} doesn't hold, once:\n{before}"
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")
