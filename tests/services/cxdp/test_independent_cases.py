"""Scans made by code other than the project's, each of which an earlier bundle named wrongly and surely."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from braggwatch.services.cli import app

CASES = Path(__file__).parents[4] / "shared" / "cases" / "cxdp"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases aren't here")


def judged(name: str) -> dict[str, object]:
    words = ["classify", str(CASES / f"{name}.h5"), "--geometry", str(CASES / f"{name}.json"), "--json"]
    done = CliRunner().invoke(app, [*words, "--frames", "/entry/data", "--angles", "/entry/th"])
    assert done.exit_code in (0, 1), done.output
    found = json.loads(done.stdout)
    return (found[0] if isinstance(found, list) else found)["verdict"]


def test_a_line_at_the_rim_is_found_or_lies_outside_what_perfect_speaks_of() -> None:
    verdict = judged("1_rim_screw_as_perfect")
    if verdict["label"] == "perfect":
        assert isinstance(verdict["region"], dict)
        assert verdict["region"]["radius"] < 0.44
    else:
        assert verdict["label"] in (None, "screw")


@pytest.mark.parametrize(
    ("name", "truth", "reasons"),
    [
        ("2_blur_screw_as_perfect", "screw", ("lost contrast",)),
        ("4_plate4_screw_as_edge", "screw", ("flatter than", "can't rule out", "is asked for")),
        ("5_strain1.5_perfect_as_screw", "perfect", ("can't rule out", "is asked for")),
        ("6_gap_perfect_as_screw", "perfect", ("a gap or blank frames through the peak",)),
    ],
)
def test_what_takes_the_evidence_away_leaves_no_class_and_is_named(
    name: str, truth: str, reasons: tuple[str, ...]
) -> None:
    verdict = judged(name)
    if verdict["label"] is None:
        assert verdict["outcome"] == "unsure"
        assert any(reason in str(verdict["reason"]) for reason in reasons)
    else:
        assert verdict["label"] == truth
