"""The study of training regimes: equal shares of each class, one network each, tables that say what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from braggwatch.models.cxdp.evaluation import Prediction, summarise
from braggwatch.models.cxdp.unclassed import score_unclassed
from braggwatch.models.verdict import Outcome
from braggwatch.services.cxdp.studies.regime_study import RegimeRecord, StudyPlan, choose_crystals, study_regime
from braggwatch.services.cxdp.studies.regime_tables import regime_tables
from braggwatch.sim.cxdp.crystal import random_crystal_spec
from braggwatch.sim.cxdp.datasets import DatasetSpec, Sample, SampleInfo, store_samples
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.cxdp.relaxation.library import LibraryEntry

SPEC = random_crystal_spec(np.random.default_rng(1), "perfect")


def entry(index: int, label: str) -> LibraryEntry:
    return LibraryEntry(Path("relaxed-0.h5"), index, index, SPEC, "zhou2004/Pt", 3.9, label, label, 1000)


def test_as_many_crystals_of_each_class_are_taken_and_the_last_held_out() -> None:
    labels = (*CLASSES, "lost")
    entries = [entry(index, labels[index % 4]) for index in range(80)]
    chosen = choose_crystals(entries, per_class=11, held_out_share=0.1)
    assert len(chosen.training) == 3 * 9
    assert len(chosen.held_out) == 3 * 2
    assert not chosen.training & chosen.held_out
    assert {labels[index % 4] for index in chosen.held_out} == set(CLASSES)
    assert min(chosen.held_out) > max(index for index in chosen.training if index % 4 == 0)
    # a class that is short makes all short
    short = choose_crystals([one for one in entries if one.label != "edge" or one.index < 12], 11, 0.1)
    assert (len(short.training), len(short.held_out)) == (3 * 2, 3 * 1)
    with pytest.raises(ValueError, match="only 1 crystals"):
        choose_crystals(entries[:4], 11, 0.1)


def said(label: str, best: str, crystal: str, character_deg: float | None = None) -> Prediction:
    row = tuple(0.8 if name == best else 0.1 for name in CLASSES)
    one = Prediction(label, crystal, "Ag", None, 1e4, Outcome.CLASSIFIED, row, None)
    return replace(one, character_deg=character_deg)


def record(regime: str, seed: int, test: list[Prediction], mixed: list[Prediction]) -> RegimeRecord:
    own = [said("perfect", "perfect", "a"), said("edge", "edge", "b")]
    return RegimeRecord(
        regime=regime,
        seed=seed,
        steps=10,
        batch=2,
        crystals=6,
        patterns=60,
        training_seconds=1.0,
        held_out=summarise(own, CLASSES, regime, "r"),
        tests={"silver": summarise(test, CLASSES, regime, "r")},
        mixed={"mixed lines": score_unclassed(mixed, CLASSES)},
    )


def test_the_tables_hold_the_means_of_the_seeds() -> None:
    right = [said("edge", "edge", "a"), said("screw", "screw", "b"), said("perfect", "perfect", "c")]
    wrong = [said("edge", "screw", "a"), said("screw", "screw", "b"), said("perfect", "perfect", "c")]
    lines = [said("mixed", "screw", "d", 30.0), said("mixed", "perfect", "d", 30.0), said("mixed", "edge", "e", 60.0)]
    made = [record("one", 1, right, lines), record("one", 2, wrong, lines), record("two", 1, wrong, lines)]
    assert [RegimeRecord.model_validate_json(one.model_dump_json()) for one in made] == made
    tables = regime_tables(made, ["silver", "mixed lines"])
    first = next(line for line in tables.splitlines() if line.startswith("| one |"))
    assert "6 / 60" in first
    assert "100.0 %" in first
    assert "83.3 % (" in first
    assert "| one | 50.0 % | 0.0 % | 100.0 % |" in tables
    assert "| two | 100.0 % | 0.0 % | 100.0 % |" in tables
    assert "| two | 50 % / 0 % / 50 % | 0 % / 100 % / 0 % |" in tables


def shard(folder: Path, labels: tuple[str, ...], numbers: range, nuisance: str) -> Path:
    """Blobs, longest along the axis that stands for their class."""
    spec = DatasetSpec.model_validate({"nuisance": nuisance})

    def samples():
        for number in numbers:
            rng = np.random.default_rng(number)
            label = labels[number % len(labels)]
            width = rng.uniform(2.4, 2.8, size=3)
            width[CLASSES.index(label) if label in CLASSES else 1] *= 1.8
            grid = np.indices((64, 64, 64)) - 32
            rate = 1e6 * np.exp(-0.5 * ((grid / width[:, None, None, None]) ** 2).sum(axis=0))
            volume = rate if nuisance == "none" else rng.poisson(0.01 * rate)
            info = SampleInfo(number // 2, label, "Pt", (1, -1, 1), 1.0, 0.1, 1e4, 200.0, 1.0, character_deg=30.0)
            yield number, Sample(volume.astype(np.float32), info)

    path = folder / f"cxdp-{nuisance}-{numbers.start:06d}.h5"
    list(store_samples(path, spec, samples(), numbers))
    return path


def test_a_regime_is_trained_tested_and_resumed(tmp_path: Path) -> None:
    training = shard(tmp_path, CLASSES, range(12), "none")
    held_out = shard(tmp_path, CLASSES, range(100, 106), "measured")
    strange = shard(tmp_path, ("mixed",), range(200, 204), "measured")
    plan = StudyPlan(steps=4, batch=6, validate_every=4, threads=1)
    steps: list[int] = []

    def study() -> RegimeRecord:
        return study_regime(
            "blobs",
            plan,
            1,
            [training],
            [held_out],
            {"other": [held_out], "mixed": [strange]},
            tmp_path / "work",
            lambda step, _: steps.append(step),
        )

    made = study()
    assert steps == [1, 2, 3, 4]
    assert (made.patterns, made.crystals, made.held_out.samples) == (12, 6, 6)
    assert made.tests["other"] == made.held_out
    (mixed,) = made.mixed["mixed"]
    assert (mixed.kind, mixed.samples, sum(mixed.said.values())) == ("mixed, 30°", 4, 4)
    assert study() == made
    assert steps == [1, 2, 3, 4]
