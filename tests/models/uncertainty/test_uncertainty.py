"""What calibration, conformal sets and the OOD score promise."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax

from braggwatch.models.cxdp.calibration import CalibrationVolumes
from braggwatch.models.cxdp.volume.volume_checks import (
    VolumeMeasures,
    fit_volume_limits,
    measure_volume,
    second_peak_radius,
    violations,
)
from braggwatch.models.uncertainty.calibration import (
    expected_calibration_error,
    fit_temperature,
    mean_log_probabilities,
    negative_log_likelihood,
    reliability_table,
)
from braggwatch.models.uncertainty.conformal import ConformalCalibration
from braggwatch.models.uncertainty.ood import MahalanobisDetector, auroc, ood_threshold, sample_scores
from braggwatch.models.uncertainty.outlier_head import OutlierHead
from braggwatch.models.uncertainty.trust import CalibrationOutputs, TrustArrays, fit_trust
from support.volume_measures import measure_by_arrays, undecided

seeds = st.integers(0, 2**32 - 1)


def draw_logits(seed: int, samples: int = 200, copies: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the truth: labels are drawn from it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 2.0, (samples, 3))
    p = np.exp(mean_log_probabilities(logits, 1.0))
    labels = (p.cumsum(axis=1) < rng.random((samples, 1))).sum(axis=1).clip(max=2)
    if copies:
        logits = logits[:, None, :] + rng.normal(0.0, 0.3, (samples, copies, 3))
    return logits, labels


@settings(max_examples=40, deadline=None)
@given(seed=seeds, copies=st.sampled_from([None, 1, 4]), scale=st.floats(0.1, 10.0))
def test_the_fitted_temperature_never_makes_it_worse_and_undoes_a_scale(
    seed: int, copies: int | None, scale: float
) -> None:
    logits, labels = draw_logits(seed, copies=copies)
    temperature = fit_temperature(logits * scale, labels)
    assert 0.05 <= temperature <= 20.0
    assert negative_log_likelihood(logits * scale, labels, temperature) <= (
        negative_log_likelihood(logits * scale, labels, 1.0) + 1e-9
    )
    again = fit_temperature(logits, labels)
    if 0.06 < temperature < 19 and 0.06 < again < 19:
        assert temperature == pytest.approx(scale * again, rel=1e-2)


def test_overconfident_logits_become_honest() -> None:
    logits, labels = draw_logits(1, samples=5000)
    temperature = fit_temperature(3.0 * logits, labels)
    assert temperature == pytest.approx(3.0, rel=0.08)
    before = expected_calibration_error(np.exp(mean_log_probabilities(3.0 * logits, 1.0)), labels)
    after = expected_calibration_error(np.exp(mean_log_probabilities(3.0 * logits, temperature)), labels)
    assert after < 0.03 < before


@given(logits=hnp.arrays(np.float64, (5, 4, 3), elements=st.floats(-500, 500)), temperature=st.floats(0.05, 20.0))
def test_mean_probabilities_sum_to_one_for_any_logits(logits: np.ndarray, temperature: float) -> None:
    p = np.exp(mean_log_probabilities(logits, temperature))
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(p, np.exp(mean_log_probabilities(logits[:, ::-1], temperature)), atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=seeds, bins=st.integers(1, 40))
def test_the_calibration_error_is_bounded_by_its_table(seed: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(3), size=50)
    labels = rng.integers(0, 3, 50)
    table = reliability_table(p, labels, bins)
    assert len(table) == bins
    assert sum(row.samples for row in table) == 50
    for row in table:
        if row.samples:
            assert row.lower - 1e-12 <= row.mean_confidence <= row.upper + 1e-12
    error = expected_calibration_error(p, labels, bins)
    gap = abs((p.argmax(axis=1) == labels).mean() - p.max(axis=1).mean())
    assert gap - 1e-12 <= error <= 1.0
    if bins == 1:
        assert error == pytest.approx(gap)


def test_certain_and_right_has_no_calibration_error() -> None:
    labels = np.array([0, 1, 2, 1])
    assert expected_calibration_error(np.eye(3)[labels], labels) == 0.0
    assert expected_calibration_error(np.eye(3)[(labels + 1) % 3], labels) == 1.0


@settings(max_examples=50, deadline=None)
@given(seed=seeds, significance=st.floats(0.01, 0.5))
def test_conformal_sets_grow_as_the_error_rate_shrinks_and_p_values_are_ranks(seed: int, significance: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % 3
    calibration = ConformalCalibration.fit(rng.dirichlet(np.ones(3), size=60), labels)
    p = rng.dirichlet(np.ones(3))
    values = calibration.p_values(p)
    assert ((values >= 1 / 21) & (values <= 1.0)).all()
    np.testing.assert_allclose(values * 21, np.round(values * 21), atol=1e-9)
    wide = set(calibration.prediction_set(p, significance / 2))
    assert set(calibration.prediction_set(p, significance)) <= wide
    np.testing.assert_array_equal(calibration.p_values(np.stack([p, p])), np.stack([values, values]))


def test_conformal_sets_cover_each_class_at_the_promised_rate() -> None:
    rng = np.random.default_rng(0)
    logits, labels = draw_logits(2, samples=6000)
    # A skewed network: the rate must hold for every class by itself all the same.
    p = np.exp(mean_log_probabilities(logits + np.array([1.0, 0.0, -1.0]), 1.0))
    half = rng.permutation(6000)
    fit, test = half[:3000], half[3000:]
    calibration = ConformalCalibration.fit(p[fit], labels[fit])
    for significance in (0.05, 0.2):
        covered = calibration.p_values(p[test])[np.arange(3000), labels[test]] > significance
        for number in range(3):
            members = labels[test] == number
            assert covered[members].mean() == pytest.approx(1 - significance, abs=0.035)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, shift=st.floats(-5, 5), scale=st.floats(0.01, 100.0))
def test_the_ood_score_does_not_depend_on_units(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(60, 4)), np.arange(60) % 3
    probe = rng.normal(size=(7, 4))
    one = MahalanobisDetector.fit(features, labels).score(probe)
    other = MahalanobisDetector.fit(features * scale + shift, labels).score(probe * scale + shift)
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert (one >= 0).all()


def test_aliens_score_higher_and_the_threshold_lets_pass_what_it_promises() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(900) % 3
    centres = np.array([[0, 0, 0, 0], [4, 0, 0, 0], [0, 4, 0, 0]], float)
    features = centres[labels] + rng.normal(size=(900, 4))
    detector = MahalanobisDetector.fit(features[:600], labels[:600])
    inside = sample_scores(detector, features[600:])
    aliens = sample_scores(detector, rng.normal(size=(300, 4)) + np.array([0, 0, 6, 0]))
    assert auroc(inside, aliens) > 0.98
    assert auroc(inside, inside) == pytest.approx(0.5)
    threshold = ood_threshold(inside, 0.99)
    assert (inside <= threshold).mean() >= 0.99
    copies = np.repeat(features[600:, None, :], 8, axis=1)
    np.testing.assert_allclose(sample_scores(detector, copies), inside)


def test_a_feature_that_never_varied_still_counts() -> None:
    features = np.random.default_rng(0).normal(size=(30, 3))
    features[:, 2] = 1.0
    detector = MahalanobisDetector.fit(features, np.arange(30) % 3)
    moved = features[:1].copy()
    moved[0, 2] = 6.0
    assert detector.score(moved)[0] > detector.score(features).max()


def test_fitting_refuses_what_it_cannot_use() -> None:
    p = np.full((4, 3), 1 / 3)
    with pytest.raises(ValueError, match="class"):
        ConformalCalibration.fit(p, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="labels"):
        fit_temperature(p, [0, 1, 2])
    with pytest.raises(ValueError, match="whole"):
        fit_temperature(p, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(p * np.nan, [0, 1, 2, 0])
    with pytest.raises(ValueError, match="constant"):
        MahalanobisDetector.fit(np.ones((4, 2)), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="no sample"):
        MahalanobisDetector.fit(np.random.default_rng(0).normal(size=(4, 2)), [0, 2, 0, 2])
    with pytest.raises(ValueError, match="score"):
        auroc(np.array([]), np.array([1.0]))
    with pytest.raises(ValueError, match="quantile"):
        ood_threshold(np.array([1.0]), 1.0)


def test_the_whole_fit_holds_out_groups_and_passes_its_own_quantile() -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(120) // 4
    labels = groups % 3
    features = (np.eye(3)[labels] * 3)[:, None, :] + rng.normal(size=(120, 2, 3))
    logits = (np.eye(3)[labels] * 3)[:, None, :] + rng.normal(size=(120, 2, 3))
    measure = VolumeMeasures(0.5, 0.01, 3.0, 100.0)
    outputs = CalibrationOutputs(logits.astype(np.float32), features.astype(np.float32))
    volumes = CalibrationVolumes(outputs, (measure,) * 120, fringe_period_voxels=3.5)
    fitted = fit_trust(outputs, labels, groups, ood_quantile=0.9).with_volume_limits(volumes.volume_limits())
    inside = sample_scores(fitted.arrays.detector, features)
    assert (inside <= fitted.thresholds.ood).mean() >= 0.9
    assert fitted.thresholds.volume is not None
    assert violations(measure, fitted.thresholds.volume) == ()
    assert (fitted.arrays.outlier_head, fitted.thresholds.foreign) == (None, None)
    with pytest.raises(ValueError, match="groups"):
        fit_trust(outputs, labels, groups[:5])


def test_the_output_for_what_is_to_be_refused_passes_its_own_quantile_and_survives_the_file() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(90) % 3
    logits = ((np.eye(3)[labels] * 3)[:, None, :] + rng.normal(size=(90, 2, 3))).astype(np.float32)
    features = rng.normal(size=(90, 2, 4)).astype(np.float32)
    head = OutlierHead(np.array([1.0, -2.0, 0.5, 0.0]), 0.3)
    outputs = CalibrationOutputs(logits, features)
    fitted = fit_trust(outputs, labels, outlier_head=head, outlier_quantile=0.9)
    scores = head.score(logits, features)
    # as the softmax over four outputs has it: log(p / (1 - p)) of the fourth, averaged over the copies
    four = np.concatenate([logits, (features @ head.weight + head.bias)[..., None]], axis=-1)
    p = softmax(four, axis=-1)[..., 3]
    assert scores == pytest.approx(np.log(p / (1 - p)).mean(axis=1), abs=1e-5)
    assert fitted.thresholds.foreign is not None
    assert (scores <= fitted.thresholds.foreign).mean() == pytest.approx(0.9, abs=0.02)
    again = TrustArrays.from_bytes(fitted.arrays.to_bytes(), classes=3, features=4).outlier_head
    assert again is not None
    assert again.score(logits, features) == pytest.approx(scores)


def peak(centre: tuple[float, float, float] = (32, 32, 32), width: float = 2.5) -> np.ndarray:
    grid = np.indices((64, 64, 64)) - np.array(centre)[:, None, None, None]
    return (1000.0 * np.exp(-0.5 * (grid**2).sum(axis=0) / width**2)).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(offset=st.tuples(*[st.floats(-6, 6)] * 3), scale=st.floats(1e-3, 1e4))
def test_measures_follow_the_peak_and_ignore_its_scale(offset: tuple[float, float, float], scale: float) -> None:
    radius = second_peak_radius(3.5)
    x, y, z = offset
    found = measure_volume(peak((32 + x, 32 + y, 32 + z)) * scale, radius)
    assert found.centre_offset_voxels == pytest.approx(float(np.linalg.norm(offset)), abs=0.2)
    assert found.second_peak_ratio < 0.01
    assert found.half_extent_voxels < 5.0


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    radius=st.floats(0.1, 40.0),
    power=st.floats(0.1, 8.0),
    seed=st.integers(0, 2**32 - 1),
    transposed=st.booleans(),
)
def test_measures_are_those_of_whole_arrays(
    shape: tuple[int, int, int], radius: float, power: float, seed: int, transposed: bool
) -> None:
    counts = 1e5 * np.random.default_rng(seed).random(shape) ** power
    volume = counts.astype(np.float32).T if transposed else counts.astype(np.float32)
    assume(volume.max() > 0.0 and not undecided(volume))
    found, wanted = measure_volume(volume, radius), measure_by_arrays(volume, radius)
    assert astuple(found) == pytest.approx(astuple(wanted), rel=1e-4, abs=1e-4)


def test_a_radius_beyond_the_volume_leaves_no_second_peak() -> None:
    assert measure_volume(peak(), 1e300).second_peak_ratio == 0.0


def test_two_peaks_flat_noise_and_broad_peaks_break_the_limits_of_single_ones() -> None:
    radius = second_peak_radius(3.5)
    rng = np.random.default_rng(0)
    noisy = [rng.poisson(peak(width=rng.uniform(2, 3)) + 0.05).astype(np.float64) for _ in range(30)]
    single = [measure_volume(one, radius) for one in noisy]
    limits = fit_volume_limits(single, 3.5)
    assert all(violations(one, limits) == () for one in single)
    pair = peak() + 0.6 * peak((32, 47, 32))
    assert "second peak of 60%" in violations(measure_volume(pair, radius), limits)[0]
    flat = rng.poisson(50.0, (64,) * 3).astype(np.float64)
    assert "no clear peak" in violations(measure_volume(flat, radius), limits)[0]
    assert any("half height" in one for one in violations(measure_volume(peak(width=6.0), radius), limits))
    assert "off the centre" in violations(measure_volume(peak((32, 40, 32)), radius), limits)[0]


def test_measures_and_limits_refuse_what_they_cannot_use() -> None:
    with pytest.raises(ValueError, match="maximum"):
        measure_volume(np.zeros((8, 8, 8)), 3.0)
    for odd in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite maximum"):
            measure_volume(np.full((4, 4, 4), odd), 3.0)
    with pytest.raises(ValueError, match="maximum"):
        measure_volume(np.zeros((0, 4, 4)), 3.0)
    with pytest.raises(ValueError, match="three axes"):
        measure_volume(np.ones((8, 8)), 3.0)
    with pytest.raises(ValueError, match="at least one"):
        fit_volume_limits([], 3.5)
    with pytest.raises(ValueError, match="quantile"):
        fit_volume_limits([VolumeMeasures(0, 0, 0, 1)], 3.5, quantile=0.1)
