"""Measure a bundle as deployed: over labelled volumes, and over things that are none of its classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from braggwatch.models.bundling.manifest import BundleMetrics, GroupAccuracy
from braggwatch.models.cxdp.classifier import Classifier
from braggwatch.models.cxdp.group_scores import CALIBRATION_BINS, GroupScore, group_scores
from braggwatch.models.cxdp.groups import (
    by_artefact,
    by_aspect,
    by_blur,
    by_completeness,
    by_counts,
    by_element,
    by_lattice,
    by_line_offset,
    by_reflection,
    by_source,
    by_strain,
    by_visibility,
)
from braggwatch.models.cxdp.lines_anywhere import LinesAnywhere, score_lines_anywhere
from braggwatch.models.cxdp.mistakes import Mistake, worst_mistakes
from braggwatch.models.cxdp.predictions import (
    NO_ARTEFACT,
    LabelledVolume,
    Loader,
    OutlierLoader,
    Prediction,
    predict,
)
from braggwatch.models.cxdp.scores import Score, score_of, wilson_interval
from braggwatch.models.cxdp.unclassed import PERFECT, UnclassedScore, is_unclassed, score_unclassed
from braggwatch.models.uncertainty.calibration import ReliabilityBin, expected_calibration_error, reliability_table
from braggwatch.models.uncertainty.ood import auroc
from braggwatch.models.uncertainty.risk_coverage import RiskCoverage, risk_coverage
from braggwatch.sim.errors import InputError

__all__ = [
    "Evaluation",
    "GroupScore",
    "LabelledVolume",
    "LinesAnywhere",
    "Loader",
    "Mistake",
    "OutlierLoader",
    "OutlierScore",
    "Prediction",
    "RiskCoverage",
    "Score",
    "UnclassedScore",
    "evaluate",
    "predict",
    "score_outliers",
    "summarise",
    "summarise_all",
    "wilson_interval",
]


@dataclass(frozen=True, slots=True)
class OutlierScore:
    """How well one kind of outlier input is set aside.

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
    by_counts, by_element, by_line_offset, by_reflection, by_visibility, by_completeness, by_strain, by_source, by_blur
        In groups; empty where the fact isn't known of any pattern.
    by_aspect, by_artefact, by_lattice
        Likewise.
    mistakes
        The worst: wrong classes that were named come first, the surest of them foremost.
    unclassed
        Crystals whose defect is none of the classes, counted nowhere else.
    calibration_error_unspoilt
        Of the patterns of which it is known that no artefact spoils them; None if there are none.
    risk_coverage
        How often a named class is wrong as the confidence asked for moves; None where none was named.
    lines_anywhere
        Where the lines lie, and the accuracy that counts them as they lie in a cross-section; None without lines.
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
    by_counts: tuple[GroupScore, ...]
    by_element: tuple[GroupScore, ...]
    by_line_offset: tuple[GroupScore, ...]
    aliens: tuple[OutlierScore, ...] = ()
    by_reflection: tuple[GroupScore, ...] = ()
    by_visibility: tuple[GroupScore, ...] = ()
    by_completeness: tuple[GroupScore, ...] = ()
    by_strain: tuple[GroupScore, ...] = ()
    by_source: tuple[GroupScore, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    unclassed: tuple[UnclassedScore, ...] = ()
    by_blur: tuple[GroupScore, ...] = ()
    by_aspect: tuple[GroupScore, ...] = ()
    by_artefact: tuple[GroupScore, ...] = ()
    by_lattice: tuple[GroupScore, ...] = ()
    calibration_error_unspoilt: float | None = None
    risk_coverage: RiskCoverage | None = None
    lines_anywhere: LinesAnywhere | None = None

    @property
    def groupings(self) -> tuple[tuple[str, str, tuple[GroupScore, ...]], ...]:
        """All groups that there are, for people: (what is grouped by, its unit or meaning, scores)."""
        every = (
            ("counts", "in the largest voxel", self.by_counts),
            ("element", "", self.by_element),
            ("lattice", "", self.by_lattice),
            ("reflection", "family", self.by_reflection),
            ("|g·b|", "of the line, where there is one", self.by_visibility),
            ("distance", "of the line from the centre, in cube roots of the volume", self.by_line_offset),
            ("completeness", "share of the rocking curve's frames", self.by_completeness),
            ("strain", "smooth, as phase in rad", self.by_strain),
            ("aspect", "longest over shortest extent", self.by_aspect),
            ("blur", "sigma, in fringes", self.by_blur),
            ("artefact", "that spoils the pattern", self.by_artefact),
            ("source", "of the crystal", self.by_source),
        )
        return tuple(one for one in every if one[2])

    def without_pictures(self) -> Evaluation:
        """Return the same without the mistakes' pictures, for terminals and scripts."""
        return replace(self, mistakes=tuple(replace(one, picture="") for one in self.mistakes))

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
            by_reflection=tuple(_group_accuracy(one) for one in self.by_reflection),
            by_source=tuple(_group_accuracy(one) for one in self.by_source),
            ood_auroc={one.kind: one.auroc for one in self.aliens if one.auroc is not None},
        )


_ADAPTER: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)


def _group_accuracy(score: Score) -> GroupAccuracy:
    return GroupAccuracy(group=score.group, samples=score.samples, accuracy=score.accuracy)


def summarise(predictions: Sequence[Prediction], classes: Sequence[str], model: str, runtime: str) -> Evaluation:
    """Condense predictions.

    Raises
    ------
    InputError
        If a label is none of the classes, or the network saw no pattern at all.
    """
    unknown = sorted({one.label for one in predictions} - set(classes))
    if unknown:
        raise InputError(f"labels {unknown} are none of the classes {list(classes)}")
    judged = [one for one in predictions if one.probabilities is not None]
    if not judged:
        raise InputError("no pattern reached the network")
    probabilities = np.array([one.probabilities for one in judged])
    truth = np.array([classes.index(one.label) for one in judged])
    best = probabilities.argmax(axis=1)
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (truth, best), 1)
    right: list[bool] = (best == truth).tolist()
    defect = None
    if PERFECT in classes:
        perfect = list(classes).index(PERFECT)
        defect = score_of("perfect or defect", judged, ((best == perfect) == (truth == perfect)).tolist())
    classified = [(one, mark) for one, mark in zip(judged, right, strict=True) if one.named]
    unspoilt = np.array([one.artefact == NO_ARTEFACT for one in judged])
    rings = group_scores(by_line_offset, predictions, classes)
    return Evaluation(
        model=model,
        runtime=runtime,
        classes=tuple(classes),
        samples=len(predictions),
        configurations=len({one.configuration for one in predictions}),
        outcomes=dict(sorted(Counter(one.outcome.value for one in predictions).items())),
        confusion=tuple(tuple(int(value) for value in row) for row in confusion),
        overall=score_of("all", judged, right),
        perfect_vs_defect=defect,
        named=score_of("named", [one for one, _ in classified], [mark for _, mark in classified])
        if classified
        else None,
        coverage=len(classified) / len(predictions),
        calibration_error=expected_calibration_error(probabilities, truth, CALIBRATION_BINS),
        calibration_bins=CALIBRATION_BINS,
        reliability=reliability_table(probabilities, truth, CALIBRATION_BINS),
        by_counts=group_scores(by_counts, predictions, classes),
        by_element=group_scores(by_element, predictions, classes),
        by_line_offset=rings,
        by_reflection=group_scores(by_reflection, predictions, classes),
        by_visibility=group_scores(by_visibility, predictions, classes),
        by_completeness=group_scores(by_completeness, predictions, classes),
        by_strain=group_scores(by_strain, predictions, classes),
        by_source=group_scores(by_source, predictions, classes),
        by_blur=group_scores(by_blur, predictions, classes),
        by_aspect=group_scores(by_aspect, predictions, classes),
        by_artefact=group_scores(by_artefact, predictions, classes),
        by_lattice=group_scores(by_lattice, predictions, classes),
        mistakes=worst_mistakes(judged, probabilities, right, classes),
        calibration_error_unspoilt=expected_calibration_error(
            probabilities[unspoilt], truth[unspoilt], CALIBRATION_BINS
        )
        if unspoilt.any()
        else None,
        risk_coverage=risk_coverage(
            [max(one.probabilities or (0.0,)) for one, _ in classified],
            [mark for _, mark in classified],
            len(predictions),
        ),
        lines_anywhere=score_lines_anywhere(predictions, classes, rings),
    )


def score_outliers(kind: str, strange: Sequence[Prediction], inside: Sequence[Prediction]) -> OutlierScore:
    """Score how a classifier takes patterns that are none of its classes.

    Parameters
    ----------
    kind
        What they are, e.g. 'flat noise'.
    strange
        Predictions of them.
    inside
        Predictions of in-distribution patterns, whose distances theirs are compared with.

    Raises
    ------
    InputError
        If there is no volume.
    """
    if not strange:
        raise InputError(f"no volume of kind {kind!r}")
    outlier = np.array([one.ood_score for one in strange if one.ood_score is not None])
    usual = np.array([one.ood_score for one in inside if one.ood_score is not None])
    named = sum(one.named for one in strange) / len(strange)
    return OutlierScore(
        kind=kind,
        samples=len(strange),
        auroc=auroc(usual, outlier) if outlier.size and usual.size else None,
        set_aside=1.0 - named,
        named=named,
    )


def summarise_all(predictions: Sequence[Prediction], classes: Sequence[str], model: str, runtime: str) -> Evaluation:
    """Condense predictions of patterns, and of what is none of the classes.

    A good crystal without a class (`unclassed`) is told of apart; every other label is an outlier.

    Raises
    ------
    ValueError
        If the network saw no labelled pattern at all.
    """
    inside = [one for one in predictions if one.label in classes]
    labels = sorted({one.label for one in predictions} - set(classes))
    outliers = tuple(
        score_outliers(kind, [one for one in predictions if one.label == kind], inside)
        for kind in labels
        if not is_unclassed(kind, classes)
    )
    unclassed = score_unclassed(predictions, classes)
    return replace(summarise(inside, classes, model, runtime), aliens=outliers, unclassed=unclassed)


def evaluate(
    classifier: Classifier,
    classes: Sequence[str],
    loader: Loader,
    outliers: Mapping[str, OutlierLoader] | None = None,
) -> Evaluation:
    """Run a classifier over a labelled set and over outliers by kind.

    Parameters
    ----------
    classifier
        As in service.
    classes
        Names in the order of the network's outputs.
    loader
        Opens the labelled set.
    outliers
        Loaders by kind.

    Raises
    ------
    ValueError
        If a label is neither a class nor of a crystal without one, or the network saw no labelled pattern at all.
    """
    found = predict(classifier, loader(), classes)
    predictions = [one for one in found if not is_unclassed(one.label, classes)]
    identity = classifier.identity
    summary = summarise(predictions, classes, identity.id, identity.runtime)
    return replace(
        summary,
        aliens=tuple(
            score_outliers(kind, predict(classifier, _unlabelled(kind, open_kind()), classes), predictions)
            for kind, open_kind in (outliers or {}).items()
        ),
        unclassed=score_unclassed(found, classes),
    )


def _unlabelled(kind: str, volumes: Iterable[NDArray[np.float32]]) -> Iterable[LabelledVolume]:
    return (LabelledVolume(volume, kind, configuration="") for volume in volumes)
