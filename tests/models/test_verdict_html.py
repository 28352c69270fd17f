"""A notebook shows a verdict as a table that is safe and holds what a reader needs."""

from __future__ import annotations

import pytest

from braggwatch.models import CrystalJudgement, ModelIdentity, Outcome, PatternJudgement, Verdict
from braggwatch.models.verdict_html import VerdictCard, percent
from support.html import read_table

IDENTITY = ModelIdentity(name="cxdp-fcc", version="1.5.0", sha256="0" * 64, runtime="onnxruntime-cpu")
HOSTILE = "<script>alert('x')</script><img src=x onerror=\"y\"> & co"


def unsure(**changes: object) -> Verdict:
    values: dict[str, object] = {
        "outcome": Outcome.UNSURE,
        "reason": "can't rule out screw or edge",
        "probabilities": {"perfect": 0.01, "screw": 0.39, "edge": 0.6},
        "confidence": 0.6,
        "prediction_set": ("screw", "edge"),
        "ood_score": 6.65,
        "ood_threshold": 22.18,
        "model": IDENTITY,
    }
    return Verdict.model_validate(values | changes)


def test_a_verdict_says_all_that_it_rests_on() -> None:
    table = read_table(unsure()._repr_html_())
    assert table.headline == "unsure"
    assert table.rows == {
        "perfect": "1.0 %",
        "screw": "39.0 %",
        "edge": "60.0 %",
        "outcome": "unsure",
        "confidence": "60.0 %",
        "reason": "can't rule out screw or edge",
        "can't rule out": "screw or edge",
        "distance from training": "6.7 (limit 22.2)",
        "model": "cxdp-fcc/1.5.0 on onnxruntime-cpu",
    }
    assert table.bars == [1.0, 39.0, 60.0]


def test_a_verdict_without_network_shows_its_reason_and_no_bar() -> None:
    table = read_table(Verdict.without_class(Outcome.OUT_OF_DISTRIBUTION, "unlike anything")._repr_html_())
    assert table.headline == "out of distribution"
    assert table.rows == {"outcome": "out of distribution", "reason": "unlike anything"}
    assert table.bars == []


def test_text_from_documents_and_bundles_stays_text() -> None:
    model = IDENTITY.model_copy(update={"name": HOSTILE})
    html = unsure(
        reason=HOSTILE, probabilities={HOSTILE: 1.0}, prediction_set=(HOSTILE, "b"), model=model
    )._repr_html_()
    table = read_table(html)
    assert table.rows["reason"] == HOSTILE
    assert table.rows[HOSTILE] == "100.0 %"
    assert table.tags <= {"table", "thead", "tbody", "tr", "th", "td", "span"}
    assert table.attributes <= {"style", "scope", "colspan"}


def test_a_headline_is_text_too() -> None:
    assert read_table(VerdictCard(headline=HOSTILE, tone="none").html()).headline == HOSTILE


@pytest.mark.parametrize(
    ("share", "written"),
    [(0.0, "0.0 %"), (0.0004, "< 0.1 %"), (0.9203, "92.0 %"), (0.99951, "> 99.9 %"), (1.0, "100.0 %")],
)
def test_only_certainty_is_written_as_certainty(share: float, written: str) -> None:
    assert percent(share) == written


def test_of_many_classes_the_most_probable_are_shown_and_the_rest_counted() -> None:
    shares = {f"class {number}": number / 45 for number in range(10)}
    table = read_table(VerdictCard(headline="x", tone="none", shares=shares).html())
    assert list(table.rows) == [*(f"class {number}" for number in (9, 8, 7, 6, 5, 4)), "4 others"]
    assert table.rows["4 others"] == "13.3 % together"


def test_a_pattern_shows_its_groups() -> None:
    judged = PatternJudgement(verdict=unsure(), groups={"225": 0.9, "227": 0.1}, members=("225 [0 1 1]",), spots=40)
    table = read_table(judged._repr_html_())
    assert (table.rows["225"], table.rows["shows"], table.rows["spots"]) == ("90.0 %", "225 [0 1 1]", "40")
    assert "screw" not in table.rows


def test_a_crystal_shows_its_group_and_where_to_go_next() -> None:
    crystal = CrystalJudgement(
        patterns=2,
        set_aside=1,
        product={"225": 0.9, "227": 0.1},
        mean={"225": 0.7, "227": 0.3},
        next_zones=(((0, 0, 1), 0.31),),
        model=IDENTITY,
    )
    table = read_table(crystal._repr_html_())
    assert table.headline == "space group 225 at 90.0 %"
    assert table.rows["patterns"] == "2 usable, 1 set aside"
    assert table.rows["would tell most next"] == "[0 0 1] (0.31 bits)"


def test_a_crystal_without_usable_pattern_names_no_group() -> None:
    even = {"225": 0.5, "227": 0.5}
    crystal = CrystalJudgement(patterns=0, set_aside=3, product=even, mean=even, next_zones=(), model=IDENTITY)
    assert read_table(crystal._repr_html_()).headline == "no usable pattern yet"
