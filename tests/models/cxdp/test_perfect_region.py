"""A bundle that has measured how far out it finds lines says so with ``perfect``, or withholds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.manifest import Manifest, PeakLimits, VisibleRegion, VisibleRegionRow
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.runtimes.factory import open_runtime
from braggwatch.models.verdict import Outcome, PerfectRegion, Verdict

Judge = Callable[..., Verdict]


@pytest.fixture(scope="module")
def judge(
    tmp_path_factory: pytest.TempPathFactory,
    write_version: Callable[[Path, str], Path],
    make_blob: Callable[..., NDArray[np.float32]],
) -> Judge:
    bundle = Bundle.load(write_version(tmp_path_factory.mktemp("bundles"), "1.0.0"))
    runtime, _ = open_runtime(bundle, "auto", 1)
    rng = np.random.default_rng(5)
    clear = make_blob(0, rng, peak=5e3)
    between = np.asarray((clear + make_blob(1, rng, peak=5e3)) / 2, dtype=np.float32)

    def judged(
        change: Mapping[str, object], peak: PeakLimits | None = None, prior: Mapping[str, float] | None = None
    ) -> Verdict:
        names = ("perfect", *bundle.manifest.classes[1:])
        limits = bundle.manifest.thresholds.volume
        assert limits is not None
        thresholds = bundle.manifest.thresholds.model_copy(update={"volume": limits.model_copy(update={"peak": peak})})
        manifest: Manifest = bundle.manifest.model_copy(update={"classes": names, "thresholds": thresholds, **change})
        return BundleClassifier(replace(bundle, manifest=manifest), runtime, prior=prior).classify(
            clear if prior is None and not change.get("prior") else between
        )

    return judged


def region(found: int) -> VisibleRegion:
    row = VisibleRegionRow(
        peak_counts_from=0.0, fringe_contrast_from=0.0, lines=(100,) * 6, found=(found, found, found, 50, 0, 0)
    )
    return VisibleRegion(rows=(row,))


def test_perfect_carries_its_region_where_the_bundle_has_one(judge: Judge) -> None:
    old = judge({})
    assert (old.outcome, old.label, old.region) == (Outcome.CLASSIFIED, "perfect", None)
    assert judge({"visible_region": region(98)}).region == PerfectRegion(radius=0.3, share=0.95)


def test_perfect_is_withheld_where_lines_are_found_nowhere(judge: Judge) -> None:
    verdict = judge({"visible_region": region(60)})
    assert (verdict.outcome, verdict.label, verdict.region) == (Outcome.UNSURE, None, None)
    assert "fewer than 95% of the lines were found in tests, even near the centre" in (verdict.reason or "")


def test_a_lost_contrast_is_unsure_and_says_so(judge: Judge) -> None:
    verdict = judge({}, PeakLimits(min_fringe_contrast=1.0))
    assert verdict.outcome is Outcome.UNSURE
    assert "the fringes have lost contrast" in (verdict.reason or "")


def test_a_sites_prior_weighs_the_probabilities_not_the_prediction_set(judge: Judge) -> None:
    names = tuple(judge({}).probabilities)
    stated = {"prior": dict.fromkeys(names, 1.0 / 3.0)}
    wanted = dict(zip(names, (1e-6, 0.5, 0.499999), strict=True))
    plain, weighted = judge(stated), judge(stated, prior=wanted)
    assert plain.prior is None
    assert weighted.prior == pytest.approx(wanted)
    assert weighted.probabilities["screw"] > plain.probabilities["screw"] > 0.0
    assert weighted.probabilities["perfect"] < plain.probabilities["perfect"]
    assert (weighted.prediction_set, weighted.p_values) == (plain.prediction_set, plain.p_values)
