"""From shards to a bundle: train, export, calibrate on crystals not used in training, test on others, write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from braggwatch.models.bundling.bundle import WEIGHTS_FILE
from braggwatch.models.bundling.finishing import BundleStatement, calibrated_graph, finish_bundle
from braggwatch.models.bundling.manifest import BundleMetrics, InputSpec, Provenance
from braggwatch.models.bundling.tasks import DEFECT_TASK
from braggwatch.models.cxdp.calibration import run_volumes
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.cxdp.evaluation import Evaluation
from braggwatch.models.cxdp.presentation import PatternPresentation
from braggwatch.models.cxdp.report import write_report
from braggwatch.models.cxdp.symmetry import SymmetryCopies
from braggwatch.models.learning.training import train
from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.networks.factory import NamedClasses, NetworkKind, make_network, take_weights
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.uncertainty.outlier_head import OutlierHead
from braggwatch.models.uncertainty.trust import FittedTrust, fit_trust
from braggwatch.services.cxdp.training.bundle_card import card_text
from braggwatch.services.cxdp.training.bundle_testing import run_test
from braggwatch.services.cxdp.training.labelled_shards import (
    LabelledShards,
    Part,
    PartName,
    Split,
    crystal_of,
    find_shards,
)
from braggwatch.services.cxdp.training.training_facts import TrainingFacts, training_facts
from braggwatch.services.version import tool_version
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.cxdp.shards import shard_facts
from braggwatch.sim.errors import InputError

__all__ = [
    "BundleRecipe",
    "calibration_samples",
    "find_shards",
    "make_bundle",
    "run_test",
    "train_network",
    "training_samples",
    "write_tested_bundle",
]

_WATCHED_SHARDS = 4
_GOLDEN = 4


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
    test, test_outliers
        Shards of further crystals and outliers, for the scores in the manifest.
    split
        Divides the shards by crystal, if training, calibration and test are the same shards.
    largest_line_offset
        Train and calibrate with dislocations up to this distance from the centre, in cube roots of the crystal's
        volume; None: all. The test always uses all.
    start_from
        A bundle's folder to start training from its weights; None: random weights.
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
    network: NetworkKind = "foveated"
    split: Split | None = None
    largest_line_offset: float | None = None
    start_from: Path | None = None
    copies: SymmetryCopies = 4
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


def train_network(recipe: BundleRecipe, folder: Path, on_step: Callable[[int, float], None] | None = None) -> nn.Module:
    """Train a recipe's network on its shards; resumes from ``folder``.

    Raises
    ------
    InputError
        If the weights to start from belong to another network.
    """
    torch.manual_seed(recipe.config.seed)
    network = make_network(recipe.network, len(CLASSES) + bool(recipe.outliers))
    if recipe.start_from is not None:
        try:
            take_weights(network, load_safetensors((recipe.start_from / WEIGHTS_FILE).read_bytes()))
        except InputError as error:
            raise InputError(f"the weights of {recipe.start_from} belong to another network") from error
    monitored = recipe.calibration if recipe.split is not None else recipe.calibration[:_WATCHED_SHARDS]
    validation = calibration_samples(recipe, monitored)
    return train(
        network,
        training_samples(recipe),
        validation,
        recipe.config,
        folder,
        on_step,
        presentation=PatternPresentation(),
    )


def make_bundle(
    recipe: BundleRecipe, network: nn.Module, facts: TrainingFacts, root: Path, metrics: BundleMetrics | None, card: str
) -> Path:
    """Calibrate a trained network and write its bundle.

    Parameters
    ----------
    network
        As `train_network` returns it.
    facts
        What its training set covers.
    root
        Folder of bundles.
    metrics, card
        Test results, for the manifest and for readers.
    """
    calibration = calibration_samples(recipe, recipe.calibration)

    def calibrate(runtime: Runtime) -> FittedTrust:
        volumes = run_volumes(
            runtime,
            (calibration.counts(i) for i in range(len(calibration))),
            facts.fringe_period_voxels,
            recipe.copies,
        )
        fit = fit_trust(
            volumes.outputs,
            calibration.labels,
            [crystal_of(info) for info in calibration.infos],
            confidence=recipe.confidence,
            significance=recipe.significance,
            ood_quantile=recipe.ood_quantile,
            outlier_head=_outlier_head(network) if recipe.outliers else None,
            outlier_quantile=recipe.outlier_quantile,
        )
        return volumes.with_volume_limits(fit)

    graph = calibrated_graph(
        NamedClasses(network, len(CLASSES)), InputSpec(fringe_period_voxels=facts.fringe_period_voxels), calibrate
    )
    statement = BundleStatement(
        name=recipe.name,
        version=recipe.version,
        task=DEFECT_TASK,
        classes=CLASSES,
        symmetry_copies=recipe.copies,
        valid_domain=facts.valid_domain(),
        provenance=Provenance(
            training_sets=dict(facts.hashes),
            code_version=tool_version(),
            seed=recipe.config.seed,
            network=recipe.network,
            specifications=tuple(facts.specifications),
        ),
        metrics=metrics,
    )
    golden = np.stack([calibration.counts(i) for i in range(min(_GOLDEN, len(calibration)))])
    return finish_bundle(root, graph, statement, trained=network, golden=golden, card=lambda _: card)


def _outlier_head(network: nn.Module) -> OutlierHead:
    """Return the output of the outlier class, which follows the named classes."""
    weights = network.state_dict()
    row = weights["head.weight"][len(CLASSES)].double().numpy()
    return OutlierHead(row, float(weights["head.bias"][len(CLASSES)]))


def write_tested_bundle(
    recipe: BundleRecipe,
    network: nn.Module,
    root: Path,
    work: Path,
    on_shard: Callable[[int, int], None] | None = None,
) -> tuple[Path, Evaluation]:
    """Write a bundle that carries its own test scores, with report.html and evaluation.json in ``work``.

    Parameters
    ----------
    on_shard
        Called with (test shards done, test shards in total).
    """
    facts = training_facts(tuple(dict.fromkeys(recipe.training)), recipe.part("training"))
    with TemporaryDirectory(dir=work) as folder:
        draft = make_bundle(recipe, network, facts, Path(folder), None, "draft")
        evaluation = run_test(
            BundleClassifier.load(draft, threads=1),
            recipe.test,
            recipe.test_outliers,
            part=recipe.part("test"),
            workers=recipe.test_workers,
            on_shard=on_shard,
        )
    (work / "evaluation.json").write_text(evaluation.to_json(), encoding="utf-8")
    write_report(evaluation, work / "report.html")
    card = card_text(
        f"{recipe.name}/{recipe.version}",
        facts,
        evaluation,
        outliers=Counter(info.label for path in dict.fromkeys(recipe.outliers) for info in shard_facts(path).infos),
        further_from=None if recipe.start_from is None else f"{recipe.start_from.parent.name}/{recipe.start_from.name}",
    )
    return make_bundle(recipe, network, facts, root, evaluation.metrics(), card), evaluation
