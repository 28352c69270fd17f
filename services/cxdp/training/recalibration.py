"""A bundle's network calibrated anew, on other crystals or by newer checks: a new version with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load as load_safetensors

from braggwatch.models.bundling.bundle import WEIGHTS_FILE, Bundle
from braggwatch.models.bundling.finishing import BundleStatement, finish_bundle
from braggwatch.models.bundling.manifest import BundleMetrics, Manifest
from braggwatch.models.bundling.registry import check_new_bundle
from braggwatch.models.bundling.tasks import DEFECT_TASK
from braggwatch.models.cxdp.evaluation import Evaluation
from braggwatch.models.networks.factory import network_from_weights
from braggwatch.services.cxdp.training.bundle_card import recalibrated_card
from braggwatch.services.cxdp.training.bundle_recipe import BundleRecipe
from braggwatch.services.cxdp.training.draft_testing import measured
from braggwatch.services.cxdp.training.network_calibration import CalibratedNetwork, calibrate_network
from braggwatch.services.cxdp.training.recipe_checks import recipe_separation, require_separation
from braggwatch.services.cxdp.training.separation import SeparationCheck
from braggwatch.sim.cxdp.shards import verify_shard
from braggwatch.sim.whole_file import writing


def recalibrate(
    former: Bundle,
    recipe: BundleRecipe,
    root: Path,
    work: Path,
    on_shard: Callable[[int, int], None] | None = None,
) -> tuple[Path, Evaluation]:
    """Calibrate a bundle's network and write it as a new version, with report.html in ``work``.

    Parameters
    ----------
    former
        The bundle, whose thresholds of confidence and significance and number of symmetry copies are kept.
    recipe
        Without training shards: its calibration, lines, test and other limits.
    root
        Folder of bundles.
    on_shard
        Called with (test shards done, test shards in total).

    Raises
    ------
    InputError
        If the version is taken, calibration and test share crystals with each other or with what the bundle is known
        to have learnt from, and the recipe doesn't allow it, or its weights are of no network known here.
    BundleError
        If the bundle classifies something else.
    ShardError
        If a shard is damaged.
    """
    check_new_bundle(root, recipe.name, recipe.version)
    former.require_task(DEFECT_TASK)
    recipe = replace(
        recipe,
        start_from=former.path,
        copies=former.manifest.symmetry_copies,
        confidence=former.manifest.thresholds.confidence,
        significance=former.manifest.thresholds.significance,
    )
    checked = recipe_separation(recipe)
    require_separation(checked, allow=recipe.allow_overlap)
    for path in dict.fromkeys((*recipe.calibration, *recipe.lines, *recipe.test, *recipe.test_outliers)):
        verify_shard(path)
    network, _ = network_from_weights(load_safetensors((former.path / WEIGHTS_FILE).read_bytes()))
    work.mkdir(parents=True, exist_ok=True)
    calibrated, evaluation = measured(
        recipe,
        calibrate_network(recipe, network.eval(), former.manifest.input.fringe_period_voxels),
        lambda draft, folder: _written(recipe, former.manifest, draft, checked, folder),
        work,
        on_shard,
    )
    shown = former.manifest.metrics.ood_auroc if former.manifest.metrics is not None else {}
    card = recalibrated_card(
        f"{recipe.name}/{recipe.version}", former.manifest.id, evaluation, checked.separation, shown.keys()
    )
    with writing(root / recipe.name / recipe.version):
        return _written(recipe, former.manifest, calibrated, checked, root, evaluation.metrics(), card), evaluation


def _written(
    recipe: BundleRecipe,
    former: Manifest,
    calibrated: CalibratedNetwork,
    checked: SeparationCheck,
    root: Path,
    metrics: BundleMetrics | None = None,
    card: str = "draft",
) -> Path:
    statement = BundleStatement(
        name=recipe.name,
        version=recipe.version,
        task=DEFECT_TASK,
        classes=former.classes,
        symmetry_copies=recipe.copies,
        valid_domain=former.valid_domain,
        provenance=former.provenance.model_copy(update={"learnt": checked.learnt, "separation": checked.separation}),
        metrics=metrics,
        prior=calibrated.prior,
        visible_region=calibrated.region,
    )
    return finish_bundle(
        root, calibrated.graph, statement, trained=calibrated.network, golden=calibrated.golden, card=lambda _: card
    )
