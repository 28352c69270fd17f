"""Compare training regimes: train the same network on each library of relaxed crystals and test it on others.

Reproduces Table 1 of Lim, Bellec, Dupraz et al., npj Comput. Mater. 7, 115 (2021), with this project's simulations.
Every regime has the same number of crystals per class and of patterns, the same training and the same noise; the tests
are noisy patterns of crystals that no regime contains. A step whose files exist is resumed.
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
from braggwatch.services.batch.shards import ShardDone
from braggwatch.services.cxdp.training.labelled_shards import LabelledShards
from braggwatch.services.cxdp.training.shard_making import make_dataset
from braggwatch.sim.cxdp.crystal import PopulationSpec
from braggwatch.sim.cxdp.datasets import DatasetSpec
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.cxdp.relaxation.library import CrystalLibrary, LibraryEntry, read_entries
from braggwatch.sim.errors import InputError

REFLECTIONS = (((1, 1, 1), 0.6), ((2, 0, 0), 0.25), ((2, 2, 0), 0.15))
UNSTRAINED = PopulationSpec(reflections=REFLECTIONS, unstrained_fraction=1.0, strong_fraction=0.0)
"""Reflections of these families in which the line is visible; usual sizes; no smooth strain beyond the relaxation's."""
TRAINING_SPEC = DatasetSpec(population=UNSTRAINED, seed=31, nuisance="none")
HELD_OUT_SPEC = DatasetSpec(population=UNSTRAINED, seed=32)
MIXED_SPEC = DatasetSpec(population=UNSTRAINED, seed=32, classes=("mixed",))
STRAINED_SPEC = DatasetSpec()
"""The simulation of live scans: with smooth strain, and with {311}."""


@dataclass(frozen=True, slots=True)
class Regime:
    """One way to make training crystals.

    Attributes
    ----------
    library
        Folder of relaxed crystals.
    per_class
        Crystals of each class, held-out ones included; fewer if the library has fewer.
    """

    name: str
    library: Path
    per_class: int


@dataclass(frozen=True, slots=True)
class CommonTestSet:
    """Crystals on which every regime is tested: all of the library that belong to the specification's classes."""

    name: str
    library: Path
    spec: DatasetSpec
    patterns_per_crystal: int


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """Settings that all regimes share.

    Attributes
    ----------
    patterns_per_crystal
        Patterns of each training or held-out crystal.
    held_out_share
        Share of a regime's crystals that is held out, per class, rounded up.
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
        """Return the training configuration."""
        return TrainingConfig(
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            # in a run this short, weights are averaged over its last tenth instead of 500 steps
            ema=1 - 10 / self.steps,
            threads=self.threads,
            seed=seed,
            checkpoint_every=50,
            validate_every=self.validate_every,
        )


@dataclass(frozen=True, slots=True)
class ChosenCrystals:
    """Numbers of a regime's crystals; in each class the highest numbers are held out."""

    training: frozenset[int]
    held_out: frozenset[int]


class RegimeRecord(BaseModel):
    """Result of one regime's network.

    ``held_out`` scores the regime's own held-out crystals, ``tests`` the common test sets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    regime: str
    seed: int
    steps: int
    batch: int
    crystals: int = Field(description="Crystals trained on.")
    patterns: int = Field(description="Patterns trained on.")
    training_seconds: float
    held_out: Evaluation
    tests: dict[str, Evaluation]
    mixed: dict[str, tuple[UnclassedScore, ...]] = Field(
        description="Scores of test sets of mixed dislocations, which no class describes."
    )


def choose_crystals(entries: Sequence[LibraryEntry], per_class: int, held_out_share: float) -> ChosenCrystals:
    """Choose the same number of crystals of each class, labelled by what was found in them after relaxation.

    Raises
    ------
    InputError
        If a class has fewer than two crystals.
    """
    training: set[int] = set()
    held_out: set[int] = set()
    counts = {label: [e.index for e in entries if e.label == label][:per_class] for label in CLASSES}
    each = min(len(numbers) for numbers in counts.values())
    if each < 2:
        raise InputError(f"a class has only {each} crystals: relax more, so that some can be held out")
    trained = each - ceil(each * held_out_share)
    for numbers in counts.values():
        training.update(numbers[:trained])
        held_out.update(numbers[trained:each])
    return ChosenCrystals(frozenset(training), frozenset(held_out))


def library_entries(library: Path) -> list[LibraryEntry]:
    """Read the records of a folder of relaxed crystals, in the order of their numbers.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    entries = [entry for path in sorted(library.glob("relaxed-*.h5")) for entry in read_entries(path)]
    if not entries:
        raise FileNotFoundError(f"no relaxed crystals in {library}: make them with 'braggwatch cxdp relax --out'")
    return sorted(entries, key=lambda entry: entry.index)


def regime_patterns(
    regime: Regime, plan: StudyPlan, folder: Path, on_shard: Callable[[ShardDone], None] | None = None
) -> tuple[list[Path], list[Path]]:
    """Make a regime's patterns: noiseless ones for training, and noisy ones of the held-out crystals."""
    chosen = choose_crystals(library_entries(regime.library), regime.per_class, plan.held_out_share)
    datasets: list[list[Path]] = []
    for spec, only in ((TRAINING_SPEC, chosen.training), (HELD_OUT_SPEC, chosen.held_out)):
        datasets.append(
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
    return datasets[0], datasets[1]


def count_regime_patterns(regime: Regime, plan: StudyPlan) -> int:
    """Return how many patterns `regime_patterns` makes."""
    chosen = choose_crystals(library_entries(regime.library), regime.per_class, plan.held_out_share)
    return (len(chosen.training) + len(chosen.held_out)) * plan.patterns_per_crystal


def count_common_patterns(test: CommonTestSet) -> int:
    """Return how many patterns `common_patterns` makes."""
    library = CrystalLibrary(test.library, labels=test.spec.classes, population=test.spec.population)
    return len(library) * test.patterns_per_crystal


def common_patterns(
    test: CommonTestSet, workers: int, folder: Path, on_shard: Callable[[ShardDone], None] | None = None
) -> list[Path]:
    """Make the patterns of a common test set."""
    return make_dataset(
        folder,
        test.spec,
        count_common_patterns(test),
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
    """Train on one regime's patterns and test on its held-out crystals and on the common test sets.

    Parameters
    ----------
    tests
        Shards of each test set.
    work
        Folder of the training's log and checkpoint; an interrupted training resumes from there.
    """
    torch.manual_seed(seed)
    source, held_out_samples = LabelledShards(training), LabelledShards(held_out)
    log = work / "log.jsonl"
    network = train(
        make_network("foveated", len(CLASSES)),
        source,
        held_out_samples,
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
        predictions = predict_with_network(network, samples.labelled(), CLASSES)
        of_classes = [prediction for prediction in predictions if prediction.label in CLASSES]
        if of_classes:
            labelled[test] = _summary(of_classes, model)
        unclassed = score_unclassed(predictions, CLASSES)
        if unclassed:
            mixed[test] = unclassed
    return RegimeRecord(
        regime=name,
        seed=seed,
        steps=plan.steps,
        batch=plan.batch,
        crystals=len({(info.source, info.config) for info in source.infos}),
        patterns=len(source),
        training_seconds=_seconds(log),
        held_out=_summary(predict_with_network(network, held_out_samples.labelled(), CLASSES), model),
        tests=labelled,
        mixed=mixed,
    )


def _summary(predictions: Sequence[Prediction], model: str) -> Evaluation:
    return replace(summarise(predictions, CLASSES, model, "torch-cpu"), mistakes=())


def _seconds(log: Path) -> float:
    return float(json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["seconds"])
