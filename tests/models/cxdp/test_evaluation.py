"""An evaluation counts right, says how sure it is, and can be read in a browser without anything else."""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.cxdp.evaluation import (
    Evaluation,
    LabelledVolume,
    Prediction,
    Score,
    evaluate,
    summarise,
    summarise_all,
    wilson_interval,
)
from braggwatch.models.cxdp.report import render_report, write_report
from braggwatch.models.verdict import Outcome

CLASSES = ("perfect", "screw", "edge")


@pytest.fixture(scope="module")
def evaluation(bundle_path: Path, make_blob: Callable[..., NDArray[np.float32]]) -> Evaluation:
    classifier = BundleClassifier.load(bundle_path, threads=1)

    def labelled() -> Iterator[LabelledVolume]:
        rng = np.random.default_rng(21)
        for number in range(24):
            label = number % 3
            yield LabelledVolume(
                make_blob(label, rng, peak=10.0 ** rng.uniform(2.5, 4.5)),
                CLASSES[label],
                configuration=f"crystal-{number // 6}-{label}",
                element=("Pt", "Au")[number % 2],
                line_offset=None if label == 0 else rng.uniform(0.0, 0.5),
                hkl=((1, -1, 1), (0, 2, 0))[number % 2],
                g_dot_b=None if label == 0 else (-1.0, 2.0)[number // 12],
                completeness=(1.0, 0.9)[number % 2],
                strain_rad=None if number % 4 else 0.7,
                source=("continuum", "relaxed")[number // 12],
                aspect=(1.1, 3.5)[number % 2],
                blur_fringes=(0.05, 0.35)[number % 2],
                artefact=("none", "blank_frames")[number // 12],
                lattice="fcc",
            )
        # a label that the picture belies
        yield LabelledVolume(make_blob(2, rng, peak=1e4), "screw", "misnamed-<1>", source="relaxed")

    def noise() -> Iterator[NDArray[np.float32]]:
        rng = np.random.default_rng(22)
        for _ in range(4):
            yield rng.poisson(300.0, (64, 64, 64)).astype(np.float32)

    def empty() -> Iterator[NDArray[np.float32]]:
        yield np.zeros((64, 64, 64), np.float32)

    return evaluate(classifier, CLASSES, labelled, {"flat noise": noise, "<empty>": empty})


def test_a_bundle_is_measured_as_deployed(evaluation: Evaluation) -> None:
    assert evaluation.model == "blobs/1.0.0"
    assert evaluation.samples == 25
    assert evaluation.configurations == 13
    assert evaluation.overall.accuracy > 0.9
    assert sum(map(sum, evaluation.confusion)) == 25
    assert sum(evaluation.outcomes.values()) == 25
    assert {one.group for one in evaluation.by_element} == {"Pt", "Au"}
    assert sum(one.samples for one in evaluation.by_counts) == 25
    assert sum(one.samples for one in evaluation.by_line_offset) == 16
    noise, empty = evaluation.aliens
    assert noise.set_aside == 1.0
    assert noise.auroc is not None
    assert empty.auroc is None
    assert empty.set_aside == 1.0


def groups(scores: tuple[Score, ...]) -> dict[str, int]:
    return {one.group: one.samples for one in scores}


def test_patterns_are_grouped_by_all_that_is_known_of_them(evaluation: Evaluation) -> None:
    assert groups(evaluation.by_reflection) == {"{111}": 12, "{200}": 12}
    assert groups(evaluation.by_visibility) == {"1": 8, "2": 8}
    assert groups(evaluation.by_completeness) == {"0.8 to 0.95": 12, "from 1": 12}
    assert groups(evaluation.by_strain) == {"0.5 to 1": 6}
    assert groups(evaluation.by_source) == {"continuum": 12, "relaxed": 13}
    assert groups(evaluation.by_aspect) == {"1 to 1.25": 12, "3 to 4": 12}
    assert groups(evaluation.by_blur) == {"0 to 0.1": 12, "0.3 to 0.4": 12}
    assert groups(evaluation.by_artefact) == {"none": 12, "blank frames": 12}
    assert groups(evaluation.by_lattice) == {"fcc": 24}
    assert [name for name, _, _ in evaluation.groupings] == [
        "counts",
        "element",
        "lattice",
        "reflection",
        "|g·b|",
        "distance",
        "completeness",
        "strain",
        "aspect",
        "blur",
        "artefact",
        "source",
    ]


def test_the_worst_mistakes_are_kept_with_their_pictures(evaluation: Evaluation) -> None:
    worst = next(one for one in evaluation.mistakes if one.configuration == "misnamed-<1>")
    assert (worst.truth, worst.said) == ("screw", "edge")
    assert "relaxed" in worst.facts
    picture = b64decode(worst.picture)
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 40_000
    assert all(one.picture == "" for one in evaluation.without_pictures().mistakes)


def test_named_mistakes_come_before_surer_ones_that_were_set_aside() -> None:
    summary = summarise(
        [
            said("edge", (0.99, 0.01, 0.0), Outcome.OUT_OF_DISTRIBUTION),
            said("screw", (0.7, 0.3, 0.0)),
            said("screw", (0.0, 0.1, 0.9)),
            said("perfect", (1.0, 0.0, 0.0)),
        ],
        CLASSES,
        "m/1",
        "r",
    )
    assert [one.confidence for one in summary.mistakes] == [0.9, 0.7, 0.99]


def test_labels_that_are_no_class_count_as_aliens() -> None:
    far = replace(said("loop", (0.5, 0.3, 0.2), Outcome.OUT_OF_DISTRIBUTION), ood_score=9.0)
    near = replace(said("edge", (0.1, 0.1, 0.8)), ood_score=1.0)
    named = replace(said("loop", (0.9, 0.1, 0.0)), ood_score=2.0)
    summary = summarise_all([far, near, named], CLASSES, "m/1", "r")
    assert summary.samples == 1
    (loop,) = summary.aliens
    assert (loop.kind, loop.samples, loop.auroc, loop.named) == ("loop", 2, 1.0, 0.5)


def test_a_line_that_no_class_describes_is_told_of_apart() -> None:
    edge = said("edge", (0.1, 0.1, 0.8))
    mixed = [
        replace(said("mixed", (0.1, 0.8, 0.1)), character_deg=30.0, configuration="a"),
        replace(said("mixed", (0.9, 0.1, 0.0)), character_deg=30.0, configuration="a"),
        replace(said("mixed", (0.1, 0.2, 0.7), Outcome.OUT_OF_DISTRIBUTION), character_deg=60.0, configuration="b"),
        replace(said("mixed", (0.1, 0.2, 0.7), Outcome.INVALID), probabilities=None, character_deg=60.0),
    ]
    summary = summarise_all([edge, *mixed], CLASSES, "m/1", "r")
    assert (summary.samples, summary.aliens, summary.mistakes) == (1, (), ())
    thirty, sixty = summary.unclassed
    assert (thirty.kind, thirty.samples, thirty.configurations) == ("mixed, 30°", 2, 1)
    assert thirty.said == thirty.named == {"perfect": 1, "screw": 1}
    assert thirty.defect is not None
    assert (thirty.defect.accuracy, thirty.set_aside) == (0.5, 0)
    assert (sixty.said, sixty.named, sixty.set_aside) == ({"edge": 1}, {}, 2)
    assert Evaluation.from_json(summary.to_json()) == summary
    assert "mixed, 30°" in render_report(summary)
    # a bundle that has the class is judged by it
    with_class = summarise_all([replace(one, probabilities=(0.1, 0.9)) for one in mixed], ("edge", "mixed"), "m", "r")
    assert (with_class.overall.accuracy, with_class.unclassed) == (1.0, ())


def test_a_bundle_meets_lines_that_it_has_no_class_for(
    bundle_path: Path, make_blob: Callable[..., NDArray[np.float32]]
) -> None:
    rng = np.random.default_rng(5)

    def labelled() -> Iterator[LabelledVolume]:
        yield LabelledVolume(make_blob(0, rng), "perfect", "a")
        yield LabelledVolume(make_blob(1, rng), "mixed", "b", character_deg=60.0)

    found = evaluate(BundleClassifier.load(bundle_path, threads=1), CLASSES, labelled)
    assert (found.samples, found.unclassed[0].samples) == (1, 1)


def test_the_terminal_shows_the_same_numbers(evaluation: Evaluation) -> None:
    from rich.console import Console

    from braggwatch.services.cli.bundles.score_table import confusion_table, mistakes_table, score_table

    console = Console(record=True, width=200, quiet=False, file=io.StringIO())
    for table in (score_table(evaluation), confusion_table(evaluation), mistakes_table(evaluation)):
        console.print(table)
    text = console.export_text()
    assert "reflection {111}" in text
    assert "source relaxed" in text
    assert "misnamed-<1>" in text
    assert f"{evaluation.overall.accuracy:.1%}" in text


def test_an_evaluation_of_an_older_version_is_read(evaluation: Evaluation) -> None:
    fields = json.loads(evaluation.to_json())
    for name in ("by_reflection", "by_visibility", "by_completeness", "by_strain", "by_source", "mistakes"):
        del fields[name]
    assert Evaluation.from_json(json.dumps(fields)).mistakes == ()


def test_groups_of_an_older_version_say_no_more_than_they_did(evaluation: Evaluation) -> None:
    fields = json.loads(evaluation.to_json())
    for name in ("by_blur", "by_aspect", "by_artefact", "by_lattice", "risk_coverage", "lines_anywhere"):
        del fields[name]
    for name in ("by_counts", "by_line_offset"):
        for group in fields[name]:
            for new in ("named", "named_right", "confidently_wrong", "wrong_as", "calibration_error"):
                del group[new]
    old = Evaluation.from_json(json.dumps(fields))
    assert old.by_counts[0].named is None
    assert "none" in render_report(old)


def test_it_survives_json_and_fits_a_manifest(evaluation: Evaluation) -> None:
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    metrics = evaluation.metrics()
    assert metrics.accuracy == evaluation.overall.accuracy
    assert set(metrics.ood_auroc) == {"flat noise"}
    with pytest.raises(ValueError, match="validation error"):
        Evaluation.from_json("{}")


class Balanced(HTMLParser):
    """Fails on tags that don't close, and collects what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_self_contained_and_escaped(evaluation: Evaluation, tmp_path: Path) -> None:
    write_report(evaluation, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.links
    assert all(link.startswith("data:image/png;base64,") for link in parser.links)
    assert "misnamed-&lt;1&gt;" in page
    assert "<script" not in page
    assert page.count("<svg") == 4
    assert "&lt;empty&gt;" in page
    assert "nan" not in re.sub(r"<[^>]*>", " ", page).lower().split()


def test_a_report_without_groups_or_perfect_class_still_renders(evaluation: Evaluation) -> None:
    page = render_report(
        replace(evaluation, by_counts=(), by_element=(), perfect_vs_defect=None, named=None, aliens=())
    )
    assert "none" in page


def said(label: str, probabilities: tuple[float, ...] | None, outcome: Outcome = Outcome.CLASSIFIED) -> Prediction:
    return Prediction(label, "c", None, None, 1e3, outcome, probabilities, None)


def test_confusion_and_two_class_accuracy_are_counted_by_hand() -> None:
    summary = summarise(
        [
            said("perfect", (0.9, 0.1, 0.0)),
            said("screw", (0.1, 0.2, 0.7)),
            said("edge", (0.6, 0.1, 0.3), Outcome.UNSURE),
            said("edge", None, Outcome.INVALID),
        ],
        CLASSES,
        "m/1",
        "r",
    )
    assert summary.confusion == ((1, 0, 0), (0, 0, 1), (1, 0, 0))
    assert summary.overall.accuracy == pytest.approx(1 / 3)
    assert summary.perfect_vs_defect is not None
    assert summary.perfect_vs_defect.accuracy == pytest.approx(2 / 3)
    assert summary.named is not None
    assert summary.named.accuracy == pytest.approx(1 / 2)
    assert summary.coverage == pytest.approx(1 / 2)
    assert summary.outcomes == {"classified": 2, "invalid": 1, "unsure": 1}


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="twin"):
        summarise([said("twin", (1.0, 0.0, 0.0))], CLASSES, "m", "r")
    with pytest.raises(ValueError, match="no pattern"):
        summarise([said("edge", None, Outcome.ERROR)], CLASSES, "m", "r")
    with pytest.raises(ValueError, match="trial"):
        wilson_interval(0, 0)


@given(trials=st.integers(1, 10_000), share=st.floats(0.0, 1.0))
def test_the_interval_holds_the_proportion_and_narrows_with_trials(trials: int, share: float) -> None:
    low, high = wilson_interval(share * trials, trials)
    assert 0.0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1.0
    wider = wilson_interval(share * trials, trials)
    narrower = wilson_interval(share * 4 * trials, 4 * trials)
    assert narrower[1] - narrower[0] <= wider[1] - wider[0] + 1e-12
