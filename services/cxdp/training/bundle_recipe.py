"""What goes into a CXDP bundle, and the samples that it opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from braggwatch.models.cxdp.symmetry import SymmetryCopies
from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.networks.factory import NetworkKind
from braggwatch.services.cxdp.training.labelled_shards import LabelledShards, Part, PartName, Split
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class BundleRecipe:
    """What goes into a bundle.

    Attributes
    ----------
    training, outliers
        Shards to train on; outliers are an extra class (outlier exposure) and may be empty. A shard named twice counts
        twice.
    calibration
        Shards of other crystals, for temperature, conformal scores and the distance threshold.
    lines
        Shards of lines out to the rim, of other crystals too, by which it is measured how far out lines are found;
        empty: those of the calibration.
    test, test_outliers
        Shards of further crystals and outliers, for the scores in the manifest.
    split
        Divides the shards by crystal, if training, calibration and test are the same shards.
    largest_line_offset
        Train and calibrate with dislocations up to this distance from the centre, in cube roots of the crystal's
        volume; None: all. The test always uses all.
    start_from
        A bundle's folder to start training from its weights; None: random weights.
    allow_overlap
        Go on where training, calibration and test share crystals: the card and the manifest say so.
    claimed_offset
        Prediction sets, and so a class that is named, speak of lines up to this far from the centre, in cube roots of
        the volume: further out a line may look like none, and no set would ever leave it out. How far out lines are
        found is measured beside it (`visible_region` of the manifest).
    named_right
        Share of the names that must be right on the calibration, in each class by itself: raises ``confidence`` to what
        that takes; None: it stays.
    confidence, ood_quantile, outlier_quantile
        Probability below which the verdict is ``unsure``; shares of in-distribution patterns that pass the gate on
        feature distance and the gate on the outlier class.
    test_workers
        Processes of the test.
    """

    name: str
    version: str
    training: tuple[Path, ...]
    outliers: tuple[Path, ...]
    calibration: tuple[Path, ...]
    test: tuple[Path, ...]
    test_outliers: tuple[Path, ...]
    config: TrainingConfig
    lines: tuple[Path, ...] = ()
    network: NetworkKind = "foveated"
    split: Split | None = None
    largest_line_offset: float | None = None
    start_from: Path | None = None
    allow_overlap: bool = False
    claimed_offset: float = 0.4
    copies: SymmetryCopies = 4
    named_right: float | None = None
    confidence: float = 0.7
    significance: float = 0.05
    ood_quantile: float = 0.999
    outlier_quantile: float = 0.995
    test_workers: int = 1

    def part(self, name: PartName) -> Part | None:
        """Return the part of the shards' crystals with this purpose; None: all."""
        return None if self.split is None else Part(self.split, name)


def training_samples(recipe: BundleRecipe) -> LabelledShards:
    """Open a recipe's training set, with any outliers as an extra class."""
    return LabelledShards(
        [*recipe.training, *recipe.outliers],
        outlier_class=bool(recipe.outliers),
        part=recipe.part("training"),
        largest_line_offset=recipe.largest_line_offset,
    )


def calibration_samples(recipe: BundleRecipe, shards: Sequence[Path]) -> LabelledShards:
    """Open the calibration crystals of some shards.

    Raises
    ------
    InputError
        If there are none.
    """
    samples = LabelledShards(shards, part=recipe.part("calibration"), largest_line_offset=recipe.largest_line_offset)
    if not len(samples):
        raise InputError("there are no crystals for calibration: make more, or give a folder of them")
    return samples


def line_samples(recipe: BundleRecipe) -> LabelledShards:
    """Open the crystals by which it is measured how far from the centre lines are found, wherever these lie."""
    return LabelledShards(recipe.lines or recipe.calibration, part=recipe.part("calibration"))


def samples_of_test(recipe: BundleRecipe) -> LabelledShards:
    """Open the test crystals of a recipe.

    Raises
    ------
    InputError
        If there are none.
    """
    samples = LabelledShards(recipe.test, part=recipe.part("test"))
    if not len(samples):
        raise InputError("there are no crystals for the test: make more, or give a folder of them")
    return samples
