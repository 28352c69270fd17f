"""Each storey names what users import, in one place, and costs nothing until a name is used."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

STOREYS = ("services", "callbacks", "models", "sim")
BLOCK = re.compile(r"^```(python|pycon)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(params=STOREYS)
def door(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"braggwatch.{request.param}")


def parsed(door: ModuleType) -> ast.Module:
    assert door.__file__ is not None
    return ast.parse(Path(door.__file__).read_text(encoding="utf-8"))


def names_for_checkers(door: ModuleType) -> dict[str, str]:
    """Return name -> module as a type checker and the reference pages see them."""
    (block,) = [
        node for node in parsed(door).body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    found: dict[str, str] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname is None
            assert alias.name not in found
            found[alias.name] = str(node.module)
    return found


def names_at_run_time(door: ModuleType) -> dict[str, str]:
    """Return name -> module as `lazy_names` is told."""
    calls = [
        node
        for node in ast.walk(parsed(door))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "lazy_names"
    ]
    assert len(calls) == 1
    return ast.literal_eval(calls[0].args[1])


def test_what_is_offered_is_what_checkers_see_and_what_is_loaded(door: ModuleType) -> None:
    assert names_for_checkers(door) == names_at_run_time(door)
    assert sorted(door.__all__) == sorted(names_at_run_time(door))


def test_every_name_is_the_one_of_its_module(door: ModuleType) -> None:
    for name, module in names_at_run_time(door).items():
        defined = getattr(importlib.import_module(module), name)
        assert getattr(door, name) is defined
        assert vars(door)[name] is defined, "the second use must not look the name up again"
        assert getattr(defined, "__module__", module) == module, f"{name} is only passed on by {module}"
        assert module.startswith(f"{door.__name__}.")


def test_no_name_hides_a_module_of_its_storey(door: ModuleType) -> None:
    below = {path.stem for path in Path(str(door.__file__)).parent.iterdir()}
    assert below.isdisjoint(door.__all__)


def test_names_are_listed_and_others_refused(door: ModuleType) -> None:
    assert set(door.__all__) <= set(dir(door))
    with pytest.raises(AttributeError, match=r"has no attribute 'no_such_name'"):
        _ = door.no_such_name


@pytest.mark.parametrize("storey", STOREYS)
def test_importing_a_storey_loads_nothing_of_others(storey: str) -> None:
    program = (
        f"import json, sys; before = set(sys.modules); import braggwatch.{storey}; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    ours = {name for name in loaded if name.split(".")[0] == "braggwatch"}
    assert ours <= {"braggwatch", "braggwatch.sim", "braggwatch.sim.lazy_names", f"braggwatch.{storey}"}
    assert {name.split(".")[0] for name in loaded - ours} <= sys.stdlib_module_names


def test_the_example_of_a_storey_runs(door: ModuleType) -> None:
    outcome = doctest.testmod(door)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def blocks(root: Path, language: str) -> list[tuple[Path, str]]:
    """Return (page, text) of each block: ``python`` needs what a page can't hold, ``pycon`` runs as it stands."""
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    found = [(page, match) for page in pages for match in BLOCK.findall(page.read_text(encoding="utf-8"))]
    return [(page, text) for page, (written_in, text) in found if written_in == language]


def test_pages_import_from_the_doors_what_is_there(root: Path) -> None:
    imports = [
        (page, node)
        for page, block in blocks(root, "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "braggwatch"
    ]
    assert imports
    for page, node in imports:
        assert str(node.module) in {f"braggwatch.{storey}" for storey in STOREYS}, page
        offered = importlib.import_module(str(node.module)).__all__
        assert {alias.name for alias in node.names} <= set(offered), page


def test_sessions_in_pages_run(root: Path) -> None:
    ran = 0
    for page, block in blocks(root, "pycon"):
        session = doctest.DocTestParser().get_doctest(block, {}, page.name, str(page), 0)
        outcome = doctest.DocTestRunner().run(session)
        assert outcome.failed == 0, page
        ran += outcome.attempted
    assert ran > 0
