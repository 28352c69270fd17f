"""A site's own shares of the classes weigh the probabilities, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.models.bundling.manifest import Manifest
from braggwatch.models.uncertainty.prior import SitePrior, checked_prior
from braggwatch.sim.errors import InputError

shares = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3).map(lambda s: [v / sum(s) for v in s])


@pytest.fixture(scope="module")
def manifest(manifest_for: Callable[[str], Manifest]) -> Manifest:
    made = manifest_for("1.0.0")
    return made.model_copy(update={"prior": dict.fromkeys(made.classes, 1.0 / len(made.classes))})


@given(shares, shares)
def test_it_is_bayes_rule(probabilities: list[float], wanted: list[float]) -> None:
    calibrated = np.array([0.2, 0.3, 0.5])
    prior = SitePrior(dict(zip("abc", wanted, strict=True)), np.array(wanted) / calibrated)
    p = np.array(probabilities)
    weighted = prior.applied(p)
    assert weighted.sum() == pytest.approx(1.0)
    odds = (weighted[0] / weighted[1]) / (p[0] / p[1])
    assert odds == pytest.approx(wanted[0] / wanted[1] / (0.2 / 0.3))
    same = SitePrior(dict.fromkeys("abc", 0.0), np.ones(3)).applied(p)
    np.testing.assert_allclose(same, p)


def test_a_prior_that_fits_no_bundle_is_told_at_the_start(manifest: Manifest) -> None:
    first, *others = manifest.classes
    third = dict.fromkeys(manifest.classes, 1.0 / 3.0)
    assert sum(SitePrior.of(third, manifest).shares.values()) == pytest.approx(1.0)
    with pytest.raises(InputError, match="loop is no class of blobs"):
        SitePrior.of({"loop": 0.5, first: 0.5}, manifest)
    with pytest.raises(InputError, match=f"no share is given for {others[0]}"):
        SitePrior.of({first: 1.0}, manifest)
    with pytest.raises(InputError, match=r"add up to 0\.9, not to 1"):
        checked_prior({"a": 0.5, "b": 0.4})
    with pytest.raises(InputError, match="above 0, got b = 0"):
        checked_prior({"a": 1.0, "b": 0.0})
    with pytest.raises(InputError, match="doesn't state the prior"):
        SitePrior.of(third, manifest.model_copy(update={"prior": None}))
