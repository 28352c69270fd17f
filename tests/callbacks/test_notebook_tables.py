"""A notebook shows a run's record with what its verdict can't see, and a particle with what its patterns say."""

from __future__ import annotations

from braggwatch.callbacks import BurgersVisibility, ParticleState, PatternResult, ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.sadp.records import CrystalSoFar
from braggwatch.models import ModelIdentity, Outcome, Verdict
from braggwatch.sim import visibility
from support.html import read_table

IDENTITY = ModelIdentity(name="cxdp-fcc", version="1.5.0", sha256="0" * 64, runtime="onnxruntime-cpu")
PERFECT = Verdict(
    outcome=Outcome.CLASSIFIED,
    label="perfect",
    probabilities={"perfect": 0.98, "screw": 0.01, "edge": 0.01},
    confidence=0.98,
    prediction_set=("perfect",),
    model=IDENTITY,
)


def at_111() -> BurgersVisibility:
    seen = visibility((1, 1, 1), "fcc")
    return BurgersVisibility(
        hkl=seen.hkl,
        origin="preset",
        seen=tuple(b.numerators for b in seen.seen),
        blind=tuple(b.numerators for b in seen.blind),
        short=seen.short,
        statement=seen.sentence,
    )


def record(**changes: object) -> ScreeningResult:
    values: dict[str, object] = {
        "run_uid": "uid-1",
        "scan_id": 54,
        "revision": 1,
        "verdict": PERFECT,
        "frames_expected": 81,
        "frames_received": 80,
        "quality": None,
        "burgers": at_111(),
        "sample": "<b>Pt</b>",
        "started_at": 0.0,
        "finished_at": 1.0,
        "latency_s": 0.1,
    }
    return ScreeningResult.model_validate(values | changes)


def test_a_record_says_what_its_verdict_cannot_see() -> None:
    result = record()
    table = read_table(result._repr_html_())
    assert table.headline == result.in_words
    assert table.bars == [98.0, 1.0, 1.0]
    assert table.rows["sees b along"] == "[110] [101] [011]"
    assert table.rows["can't see b along"] == "[1-10] [10-1] [01-1]"
    assert table.rows["frames"] == "80 of 81"
    assert table.rows["sample"] == "<b>Pt</b>"
    assert table.rows["run"] == "uid-1 (scan 54)"
    assert table.rows["model"] == "cxdp-fcc/1.5.0 on onnxruntime-cpu"


def test_a_record_says_where_that_is_unknown() -> None:
    unknown = BurgersVisibility.unknown("no reflection is stated")
    table = read_table(record(burgers=unknown, frames_expected=None)._repr_html_())
    assert table.rows["can't see"] == unknown.statement
    assert table.rows["frames"] == "80 of an unknown number"


def test_a_provisional_verdict_says_that_the_scan_goes_on() -> None:
    so_far = ProvisionalVerdict(
        run_uid="uid-1",
        scan_id=None,
        verdict=PERFECT,
        frames_expected=80,
        frames_received=60,
        started_at=0.0,
        made_at=1.0,
        seconds=0.1,
    )
    table = read_table(so_far._repr_html_())
    assert table.headline == so_far.in_words
    assert table.rows["frames"] == "60 of 80, scan in progress"
    assert table.rows["run"] == "uid-1"


def pattern(**changes: object) -> PatternResult:
    groups = {"225": 0.9, "227": 0.1}
    values: dict[str, object] = {
        "run_uid": "uid-2",
        "scan_id": 7,
        "stream": "primary",
        "seq_num": 3,
        "number": 3,
        "particle": "grain <7>",
        "visit": None,
        "stated_zone": (0, 1, 1),
        "outcome": Outcome.CLASSIFIED,
        "label": "B54.7-2",
        "reason": None,
        "set_aside": None,
        "confidence": 0.97,
        "groups": groups,
        "members": ("225 [0 1 1]",),
        "spots": 44,
        "cell_ratio": 1.2,
        "cell_angle_deg": 70.5,
        "unexplained_spots": 0.0,
        "residual_px": 0.3,
        "inv_nm_per_px": None,
        "largest_spacing_nm": None,
        "crystal": CrystalSoFar(patterns=2, visits=2, product=groups, mean=groups),
        "model": IDENTITY,
        "run_started_at": 0.0,
        "judged_at": 1.0,
        "latency_s": 0.1,
    }
    return PatternResult.model_validate(values | changes)


def test_a_pattern_shows_its_class_groups_and_particle() -> None:
    table = read_table(pattern()._repr_html_())
    assert table.headline == "B54.7-2"
    assert table.bars == [90.0, 10.0]
    assert table.rows["shows"] == "225 [0 1 1]"
    assert table.rows["zone stated"] == "[0 1 1]"
    assert table.rows["particle"] == "grain <7>"


def test_a_pattern_set_aside_says_why() -> None:
    refused = pattern(outcome=Outcome.INVALID, label=None, reason="blank", set_aside="blank", groups={}, members=())
    table = read_table(refused._repr_html_())
    assert table.headline == "invalid"
    assert table.rows["reason"] == "blank"
    assert table.bars == []


def test_a_particle_shows_its_group_until_the_run_ends_with_where_to_go_next() -> None:
    last = pattern()
    state = ParticleState(
        run_uid="uid-2",
        scan_id=7,
        sample=None,
        particle="grain <7>",
        patterns=4,
        set_aside={"rings": 1, "off_zone": 1, "blank": 0},
        crystal=last.crystal,
        zones=((0, 1, 1),),
        next_zones=(((0, 0, 1), 0.31),),
        last=last,
    )
    table = read_table(state._repr_html_())
    assert table.headline == "space group 225 at 90.0 %"
    assert table.rows["patterns"] == "2 of 4 usable (1 rings, 1 off zone)"
    assert table.rows["would tell most next"] == "[0 0 1] (0.31 bits)"
    ended = read_table(state.model_copy(update={"final": True})._repr_html_())
    assert "would tell most next" not in ended.rows
