"""The confidence that is asked for keeps the share of right names that was promised, on samples nobody fitted it to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from braggwatch.models.uncertainty.named_right import confidence_for, confidence_for_each_class
from braggwatch.sim.errors import InputError


def surer_than_right(count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidences of a network that is right less often than it says: sure names are, the others are guesses."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1.0, count)
    return confidence, rng.random(count) < np.where(confidence > 0.9, 0.998, confidence - 0.2)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_what_was_promised_holds_for_other_samples(seed: int) -> None:
    asked = confidence_for(*surer_than_right(2000, seed), 0.98)
    assert asked is not None
    confidence, right = surer_than_right(20_000, seed + 1)
    # 0.9 certainty: one draw in ten may miss the promise, by little
    assert right[confidence >= asked].mean() > 0.97
    assert 0.85 < asked < 0.97


def test_it_asks_for_no_more_than_it_takes() -> None:
    confidence = np.linspace(0.5, 1.0, 1000)
    assert confidence_for(confidence, np.ones(1000, dtype=bool), 0.98) == 0.5


def test_too_few_samples_show_nothing() -> None:
    assert confidence_for([0.99] * 20, [True] * 20, 0.98) is None
    assert confidence_for([], [], 0.98) is None


def test_equal_confidences_are_named_together() -> None:
    confidence = [0.9] * 400 + [0.8] * 400
    right = [True] * 400 + [True] * 300 + [False] * 100
    assert confidence_for(confidence, right, 0.98) == 0.9


def test_the_worst_class_decides_and_one_that_shows_it_nowhere_is_named() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.5, 1.0, 3000)
    named = np.arange(3000) % 3
    wrong = (named == 1) & (confidence < 0.8)
    labels = np.where(wrong, 0, named)
    asked = confidence_for_each_class(confidence, named, labels, ("perfect", "screw", "edge"), 0.98)
    assert asked == pytest.approx(0.8, abs=0.02)
    labels[named == 2] = 0
    with pytest.raises(InputError, match=r"1000 calibration patterns that would be named 'edge' don't show that 98.0%"):
        confidence_for_each_class(confidence, named, labels, ("perfect", "screw", "edge"), 0.98)


@pytest.mark.parametrize(("share", "certainty"), [(0.0, 0.9), (1.0, 0.9), (0.98, 1.0)])
def test_shares_are_shares(share: float, certainty: float) -> None:
    with pytest.raises(InputError):
        confidence_for([0.9], [True], share, certainty)
