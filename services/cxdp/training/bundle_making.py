"""From shards to a bundle: train, export, calibrate on crystals not used in training, test on others, write."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from braggwatch.models.bundling.bundle import WEIGHTS_FILE
from braggwatch.models.bundling.finishing import BundleStatement, finish_bundle
from braggwatch.models.bundling.manifest import BundleMetrics, Provenance
from braggwatch.models.bundling.tasks import DEFECT_TASK
from braggwatch.models.cxdp.evaluation import Evaluation
from braggwatch.models.cxdp.presentation import PatternPresentation
from braggwatch.models.learning.training import train
from braggwatch.models.networks.factory import make_network, take_weights
from braggwatch.services.cxdp.training.bundle_card import card_text
from braggwatch.services.cxdp.training.bundle_recipe import BundleRecipe, calibration_samples, training_samples
from braggwatch.services.cxdp.training.bundle_testing import run_test
from braggwatch.services.cxdp.training.draft_testing import measured
from braggwatch.services.cxdp.training.labelled_shards import find_shards
from braggwatch.services.cxdp.training.network_calibration import CalibratedNetwork, calibrate_network
from braggwatch.services.cxdp.training.recipe_checks import check_recipe, recipe_separation
from braggwatch.services.cxdp.training.separation import SeparationCheck
from braggwatch.services.cxdp.training.training_facts import TrainingFacts, training_facts
from braggwatch.services.version import tool_version
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.cxdp.shards import shard_facts
from braggwatch.sim.errors import InputError
from braggwatch.sim.whole_file import writing

__all__ = [
    "BundleRecipe",
    "calibration_samples",
    "check_recipe",
    "find_shards",
    "make_bundle",
    "run_test",
    "train_network",
    "training_samples",
    "write_tested_bundle",
]

_WATCHED_SHARDS = 4


def train_network(recipe: BundleRecipe, folder: Path, on_step: Callable[[int, float], None] | None = None) -> nn.Module:
    """Train a recipe's network on its shards; resumes from ``folder`` what this very recipe began there.

    Raises
    ------
    InputError
        If the weights to start from belong to another network, or ``folder`` holds another training.
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
        settings=_named_settings(recipe),
    )


def _named_settings(recipe: BundleRecipe) -> dict[str, str]:
    """Return what decides the weights besides the configuration, by the options that a user knows."""
    start = "random weights"
    if recipe.start_from is not None:
        digest = hashlib.sha256((recipe.start_from / WEIGHTS_FILE).read_bytes()).hexdigest()[:16]
        start = f"{recipe.start_from.parent.name}/{recipe.start_from.name} ({digest})"
    offset = recipe.largest_line_offset
    return {
        "--network": recipe.network,
        "--from": start,
        "--largest-line-offset": "any" if offset is None else f"{offset:g}",
        "the classes": ", ".join((*CLASSES, *(("outliers",) if recipe.outliers else ()))),
    }


def make_bundle(
    recipe: BundleRecipe,
    calibrated: CalibratedNetwork,
    facts: TrainingFacts,
    root: Path,
    metrics: BundleMetrics | None,
    card: str,
    checked: SeparationCheck | None = None,
) -> Path:
    """Write the bundle of a calibrated network.

    Parameters
    ----------
    facts
        What its training set covers.
    root
        Folder of bundles.
    metrics, card
        Test results, for the manifest and for readers.
    checked
        How training, calibration and test are kept apart, for the manifest.
    """
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
            learnt=None if checked is None else checked.learnt,
            separation=None if checked is None else checked.separation,
        ),
        metrics=metrics,
        prior=calibrated.prior,
        visible_region=calibrated.region,
    )
    return finish_bundle(
        root, calibrated.graph, statement, trained=calibrated.network, golden=calibrated.golden, card=lambda _: card
    )


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
    facts = training_facts(
        tuple(dict.fromkeys(recipe.training)),
        recipe.part("training"),
        recipe.largest_line_offset,
        outliers=tuple(dict.fromkeys(recipe.outliers)),
    )
    checked = recipe_separation(recipe)
    calibrated, evaluation = measured(
        recipe,
        calibrate_network(recipe, network, facts.fringe_period_voxels),
        lambda draft, folder: make_bundle(recipe, draft, facts, folder, None, "draft"),
        work,
        on_shard,
    )
    card = card_text(
        f"{recipe.name}/{recipe.version}",
        facts,
        evaluation,
        checked.separation,
        outliers=Counter(info.label for path in dict.fromkeys(recipe.outliers) for info in shard_facts(path).infos),
        further_from=None if recipe.start_from is None else f"{recipe.start_from.parent.name}/{recipe.start_from.name}",
    )
    with writing(root / recipe.name / recipe.version):
        return make_bundle(recipe, calibrated, facts, root, evaluation.metrics(), card, checked), evaluation
