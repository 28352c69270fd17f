"""What is made to be refused: aliens, and good crystals with defects that are none of the classes."""

from __future__ import annotations

import numpy as np
import pytest

from braggwatch.services.cxdp.training.shard_making import live_preprocessing, outlier_kinds
from braggwatch.sim.cxdp.crystal.zoo import ZOO_KINDS
from braggwatch.sim.cxdp.datasets import CLEAN_PEAK, DatasetSpec, Sample
from braggwatch.sim.cxdp.outliers import EXPOSED_DEFECTS, OUTLIER_KINDS, make_outlier

CLEAN = DatasetSpec(nuisance="none")


def test_words_stand_for_kinds_and_some_are_kept_for_the_test() -> None:
    assert set(outlier_kinds("exposed")) < set(outlier_kinds("all")) < set(OUTLIER_KINDS)
    assert set(outlier_kinds("defects")) < set(outlier_kinds("all-defects")) == set(ZOO_KINDS)
    with pytest.raises(ValueError, match="all-defects"):
        outlier_kinds("some")


@pytest.mark.parametrize("kind", EXPOSED_DEFECTS)
def test_a_defect_is_scanned_like_any_crystal_and_bears_its_own_name(kind: str) -> None:
    made = make_outlier(CLEAN, kind, 5, live_preprocessing)  # type: ignore[arg-type]
    assert isinstance(made, Sample)
    assert (made.info.label, made.info.config) == (kind, 5)
    assert made.intensity.shape == (64, 64, 64)
    assert made.intensity.max() == pytest.approx(CLEAN_PEAK)
    peak = np.unravel_index(int(made.intensity.argmax()), made.intensity.shape)
    assert np.linalg.norm(np.subtract(peak, 32)) < 10


def test_the_same_number_is_the_same_crystal_and_another_seed_is_not() -> None:
    first, again = (make_outlier(CLEAN, "twin", 7, live_preprocessing) for _ in range(2))
    other = make_outlier(CLEAN.model_copy(update={"seed": 2}), "twin", 7, live_preprocessing)
    assert isinstance(first, Sample)
    assert isinstance(again, Sample)
    assert isinstance(other, Sample)
    np.testing.assert_array_equal(first.intensity, again.intensity)
    assert not np.array_equal(first.intensity, other.intensity)


def test_a_measured_defect_has_counts_and_an_alien_is_always_measured() -> None:
    for spec, kind in ((DatasetSpec(), "dipole"), (CLEAN, "two_particles")):
        made = make_outlier(spec, kind, 3, live_preprocessing)  # type: ignore[arg-type]
        assert isinstance(made, Sample)
        assert made.intensity.max() != pytest.approx(CLEAN_PEAK, rel=1e-3)
