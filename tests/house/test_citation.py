"""Who cites Braggwatch cites the version that is here, and the article whose approach it takes."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import yaml


def test_the_citation_is_what_readers_of_the_format_expect(root: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.citation-file-format"]
    done = subprocess.run(
        [*command, str(root / "CITATION.cff")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_names_this_version_and_the_article(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["repository-code"] == project["urls"]["Source"]
    (article,) = citation["references"]
    assert article["doi"] in (root / "README.md").read_text(encoding="utf-8")
