"""The documentation builds as a website, holds what it should, and loads nothing from elsewhere."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

STOREYS = ("services", "callbacks", "models", "sim")


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make site`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "docs/site/mkdocs.yml"]
    done = subprocess.run(
        [*command, "--site-dir", str(folder)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there(site: Path, root: Path) -> None:
    docs = root / "docs"
    pages = [page.relative_to(docs) for page in docs.rglob("*.md")]
    assert [page for page in pages if not (site / page.with_suffix(".html")).is_file()] == []


def test_the_scripts_beside_the_pages_are_left_out(site: Path) -> None:
    assert [path for path in site.rglob("*.py") if "project" not in path.parts] == []


def test_links_out_of_the_documentation_lead_to_pages(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="project/CONTRIBUTING.html"' in index
    assert (site / "project" / "CONTRIBUTING.html").is_file()


@pytest.mark.parametrize("storey", STOREYS)
def test_the_pages_of_the_code_show_what_each_storey_offers(site: Path, storey: str) -> None:
    offered = getattr(importlib.import_module(f"braggwatch.{storey}"), "__all__", ())
    html = (site / "reference" / "api" / f"{storey}.html").read_text(encoding="utf-8")
    shown = set(re.findall(rf'id="braggwatch\.{storey}\.(\w+)"', html))
    assert set(offered) == shown


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\s\"'>]+")
    found = {match[0] for page in site.rglob("*.html") for match in loaded.finditer(page.read_text(encoding="utf-8"))}
    assert {tag for tag in found if 'rel="canonical"' not in tag} == set()
