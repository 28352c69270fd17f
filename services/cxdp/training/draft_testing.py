"""Measure a calibrated network as it will be deployed, before its bundle is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.cxdp.evaluation import Evaluation
from braggwatch.models.cxdp.report import write_report
from braggwatch.services.cxdp.training.bundle_recipe import BundleRecipe
from braggwatch.services.cxdp.training.bundle_testing import run_test
from braggwatch.services.cxdp.training.network_calibration import CalibratedNetwork


def measured(
    recipe: BundleRecipe,
    calibrated: CalibratedNetwork,
    write: Callable[[CalibratedNetwork, Path], Path],
    work: Path,
    on_shard: Callable[[int, int], None] | None = None,
) -> tuple[CalibratedNetwork, Evaluation]:
    """Find how far out a network finds lines, then test it, with report.html and evaluation.json in ``work``.

    Parameters
    ----------
    recipe
        Its lines and test shards.
    write
        Writes a draft bundle below a folder and returns its own.
    on_shard
        Called with (test shards done, test shards in total).
    """
    with TemporaryDirectory(dir=work) as folder:
        draft = write(calibrated, Path(folder) / "to find the region with")
        calibrated = calibrated.with_region(BundleClassifier.load(draft, threads=1))
        draft = write(calibrated, Path(folder) / "to test")
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
    return calibrated, evaluation
