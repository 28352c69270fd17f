"""What would spoil a training or its scores, found before the first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from braggwatch.models.bundling.registry import check_new_bundle
from braggwatch.models.learning.device import check_device
from braggwatch.services.cxdp.training.bundle_recipe import (
    BundleRecipe,
    calibration_samples,
    samples_of_test,
    training_samples,
)
from braggwatch.services.cxdp.training.labelled_shards import LabelledShards
from braggwatch.services.cxdp.training.separation import SeparationCheck, check_separation, crystals_in
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.cxdp.shards import verify_shard
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class RecipeCheck:
    """What a sound recipe's user should know before it is followed.

    Attributes
    ----------
    warnings
        In words, one sentence each.
    """

    separation: SeparationCheck
    warnings: tuple[str, ...]


def check_recipe(recipe: BundleRecipe, root: Path, on_shard: Callable[[int, int], None] | None = None) -> RecipeCheck:
    """Check a recipe: its bundle's name, device, classes, crystals, then every pattern of every shard.

    Parameters
    ----------
    root
        Folder of bundles that the new one is to be written to.
    on_shard
        Called with (shards read, shards in total).

    Raises
    ------
    InputError
        If the version is taken or no version, the device isn't here, a class lacks samples to learn from or to
        calibrate with, or training, calibration and test share crystals and the recipe doesn't allow it.
    ShardError
        If a shard is damaged; the text names it and the pattern.
    """
    check_new_bundle(root, recipe.name, recipe.version)
    check_device(recipe.config.device)
    separation = recipe_separation(recipe)
    warnings = list(_class_warnings(recipe))
    require_separation(separation, allow=recipe.allow_overlap)
    if separation.overlaps:
        warnings.append(f"the scores will be too good: {'; '.join(separation.overlaps)}")
    if separation.separation.shared_outliers:
        warnings.append(
            f"{separation.separation.shared_outliers} outliers are both shown in training and tested on: they are no "
            "test"
        )
    learnt, told = (*recipe.training, *recipe.outliers), (*recipe.calibration, *recipe.lines)
    paths = tuple(dict.fromkeys((*learnt, *told, *recipe.test, *recipe.test_outliers)))
    for number, path in enumerate(paths):
        verify_shard(path)
        if on_shard is not None:
            on_shard(number + 1, len(paths))
    return RecipeCheck(separation, tuple(warnings))


def require_separation(checked: SeparationCheck, *, allow: bool) -> None:
    """Refuse crystals in several parts, unless that is allowed.

    Raises
    ------
    InputError
        With the crystals, and what to do.
    """
    if checked.overlaps and not allow:
        raise InputError(
            f"a test on crystals that were learnt from says nothing: {'; '.join(checked.overlaps)}. Make sets of other "
            "numbers (--first), or state the overlap with --allow-overlap"
        )


def recipe_separation(recipe: BundleRecipe) -> SeparationCheck:
    """Compare the crystals that a recipe learns from, calibrates and tests on."""
    offset = recipe.largest_line_offset
    return check_separation(
        crystals_in((*recipe.training, *recipe.outliers), recipe.part("training"), offset),
        crystals_in((*recipe.calibration, *recipe.lines), recipe.part("calibration"), offset),
        crystals_in((*recipe.test, *recipe.test_outliers), recipe.part("test")),
        recipe.start_from,
        by_file=recipe.split is None,
    )


def _class_warnings(recipe: BundleRecipe) -> Sequence[str]:
    _require_classes(training_samples(recipe), "to learn from", "--data")
    _require_classes(calibration_samples(recipe, recipe.calibration), "to calibrate with", "--calibration")
    tested = _lacking(samples_of_test(recipe))
    return (
        [f"there is no {' and no '.join(tested)} among the test patterns: its score says nothing of it"]
        if tested
        else []
    )


def _require_classes(samples: LabelledShards, purpose: str, option: str) -> None:
    lacking = _lacking(samples)
    if lacking:
        raise InputError(
            f"there is no pattern of class {' and none of '.join(repr(name) for name in lacking)} {purpose}: see "
            f"{option}"
        )


def _lacking(samples: LabelledShards) -> list[str]:
    counts = np.bincount(samples.labels, minlength=len(CLASSES)) if len(samples) else np.zeros(len(CLASSES))
    return [name for name, count in zip(CLASSES, counts, strict=False) if not count]
