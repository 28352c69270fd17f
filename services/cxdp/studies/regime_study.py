"""Which training regime transfers: the same network learnt from each library of relaxed crystals, asked about others.

Rebuilds Table 1 of Lim, Bellec, Dupraz et al., npj Comput. Mater. 7, 115 (2021), on what this project simulates. Every
regime gives the same number of crystals of each class and of patterns; training and its noise are the same; tests are
patterns as measured, of crystals that no regime holds. Each step is resumed where its files are there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.models.cxdp.evaluation import Evaluation, summarise
from braggwatch.models.cxdp.network_predictions import predict_with_network
from braggwatch.models.cxdp.predictions import Prediction
from braggwatch.models.cxdp.presentation import PatternPresentation
from braggwatch.models.cxdp.unclassed import UnclassedScore, score_unclassed
from braggwatch.models.learning.training import train
from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.networks.factory import make_network
from braggwatch.services.cxdp.training.labelled_shards import LabelledShards
from braggwatch.services.cxdp.training.shard_making import ShardDone, make_dataset
from braggwatch.sim.cxdp.crystal import PopulationSpec
from braggwatch.sim.cxdp.datasets import DatasetSpec
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.cxdp.relaxation.library import CrystalLibrary, LibraryEntry, read_entries

REFLECTIONS = (((1, 1, 1), 0.6), ((2, 0, 0), 0.25), ((2, 2, 0), 0.15))
UNSTRAINED = PopulationSpec(reflections=REFLECTIONS, unstrained_fraction=1.0, strong_fraction=0.0)
"""Members of these families that see the line; sizes as ever; no smooth strain but what the relaxation made."""
TRAINING_SPEC = DatasetSpec(population=UNSTRAINED, seed=31, nuisance="none")
HELD_OUT_SPEC = DatasetSpec(population=UNSTRAINED, seed=32)
MIXED_SPEC = DatasetSpec(population=UNSTRAINED, seed=32, classes=("mixed",))
STRAINED_SPEC = DatasetSpec()
"""As live scans are simulated: smooth strain, {311} too."""


@dataclass(frozen=True, slots=True)
class Regime:
    """One way to make training crystals.

    Attributes
    ----------
    library
        Folder of relaxed crystals.
    per_class
        Crystals of each class, held-out ones among them; fewer where the library has fewer.
    """

    name: str
    library: Path
    per_class: int


@dataclass(frozen=True, slots=True)
class ForeignSet:
    """Crystals to test every regime on; all of the library that are of the specification's classes."""

    name: str
    library: Path
    spec: DatasetSpec
    patterns_per_crystal: int


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What is the same for all regimes.

    Attributes
    ----------
    patterns_per_crystal
        Of training and held-out crystals.
    held_out_share
        Of a regime's crystals, class by class, rounded up.
    """

    patterns_per_crystal: int = 10
    held_out_share: float = 0.1
    steps: int = 400
    batch: int = 24
    learning_rate: float = 2e-3
    validate_every: int = 100
    threads: int = 1
    workers: int = 1

    def config(self, seed: int) -> TrainingConfig:
        """Return the training's knobs."""
        return TrainingConfig(
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            # weights are averaged over the last tenth of so short a run, not over 500 steps
            ema=1 - 10 / self.steps,
            threads=self.threads,
            seed=seed,
            checkpoint_every=50,
            validate_every=self.validate_every,
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """Crystals of a regime by number, class by class in the order of their numbers, the last ones held out."""

    training: frozenset[int]
    held_out: frozenset[int]


class RegimeRecord(BaseModel):
    """What one regime's network said.

    Attributes are in patterns and crystals; ``held_out`` is of the regime's own crystals, ``tests`` of the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    regime: str
    seed: int
    steps: int
    batch: int
    crystals: int = Field(description="Learnt from.")
    patterns: int = Field(description="Learnt from.")
    training_seconds: float
    held_out: Evaluation
    tests: dict[str, Evaluation]
    mixed: dict[str, tuple[UnclassedScore, ...]] = Field(description="Of test sets whose lines have no class.")


def choose_crystals(entries: Sequence[LibraryEntry], per_class: int, held_out_share: float) -> Chosen:
    """Choose as many crystals of each class, by what was found in them after relaxation.

    Raises
    ------
    ValueError
        If a class has fewer than two crystals.
    """
    training: set[int] = set()
    held_out: set[int] = set()
    counts = {label: [e.index for e in entries if e.label == label][:per_class] for label in CLASSES}
    each = min(len(numbers) for numbers in counts.values())
    if each < 2:
        raise ValueError(f"a class has only {each} crystals: relax more, so that some can be held out")
    kept = each - ceil(each * held_out_share)
    for numbers in counts.values():
        training.update(numbers[:kept])
        held_out.update(numbers[kept:each])
    return Chosen(frozenset(training), frozenset(held_out))


def library_entries(library: Path) -> list[LibraryEntry]:
    """Read the records of a folder of relaxed crystals, in the order of their numbers.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    entries = [entry for path in sorted(library.glob("relaxed-*.h5")) for entry in read_entries(path)]
    if not entries:
        raise FileNotFoundError(f"no relaxed crystals in {library}: make them with 'braggwatch sim relax --out'")
    return sorted(entries, key=lambda entry: entry.index)


def regime_patterns(
    regime: Regime, plan: StudyPlan, folder: Path, on_shard: Callable[[ShardDone], None] | None = None
) -> tuple[list[Path], list[Path]]:
    """Make a regime's patterns: clean ones to learn from, and measured ones of the crystals held out."""
    chosen = choose_crystals(library_entries(regime.library), regime.per_class, plan.held_out_share)
    made: list[list[Path]] = []
    for spec, only in ((TRAINING_SPEC, chosen.training), (HELD_OUT_SPEC, chosen.held_out)):
        made.append(
            make_dataset(
                folder,
                spec,
                len(only) * plan.patterns_per_crystal,
                workers=plan.workers,
                library=regime.library,
                patterns_per_crystal=plan.patterns_per_crystal,
                only=only,
                on_shard=on_shard,
            )
        )
    return made[0], made[1]


def count_regime_patterns(regime: Regime, plan: StudyPlan) -> int:
    """Say how many patterns `regime_patterns` makes."""
    chosen = choose_crystals(library_entries(regime.library), regime.per_class, plan.held_out_share)
    return (len(chosen.training) + len(chosen.held_out)) * plan.patterns_per_crystal


def count_foreign_patterns(test: ForeignSet) -> int:
    """Say how many patterns `foreign_patterns` makes."""
    library = CrystalLibrary(test.library, labels=test.spec.classes, population=test.spec.population)
    return len(library) * test.patterns_per_crystal


def foreign_patterns(
    test: ForeignSet, workers: int, folder: Path, on_shard: Callable[[ShardDone], None] | None = None
) -> list[Path]:
    """Make a test set's patterns."""
    return make_dataset(
        folder,
        test.spec,
        count_foreign_patterns(test),
        workers=workers,
        library=test.library,
        patterns_per_crystal=test.patterns_per_crystal,
        on_shard=on_shard,
    )


def study_regime(
    name: str,
    plan: StudyPlan,
    seed: int,
    training: Sequence[Path],
    held_out: Sequence[Path],
    tests: Mapping[str, Sequence[Path]],
    work: Path,
    on_step: Callable[[int, float], None] | None = None,
) -> RegimeRecord:
    """Train on one regime's patterns and ask about its own crystals and about others.

    Parameters
    ----------
    tests
        Shards of each test set.
    work
        Folder of the training's log and checkpoint, from which it goes on.
    """
    torch.manual_seed(seed)
    source, own = LabelledShards(training), LabelledShards(held_out)
    log = work / "log.jsonl"
    network = train(
        make_network("foveated", len(CLASSES)),
        source,
        own,
        plan.config(seed),
        work,
        on_step,
        presentation=PatternPresentation(),
    )
    labelled: dict[str, Evaluation] = {}
    mixed: dict[str, tuple[UnclassedScore, ...]] = {}
    model = f"{name}, seed {seed}"
    for test, shards in tests.items():
        samples = LabelledShards(shards, unclassed=True)
        found = predict_with_network(network, samples.labelled(), CLASSES)
        if any(one.label in CLASSES for one in found):
            labelled[test] = _summary([one for one in found if one.label in CLASSES], model)
        apart = score_unclassed(found, CLASSES)
        if apart:
            mixed[test] = apart
    return RegimeRecord(
        regime=name,
        seed=seed,
        steps=plan.steps,
        batch=plan.batch,
        crystals=len({(info.source, info.config) for info in source.infos}),
        patterns=len(source),
        training_seconds=_seconds(log),
        held_out=_summary(predict_with_network(network, own.labelled(), CLASSES), model),
        tests=labelled,
        mixed=mixed,
    )


def _summary(predictions: Sequence[Prediction], model: str) -> Evaluation:
    return replace(summarise(predictions, CLASSES, model, "torch-cpu"), mistakes=())


def _seconds(log: Path) -> float:
    return float(json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["seconds"])
