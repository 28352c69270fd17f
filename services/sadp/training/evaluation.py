"""Score a network for electron diffraction patterns: classes, space groups from several patterns, rejections."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.bundling.manifest import Manifest
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.sadp.augmentation import MicroscopeSettings, measured_maps, undisturbed
from braggwatch.models.sadp.crystal import combine
from braggwatch.models.sadp.groups import GroupTable
from braggwatch.models.sadp.lattice_map import MAP_SHAPE
from braggwatch.models.sadp.outliers import outlier_spots
from braggwatch.models.sadp.samples import MOST_SPOTS, padded_spots
from braggwatch.models.uncertainty.calibration import expected_calibration_error
from braggwatch.models.uncertainty.ood import sample_scores
from braggwatch.models.uncertainty.trust import FittedTrust
from braggwatch.sim.sadp.pattern_set import PatternSet

PAPER_ACCURACY = 0.92607
"""Ra et al., RSC Adv. 11, 38307 (2021): best validation accuracy over 60 classes, ResNet101, split by CIF."""
ENSEMBLES = (1, 2, 4, 8, 16)
_COPIES = 8
_OUTLIERS = 400
_DRAWS = 4
_LARGEST_TEST = 4000
_THICK = "Patterns of thick foils by Bloch waves, floor 0.1 %: class accuracy {:.1%}."


@dataclass(frozen=True, slots=True)
class ConditionScore:
    """Scores of patterns under one condition.

    Attributes
    ----------
    class_accuracy
        Share of patterns whose most probable class is correct.
    group_by_product, group_by_mean
        Share of crystals whose most probable space group is correct, by number of patterns along different zones (fewer
        if fewer zones show the lattice); in a tie of n groups the correct one counts as 1/n.
    """

    class_accuracy: float
    group_by_product: Mapping[int, float]
    group_by_mean: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class SadpEvaluation:
    """Result of a test.

    Attributes
    ----------
    split_by
        'structure' or 'prototype'.
    samples, structures
        Numbers of patterns and structures in the test set.
    clean
        Scores without disturbances, by the intensity floor (share of the brightest spot) below which spots are lost.
    microscope
        Score with the disturbances used in training.
    calibration_error
        Expected calibration error of the class probabilities in the microscope condition.
    dynamical
        Class accuracy on patterns of thick foils at a floor of 0.1 %; None if there were none.
    thick_learnt
        Share of thick-foil patterns in the training set.
    wrongly_refused
        Share of the test patterns rejected as none of the classes.
    refused
        Share of rejected patterns among those of lattices that no cubic zone has.
    """

    split_by: str
    samples: int
    structures: int
    clean: Mapping[str, ConditionScore]
    microscope: ConditionScore
    calibration_error: float
    wrongly_refused: float
    refused: float
    dynamical: float | None = None
    thick_learnt: float = 0.0

    def to_json(self) -> str:
        """Return the result as indented JSON."""
        return json.dumps(asdict(self), indent=2)


def evaluate_patterns(
    runtime: Runtime,
    patterns: PatternSet,
    chosen: NDArray[np.int64],
    table: GroupTable,
    classes: int,
    fit: FittedTrust,
    *,
    split_by: str,
    thick_learnt: float = 0.0,
) -> SadpEvaluation:
    """Test a network on patterns not used in training.

    Parameters
    ----------
    runtime
        Runtime of the network with the calibrated temperature.
    chosen
        Numbers of the test patterns.
    classes
        Number of classes; the network has one more output, for patterns of no class.
    """
    rng = np.random.default_rng(5)
    thick = chosen[patterns.dynamical[chosen]]
    chosen = chosen[~patterns.dynamical[chosen]] if len(thick) < len(chosen) else chosen
    sample = np.sort(rng.permutation(chosen)[:_LARGEST_TEST])
    thick = np.sort(rng.permutation(thick)[:_LARGEST_TEST])
    dynamical: float | None = None
    if len(thick):
        probabilities, _ = _run(runtime, padded_spots(patterns, thick), undisturbed(1e-3))
        dynamical = float((probabilities.argmax(axis=1) == patterns.class_label[thick]).mean())
    clean: dict[str, ConditionScore] = {}
    for floor in (4e-3, 1e-3, 1e-4):
        probabilities, _ = _run(runtime, padded_spots(patterns, sample), undisturbed(floor))
        clean[f"{floor:g}"] = _score(probabilities, patterns, sample, table, classes)
    probabilities, features = _run(runtime, padded_spots(patterns, sample), MicroscopeSettings())
    outliers, outlier_features = _run(
        runtime, outlier_spots(_OUTLIERS, MOST_SPOTS, table, seed=6), MicroscopeSettings()
    )
    labels = patterns.class_label[sample].astype(np.int64)
    return SadpEvaluation(
        split_by=split_by,
        samples=len(sample),
        structures=len(np.unique(patterns.structure[sample])),
        clean=clean,
        microscope=_score(probabilities, patterns, sample, table, classes),
        calibration_error=expected_calibration_error(probabilities, labels),
        wrongly_refused=float(_rejected(probabilities, features, fit, classes).mean()),
        dynamical=dynamical,
        thick_learnt=thick_learnt,
        refused=float(_rejected(outliers, outlier_features, fit, classes).mean()),
    )


def _run(
    runtime: Runtime, spots: NDArray[np.float32], settings: MicroscopeSettings
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return mean probabilities (N, K + 1) and features (N, copies, F)."""
    probabilities, features = [], []
    for at in range(0, len(spots), 128):
        batch = spots[at : at + 128]
        maps = measured_maps(batch, np.arange(at, at + len(batch)) + 777_000, settings, _COPIES)
        output = runtime.run(np.ascontiguousarray(maps.reshape(-1, *MAP_SHAPE)))
        each = output.probabilities.astype(np.float64).reshape(len(batch), _COPIES, -1).mean(axis=1)
        probabilities.append(each / each.sum(axis=1, keepdims=True))
        features.append(output.features.reshape(len(batch), _COPIES, -1))
    return np.concatenate(probabilities), np.concatenate(features)


def _rejected(
    probabilities: NDArray[np.float64], features: NDArray[np.float32], fit: FittedTrust, classes: int
) -> NDArray[np.bool_]:
    scores = sample_scores(fit.arrays.detector, features)
    return (probabilities.argmax(axis=1) == classes) | (scores > fit.thresholds.ood)


def _score(
    probabilities: NDArray[np.float64],
    patterns: PatternSet,
    chosen: NDArray[np.int64],
    table: GroupTable,
    classes: int,
) -> ConditionScore:
    labels = patterns.class_label[chosen]
    product: dict[int, list[float]] = {count: [] for count in ENSEMBLES}
    mean: dict[int, list[float]] = {count: [] for count in ENSEMBLES}
    rng = np.random.default_rng(8)
    zones = patterns.zone[chosen]
    for number in np.unique(patterns.structure[chosen]):
        of_structure = np.flatnonzero(patterns.structure[chosen] == number)
        truth = table.groups.index(str(patterns.structures[int(number)].space_group))
        for _ in range(_DRAWS):
            # one pattern per zone, as in a tilt series
            shuffled = rng.permutation(of_structure)
            _, first = np.unique(zones[shuffled], axis=0, return_index=True)
            walk = shuffled[rng.permutation(first)]
            for count in ENSEMBLES:
                # a small cell shows its lattice along fewer zones: use all of them
                result = combine(probabilities[walk[: min(count, len(walk))], : classes + 1], table)
                product[count].append(_share_right(result.product, truth))
                mean[count].append(_share_right(result.mean, truth))
    return ConditionScore(
        class_accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
        group_by_product={count: float(np.mean(values)) for count, values in product.items() if values},
        group_by_mean={count: float(np.mean(values)) for count, values in mean.items() if values},
    )


def _share_right(values: NDArray[np.float64], truth: int) -> float:
    best = values >= values.max() - 1e-6
    return float(best[truth]) / float(best.sum())


def card_text(
    manifest: Manifest,
    evaluation: SadpEvaluation,
    structures: Mapping[str, int],
    borrowed: int,
    *,
    started: bool = False,
) -> str:
    """Return the bundle's card in Markdown.

    Parameters
    ----------
    structures
        Number of structures in each part: training, calibration, test.
    borrowed
        Classes whose calibration needed patterns of training structures.
    started
        Whether training started from weights that had learnt from structures that aren't known.
    """
    counted = ", ".join(f"{name} {count}" for name, count in structures.items())
    rows = (
        "\n".join(_row(f"floor {float(floor):.2%}", score) for floor, score in evaluation.clean.items())
        + "\n"
        + _row("with a microscope's disturbances", evaluation.microscope)
    )
    thick = "" if evaluation.dynamical is None else f"\n{_THICK.format(evaluation.dynamical)}\n"
    calibration_note = (
        f" {borrowed} classes had too few calibration structures and were calibrated with training patterns with new "
        "disturbances: their p-values are too optimistic."
        if borrowed
        else ""
    )
    apart = (
        "of which this training saw none; what the weights that it started from had learnt from isn't known"
        if started
        else "used nowhere else: the parts were divided by structure, and compared"
    )
    return f"""# {manifest.name} {manifest.version}

Assigns each zone-axis electron diffraction pattern of a cubic crystal to one of {len(manifest.classes) - 1} classes of
look-alike patterns, and determines the space group (213, 221, 225, 227, 229) from one or several patterns.

**Trained on** patterns of simulated foils, {evaluation.thick_learnt:.0%} of them by Bloch waves, the others kinematic,
as lists of spots with new disturbances each time; no measured patterns. Structures: {counted}, divided by
{evaluation.split_by}.{calibration_note} Patterns that do not show the plane lattice of their zone were left out.

**Tested on** {evaluation.samples} kinematic patterns of {evaluation.structures} structures,
{apart}.
Spots weaker than the floor, a share of the brightest, are lost. Published for comparison: {PAPER_ACCURACY:.1%} for 60
classes on undisturbed pictures with a split by structure.

| patterns | class | group from 1, product | 4 | 16 | 16, mean |
|---|---|---|---|---|---|
{rows}
{thick}
Calibration error {evaluation.calibration_error:.3f}. Of patterns of lattices that no cubic zone shows,
{evaluation.refused:.1%} are rejected; of good ones {evaluation.wrongly_refused:.1%}.

**Limits.** In thick foils double diffraction brings forbidden reflections back, so 227 may be classified as 225. Other
cubic groups are classified as the one they look like (212 as 213; 195, 200, 215 as 221; 196, 202, 216 as 225; 197, 199,
204, 211, 217 as 229). Zones other than the sixteen shortest are not covered.
"""


def _row(name: str, score: ConditionScore) -> str:
    product, mean = score.group_by_product, score.group_by_mean
    cells = [f"{product[count]:.1%}" if count in product else "" for count in (1, 4, 16)]
    last = f"{mean[16]:.1%}" if 16 in mean else ""
    return f"| {name} | {score.class_accuracy:.1%} | {' | '.join(cells)} | {last} |"
