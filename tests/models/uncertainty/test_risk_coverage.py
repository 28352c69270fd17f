"""The curve of errors among the named: what it must be whatever was said."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.models.uncertainty.risk_coverage import risk_coverage

SAID = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=400)


@given(said=SAID, without=st.integers(0, 50))
def test_coverage_rises_confidence_falls_and_all_stays_within_bounds(
    said: list[tuple[float, bool]], without: int
) -> None:
    confidence, right = [one for one, _ in said], [mark for _, mark in said]
    curve = risk_coverage(confidence, right, len(said) + without)
    assert curve is not None
    assert 1 <= len(curve.points) <= 101
    for one, after in pairwise(curve.points):
        assert one.coverage < after.coverage
        assert one.confidence > after.confidence
    assert all(0.0 < one.coverage <= 1.0 and 0.0 <= one.error <= 1.0 for one in curve.points)
    assert 0.0 <= curve.area <= 1.0
    last = curve.points[-1]
    assert last.coverage == pytest.approx(len(said) / (len(said) + without))
    assert last.error == pytest.approx(1 - sum(right) / len(right))
    assert last.confidence == min(confidence)
    assert curve.error_at(1.0) == last.error
    # what is on the curve can be counted again
    for one in curve.points:
        named = [mark for sure, mark in said if sure >= one.confidence]
        assert one.error == pytest.approx(1 - sum(named) / len(named))


@given(said=SAID, seed=st.integers(0, 1000))
def test_the_order_of_the_patterns_makes_no_difference(said: list[tuple[float, bool]], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(said))
    shuffled = [said[int(i)] for i in order]
    one, other = (risk_coverage([c for c, _ in some], [r for _, r in some], len(some)) for some in (said, shuffled))
    assert one == other


def test_the_area_by_hand() -> None:
    curve = risk_coverage([0.9, 0.8, 0.7, 0.6], [True, False, True, True], 5)
    assert curve is not None
    assert [one.error for one in curve.points] == pytest.approx([0.0, 1 / 2, 1 / 3, 1 / 4])
    assert [one.coverage for one in curve.points] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert curve.error_at(0.5) == pytest.approx(1 / 2)
    # a network that knows where it errs has the smaller area
    better = risk_coverage([0.9, 0.6, 0.8, 0.7], [True, False, True, True], 5)
    assert better is not None
    assert better.area < curve.area


def test_equal_confidences_are_named_together() -> None:
    curve = risk_coverage([1.0] * 4, [True, True, False, False], 4)
    assert curve is not None
    assert len(curve.points) == 1
    assert curve.area == curve.points[0].error == 0.5


def test_nothing_named_has_no_curve_and_nonsense_is_refused() -> None:
    assert risk_coverage([], [], 10) is None
    for confidence, right, patterns in (
        ([0.5], [True, False], 5),
        ([0.5, 0.6], [True, True], 1),
        ([np.nan], [True], 1),
    ):
        with pytest.raises(ValueError, match="need"):
            risk_coverage(confidence, right, patterns)
