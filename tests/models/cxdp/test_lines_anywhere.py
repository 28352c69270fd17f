"""Lines count as they lie in a crystal, and a test set whose lines crowd the centre says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from braggwatch.models.bundling.manifest import Separation
from braggwatch.models.cxdp.evaluation import Evaluation, Prediction, summarise
from braggwatch.models.cxdp.group_scores import GroupScore, group_score
from braggwatch.models.cxdp.lines_anywhere import RING_AREAS, LinesAnywhere
from braggwatch.models.cxdp.report import render_report
from braggwatch.models.verdict import Outcome
from braggwatch.services.cxdp.training.bundle_card import card_text
from braggwatch.services.cxdp.training.training_facts import TrainingFacts

CLASSES = ("perfect", "screw", "edge")
SAID = {"perfect": (0.95, 0.05, 0.0), "screw": (0.02, 0.95, 0.03), "edge": (0.0, 0.05, 0.95)}
RIM = 0.62


def said(label: str, word: str, offset: float | None, number: int, outcome: Outcome = Outcome.CLASSIFIED) -> Prediction:
    return Prediction(label, f"c{number}", "Pt", offset, 1e4, outcome, SAID[word], None)


def predictions(offsets: list[float], seen_within: float) -> list[Prediction]:
    """Screws at these distances, of which those farther out are called perfect; and as many perfect crystals."""
    lines = [
        said("screw", "screw" if offset < seen_within else "perfect", offset, number)
        for number, offset in enumerate(offsets)
    ]
    return lines + [said("perfect", "perfect", None, 10_000 + number) for number in range(len(offsets))]


def evaluated(offsets: list[float], seen_within: float) -> tuple[Evaluation, LinesAnywhere]:
    summary = summarise(predictions(offsets, seen_within), CLASSES, "m/1.0.0", "r")
    assert summary.lines_anywhere is not None
    return summary, summary.lines_anywhere


def test_lines_that_crowd_the_centre_count_by_the_area_of_their_ring() -> None:
    # every ring equally often: 20 lines each, seen within 0.3
    offsets = [ring + 0.05 for ring in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5) for _ in range(20)]
    summary, lines = evaluated(offsets, seen_within=0.3)
    assert sum(RING_AREAS) == pytest.approx(1.0)
    assert lines.by_area
    assert lines.accuracy is not None
    # perfect counts a third, the lines two thirds, of which what lies within 0.3
    assert lines.accuracy.accuracy == pytest.approx(1 / 3 + 2 / 3 * sum(RING_AREAS[:3]))
    assert lines.accuracy.accuracy < summary.overall.accuracy
    assert lines.accuracy.low < lines.accuracy.accuracy < lines.accuracy.high
    # the interval can't be narrower than that of as many crystals that count the same
    assert lines.accuracy.configurations <= 240


def test_lines_that_lie_as_in_a_cross_section_count_once_each() -> None:
    rng = np.random.default_rng(1)
    offsets = (RIM * np.sqrt(rng.random(2000))).tolist()
    _, lines = evaluated(offsets, seen_within=0.4)
    assert not lines.by_area
    assert lines.accuracy is not None
    seen = sum(offset < 0.4 for offset in offsets) / len(offsets)
    assert lines.accuracy.accuracy == pytest.approx(1 / 3 + 2 / 3 * seen)
    assert lines.warning is None
    assert lines.far_share == pytest.approx(0.766, abs=0.03)


def test_lines_that_lie_farther_out_are_not_counted_back_to_the_centre() -> None:
    # as in plates: the weights of a sphere would flatter
    _, lines = evaluated([0.25] * 20 + [0.7] * 180, seen_within=0.3)
    assert not lines.by_area
    assert lines.accuracy is not None
    assert lines.accuracy.accuracy == pytest.approx(1 / 3 + 2 / 3 * 0.1)
    _, few = evaluated([0.25] * 5 + [0.7] * 45, seen_within=0.3)
    assert few.warning is not None
    assert few.warning.startswith("only 45 test lines lie beyond 0.3")
    assert "near the centre" not in few.warning


def test_a_ring_without_lines_leaves_the_accuracy_unsaid() -> None:
    _, lines = evaluated([0.05, 0.15, 0.25] * 40, seen_within=0.3)
    assert lines.accuracy is None
    assert lines.empty == ("0.3 to 0.4", "0.4 to 0.5", "from 0.5")
    assert lines.warning is not None
    assert lines.warning.startswith("no test line lies beyond 0.3")


@pytest.mark.parametrize(("far", "warned"), [(99, True), (100, False)])
def test_a_hundred_lines_far_out_are_enough(far: int, warned: bool) -> None:
    _, lines = evaluated([0.1] * 500 + [0.45] * far, seen_within=0.3)
    assert (lines.far, lines.lines) == (far, 500 + far)
    assert (lines.warning is not None) == warned


def test_nothing_is_said_of_lines_where_there_are_none() -> None:
    summary = summarise([said("perfect", "perfect", None, 1)], CLASSES, "m/1", "r")
    assert summary.lines_anywhere is None
    assert "lines anywhere" not in render_report(summary)


def test_a_group_counts_what_a_user_was_told() -> None:
    unseen = replace(said("screw", "screw", 0.4, 5, Outcome.INVALID), probabilities=None)
    members = [
        said("screw", "screw", 0.4, 1),
        said("screw", "perfect", 0.4, 2),
        said("screw", "perfect", 0.4, 3, Outcome.UNSURE),
        replace(said("screw", "edge", 0.4, 4), probabilities=(0.1, 0.2, 0.7)),
        unseen,
    ]
    score: GroupScore = group_score("0.4 to 0.5", members, CLASSES)
    assert (score.samples, score.accuracy) == (4, 0.25)
    assert score.named is not None
    assert (score.named.patterns, score.named.value) == (5, pytest.approx(3 / 5))
    assert score.named_right is not None
    assert (score.named_right.patterns, score.named_right.value) == (3, pytest.approx(1 / 3))
    # of the two that were named wrong only one was named surely; what was held back counts for nothing here
    assert score.confidently_wrong is not None
    assert score.confidently_wrong.value == pytest.approx(1 / 5)
    assert score.wrong_as == {"perfect": 2, "edge": 1}
    for share in (score.named, score.named_right, score.confidently_wrong):
        assert share.low <= share.value <= share.high
    with pytest.raises(ValueError, match="no network"):
        group_score("nothing", [unseen], CLASSES)


def test_artefacts_are_left_out_of_the_calibration_of_good_crystals() -> None:
    clean = [replace(said("edge", "edge", 0.1, n), artefact="none") for n in range(10)]
    spoilt = [replace(said("edge", "perfect", 0.1, 20 + n), artefact="gap") for n in range(10)]
    summary = summarise([*clean, *spoilt], CLASSES, "m/1", "r")
    assert summary.calibration_error_unspoilt == pytest.approx(0.05)
    assert summary.calibration_error == pytest.approx(0.45)
    unknown = [replace(one, artefact=None) for one in clean]
    assert summarise(unknown, CLASSES, "m/1", "r").calibration_error_unspoilt is None


def facts() -> TrainingFacts:
    return TrainingFacts(
        patterns=100,
        crystals=100,
        elements=("Au",),
        reflections=("{111}",),
        peak_counts=(1e3, 1e6),
        fringe_period_voxels=3.5,
        specifications={"0123456789ab": 1},
        relaxed=0,
        clean=0,
        hashes={},
    )


APART = Separation(training=100, calibration=50, test=120, shared=0)


def card(summary: Evaluation) -> str:
    return card_text("cxdp-fcc/9.9.9", facts(), summary, APART, outliers={}, further_from=None)


def test_card_and_report_lead_with_lines_anywhere_and_warn() -> None:
    summary, lines = evaluated([ring + 0.05 for ring in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5) for _ in range(20)], 0.3)
    assert lines.accuracy is not None
    text, page = card(summary), render_report(summary)
    headline = f"{lines.accuracy.accuracy:.1%}"
    assert f"Accuracy over lines anywhere {headline}" in text
    assert "**Warning.** Only 60 of 120 test lines lie beyond 0.3" in text
    assert "60 of 120 lines (50.0%) lie beyond 0.3" in text
    assert 'class="warning">only 60 of 120 test lines lie beyond 0.3' in page
    assert page.index("accuracy, lines anywhere") < page.index("accuracy, every pattern")
    # the outer rings' mistakes, and what they are called
    assert "| 0.4 to 0.5 | 20 | 0.0% (0.0 to 16.1) | 100.0% (83.9 to 100.0) | 0.0% (0.0 to 16.1) |" in text
    assert "| 20 of 20 |" in text
    assert "Among the named, 25.00% are wrong" in text
    assert page.count("<svg") == 4
    assert all(line.count("|") in (0, 5, 7, 8) for line in text.splitlines() if line.startswith("|"))


def test_a_card_without_enough_rings_has_no_headline_for_lines_anywhere() -> None:
    summary, _ = evaluated([0.05, 0.15] * 20, seen_within=0.3)
    text = card(summary)
    assert "accuracy over lines anywhere 1" not in text
    assert "It can't be stated here: no line at 0.2 to 0.3, 0.3 to 0.4, 0.4 to 0.5, from 0.5." in text
    assert "**Warning.** No test line lies beyond 0.3" in text
