"""Measure a bundle as deployed: over labelled volumes, and over things that are none of its classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor, log10, sqrt

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from braggwatch.models.calibration import ReliabilityBin, expected_calibration_error, reliability_table
from braggwatch.models.classifier import Classifier
from braggwatch.models.manifest import BundleMetrics, GroupAccuracy
from braggwatch.models.ood import auroc
from braggwatch.models.verdict import Outcome, Verdict

PERFECT = "perfect"
_CALIBRATION_BINS = 15
_LINE_OFFSET_EDGES = (0.0, 0.1, 0.3, 0.6, float("inf"))


@dataclass(frozen=True, slots=True)
class LabelledVolume:
    """One test pattern.

    Attributes
    ----------
    counts
        (64, 64, 64) float32 raw counts, axis 0 along Q.
    label
        True class, by name.
    configuration
        Identifies the crystal: patterns of one crystal aren't independent.
    element
        Chemical symbol, where known.
    line_offset
        Distance of the dislocation line from the particle's centre over the lateral size, where there is a line.
    """

    counts: NDArray[np.float32]
    label: str
    configuration: str
    element: str | None = None
    line_offset: float | None = None


Loader = Callable[[], Iterable[LabelledVolume]]
"""Opens a labelled data set, whatever its files look like; called once an evaluation."""

AlienLoader = Callable[[], Iterable[NDArray[np.float32]]]
"""Opens volumes of one kind that no class of the bundle describes."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was said of one labelled pattern, without its volume.

    Attributes
    ----------
    peak_counts
        Largest voxel.
    probabilities
        Of every class; None where no network ran (invalid, error).
    """

    label: str
    configuration: str
    element: str | None
    line_offset: float | None
    peak_counts: float
    outcome: Outcome
    probabilities: tuple[float, ...] | None
    ood_score: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy with a 95 % Wilson interval whose sample size is the number of independent crystals.

    That is on the careful side: it takes all patterns of a crystal for one.
    """

    group: str
    samples: int
    configurations: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class AlienScore:
    """How well one kind of alien input is set aside.

    Attributes
    ----------
    auroc
        Of the feature distance alone, against the labelled set; None where no volume reached the network.
    set_aside
        Fraction that got no class, by whatever check.
    named
        Fraction that was given a class: the failures.
    """

    kind: str
    samples: int
    auroc: float | None
    set_aside: float
    named: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything measured, as plain values.

    Attributes
    ----------
    model
        Bundle id and runtime.
    confusion
        K rows (truth) of K counts (most probable class), whatever the gates said.
    overall, perfect_vs_defect
        Of the most probable class over all patterns that a network saw. None where there is no 'perfect' class.
    named
        Of the patterns that were given a class.
    coverage
        Fraction of all patterns that were given a class.
    calibration_error, calibration_bins
        Expected calibration error and the number of equal-width bins that it depends on.
    """

    model: str
    runtime: str
    classes: tuple[str, ...]
    samples: int
    configurations: int
    outcomes: dict[str, int]
    confusion: tuple[tuple[int, ...], ...]
    overall: Score
    perfect_vs_defect: Score | None
    named: Score | None
    coverage: float
    calibration_error: float
    calibration_bins: int
    reliability: tuple[ReliabilityBin, ...]
    by_counts: tuple[Score, ...]
    by_element: tuple[Score, ...]
    by_line_offset: tuple[Score, ...]
    aliens: tuple[AlienScore, ...] = ()

    def to_json(self) -> str:
        """Serialise; :meth:`from_json` gives an equal object."""
        return _ADAPTER.dump_json(self, indent=2).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Evaluation:
        """Read what :meth:`to_json` wrote; raises pydantic's ValidationError, a ValueError, for anything else."""
        return _ADAPTER.validate_json(text)

    def metrics(self) -> BundleMetrics:
        """Return the part that travels in a bundle's manifest."""
        return BundleMetrics(
            samples=self.samples,
            configurations=self.configurations,
            accuracy=self.overall.accuracy,
            perfect_vs_defect_accuracy=None if self.perfect_vs_defect is None else self.perfect_vs_defect.accuracy,
            expected_calibration_error=self.calibration_error,
            by_counts=tuple(_group_accuracy(one) for one in self.by_counts),
            by_element=tuple(_group_accuracy(one) for one in self.by_element),
            ood_auroc={one.kind: one.auroc for one in self.aliens if one.auroc is not None},
        )


_ADAPTER: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)


def _group_accuracy(score: Score) -> GroupAccuracy:
    return GroupAccuracy(group=score.group, samples=score.samples, accuracy=score.accuracy)


def wilson_interval(successes: float, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, J. Am. Stat. Assoc. 22, 209, 1927); ``successes`` may be fractional."""
    if trials < 1 or not 0.0 <= successes <= trials:
        raise ValueError(f"need 0 ≤ successes ≤ trials and a trial, got {successes} of {trials}")
    z = 1.959964
    p = successes / trials
    middle = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p))


def predict(classifier: Classifier, volumes: Iterable[LabelledVolume], classes: Sequence[str]) -> list[Prediction]:
    """Classify every volume as in service, keeping what an evaluation needs and none of the volumes."""
    return [_prediction(one, classifier.classify(one.counts), classes) for one in volumes]


def _prediction(volume: LabelledVolume, verdict: Verdict, classes: Sequence[str]) -> Prediction:
    seen = verdict.probabilities
    return Prediction(
        label=volume.label,
        configuration=volume.configuration,
        element=volume.element,
        line_offset=volume.line_offset,
        peak_counts=float(volume.counts.max()),
        outcome=verdict.outcome,
        probabilities=tuple(seen[name] for name in classes) if seen else None,
        ood_score=verdict.ood_score,
    )


def summarise(predictions: Sequence[Prediction], classes: Sequence[str], model: str, runtime: str) -> Evaluation:
    """Condense predictions.

    Raises
    ------
    ValueError
        If a label is none of the classes, or the network saw no pattern at all.
    """
    unknown = sorted({one.label for one in predictions} - set(classes))
    if unknown:
        raise ValueError(f"labels {unknown} are none of the classes {list(classes)}")
    judged = [one for one in predictions if one.probabilities is not None]
    if not judged:
        raise ValueError("no pattern reached the network")
    probabilities = np.array([one.probabilities for one in judged])
    truth = np.array([classes.index(one.label) for one in judged])
    best = probabilities.argmax(axis=1)
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (truth, best), 1)
    right = dict(zip(map(id, judged), (best == truth).tolist(), strict=True))

    def score(group: str, members: Sequence[Prediction]) -> Score:
        return _score(group, members, [right[id(one)] for one in members])

    def scores(key: Callable[[Prediction], tuple[float, str] | None]) -> tuple[Score, ...]:
        groups: dict[tuple[float, str], list[Prediction]] = {}
        for one in judged:
            place = key(one)
            if place is not None:
                groups.setdefault(place, []).append(one)
        return tuple(score(place[1], groups[place]) for place in sorted(groups))

    defect = None
    if PERFECT in classes:
        perfect = list(classes).index(PERFECT)
        defect = _score("perfect or defect", judged, ((best == perfect) == (truth == perfect)).tolist())
    classified = [one for one in judged if one.outcome is Outcome.CLASSIFIED]
    return Evaluation(
        model=model,
        runtime=runtime,
        classes=tuple(classes),
        samples=len(predictions),
        configurations=len({one.configuration for one in predictions}),
        outcomes=dict(sorted(Counter(one.outcome.value for one in predictions).items())),
        confusion=tuple(tuple(int(value) for value in row) for row in confusion),
        overall=score("all", judged),
        perfect_vs_defect=defect,
        named=score("named", classified) if classified else None,
        coverage=len(classified) / len(predictions),
        calibration_error=expected_calibration_error(probabilities, truth, _CALIBRATION_BINS),
        calibration_bins=_CALIBRATION_BINS,
        reliability=reliability_table(probabilities, truth, _CALIBRATION_BINS),
        by_counts=scores(_counts_decade),
        by_element=scores(lambda one: None if one.element is None else (0.0, one.element)),
        by_line_offset=scores(_offset_band),
    )


def _score(group: str, members: Sequence[Prediction], right: Sequence[bool]) -> Score:
    crystals = len({one.configuration for one in members})
    accuracy = sum(right) / len(right)
    low, high = wilson_interval(accuracy * crystals, crystals)
    return Score(group, len(members), crystals, accuracy, low, high)


def _counts_decade(one: Prediction) -> tuple[float, str] | None:
    if one.peak_counts <= 0.0:
        return None
    decade = floor(log10(one.peak_counts))
    return float(decade), f"1e{decade} to 1e{decade + 1}"


def _offset_band(one: Prediction) -> tuple[float, str] | None:
    if one.line_offset is None:
        return None
    distance = abs(one.line_offset)
    for low, high in pairwise(_LINE_OFFSET_EDGES):
        if low <= distance < high:
            return low, f"{low:g} to {high:g}" if high < float("inf") else f"from {low:g}"
    return None


def score_aliens(
    classifier: Classifier, kind: str, volumes: Iterable[NDArray[np.float32]], inside: Sequence[Prediction]
) -> AlienScore:
    """Show a classifier volumes that are none of its classes.

    Parameters
    ----------
    kind
        What they are, e.g. 'flat noise'.
    inside
        Predictions of in-distribution patterns, whose distances the aliens' are compared with.

    Raises
    ------
    ValueError
        If there is no volume.
    """
    verdicts = [classifier.classify(volume) for volume in volumes]
    if not verdicts:
        raise ValueError(f"no volume of kind {kind!r}")
    alien = np.array([one.ood_score for one in verdicts if one.ood_score is not None])
    usual = np.array([one.ood_score for one in inside if one.ood_score is not None])
    named = sum(one.outcome is Outcome.CLASSIFIED for one in verdicts) / len(verdicts)
    return AlienScore(
        kind=kind,
        samples=len(verdicts),
        auroc=auroc(usual, alien) if alien.size and usual.size else None,
        set_aside=1.0 - named,
        named=named,
    )


def evaluate(
    classifier: Classifier,
    classes: Sequence[str],
    loader: Loader,
    aliens: Mapping[str, AlienLoader] | None = None,
) -> Evaluation:
    """Run a classifier over a labelled set and over aliens by kind.

    Parameters
    ----------
    classifier
        As in service.
    classes
        Names in the order of the network's outputs.
    loader
        Opens the labelled set.
    aliens
        Loaders by kind.
    """
    predictions = predict(classifier, loader(), classes)
    identity = classifier.identity
    summary = summarise(predictions, classes, identity.id, identity.runtime)
    strange = tuple(
        score_aliens(classifier, kind, open_kind(), predictions) for kind, open_kind in (aliens or {}).items()
    )
    return replace(summary, aliens=strange)
