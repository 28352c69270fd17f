"""The forward model: exact amplitudes at exact Q, and the detector's artefacts."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.sim.beamline.diffractometer import DiffractometerSettings, place_diffractometer
from braggwatch.sim.beamline.nuisance import NuisanceSpec, detect
from braggwatch.sim.beamline.sample import SimulatedSample
from braggwatch.sim.cxdp.crystal import build_crystal, form_factor
from braggwatch.sim.cxdp.rocking import RockingModel, bragg_orientation, brightest_intensity
from braggwatch.sim.geometry.q import pixel_q

ANGLES = 18.0 + np.array([-0.11, 0.0, 0.07])


@pytest.fixture(scope="module")
def mounted(small_preset, small_settings: DiffractometerSettings, small_sample: SimulatedSample):
    geometry, _ = place_diffractometer(small_preset, small_settings, small_sample)
    spec = next(p.crystal for p in small_sample.particles if p.truth.truth == "screw")
    crystal = build_crystal(spec)
    middle = pixel_q(geometry, 18.0, 15.5, 19.5)
    return crystal, geometry, bragg_orientation(crystal.g_inv_nm, middle, 33.0)


def direct_sum_counts(crystal, geometry, orientation, rows, columns, angles):
    """|f Σ exp(-2πi (g·u + q·(r + u)))|² written out, from nothing but positions and Q."""
    q_crystal = pixel_q(geometry, angles, rows, columns) @ orientation * (10 / (2 * np.pi))
    atoms = crystal.positions_nm + crystal.displacement_nm
    offsets = q_crystal - crystal.g_inv_nm
    amplitude = np.array([np.exp(-2j * np.pi * (crystal.phase_turns + atoms @ offset)).sum() for offset in offsets])
    f = form_factor(crystal.spec.metal, np.linalg.norm(q_crystal, axis=1))
    return np.abs(f * amplitude) ** 2


def test_counts_equal_the_direct_sum(mounted):
    crystal, geometry, orientation = mounted
    model = RockingModel(crystal, geometry, orientation, 1e4, eps=1e-9)
    counts = model.expected_counts(ANGLES)
    rng = np.random.default_rng(0)
    frame, row, column = rng.integers(0, (3, 32, 40), size=(300, 3)).T
    direct = direct_sum_counts(crystal, geometry, orientation, row, column, ANGLES[frame])
    direct *= 1e4 / brightest_intensity(crystal)
    got = counts[frame, row, column]
    # relative to each pixel's own counts, with a floor far below one photon
    np.testing.assert_allclose(got, direct, rtol=1e-4, atol=1e-6)


def test_single_precision_is_good_to_a_small_part_of_the_shot_noise(mounted):
    crystal, geometry, orientation = mounted
    fast = RockingModel(crystal, geometry, orientation, 1e5).expected_counts(ANGLES)
    exact = RockingModel(crystal, geometry, orientation, 1e5, eps=1e-9).expected_counts(ANGLES)
    assert np.max(np.abs(fast - exact) / np.sqrt(exact + 1.0)) < 0.02


def test_frames_do_not_depend_on_how_they_are_blocked(mounted):
    crystal, geometry, orientation = mounted
    model = RockingModel(crystal, geometry, orientation, 1e4, eps=1e-9, block=2)
    together = model.expected_counts(ANGLES)
    apart = np.concatenate([model.expected_counts(ANGLES[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-6)


def test_bragg_peak_falls_into_the_middle_at_the_bragg_angle(small_preset, small_settings: DiffractometerSettings):
    sample = SimulatedSample.grid(1, rows=1, columns=1, points_across=12, labels=["perfect"])
    geometry, _ = place_diffractometer(small_preset, small_settings, sample)
    spec = sample.particles[0].crystal
    unstrained = spec.strain.model_copy(update={"random_rad": (), "correlation": (), "facet_rad": 0.0, "bend_rad": 0.0})
    crystal = build_crystal(spec.model_copy(update={"strain": unstrained}))
    orientation = bragg_orientation(crystal.g_inv_nm, pixel_q(geometry, 18.0, 15.5, 19.5), 70.0)
    angles = 18.0 + np.linspace(-0.1, 0.1, 21)
    counts = RockingModel(crystal, geometry, orientation, 1000.0).expected_counts(angles)
    frame, row, column = np.unravel_index(np.argmax(counts), counts.shape)
    assert frame == 10
    assert abs(row - 15.5) <= 1
    assert abs(column - 19.5) <= 1
    assert counts.max() == pytest.approx(1000.0, rel=0.05)


@given(
    g=st.tuples(*[st.integers(-3, 3)] * 3).filter(any),
    q=st.tuples(*[st.floats(-3, 3)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3),
    azimuth=st.floats(-720, 720),
)
def test_orientation_is_a_rotation_that_lays_g_along_q(g, q, azimuth):
    rotation = bragg_orientation(np.array(g, dtype=float), np.array(q), azimuth)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    along = rotation @ np.array(g, dtype=float) / np.linalg.norm(g)
    np.testing.assert_allclose(along, np.array(q) / np.linalg.norm(q), atol=1e-12)


def test_coarse_crystal_on_a_wide_detector_is_warned_about(
    small_preset, small_sample: SimulatedSample, caplog: pytest.LogCaptureFixture
):
    wide = DiffractometerSettings(frame_shape=(40, 40), distance_m=0.1, circles_deg={"th": 18.0})
    geometry, _ = place_diffractometer(small_preset, wide, small_sample)
    crystal = build_crystal(small_sample.particles[0].crystal)
    orientation = bragg_orientation(crystal.g_inv_nm, pixel_q(geometry, 18.0, 19.5, 19.5), 0.0)
    with caplog.at_level(logging.WARNING):
        RockingModel(crystal, geometry, orientation, 1e3).expected_counts(np.array([18.0]))
    assert "points_across" in caplog.text


def test_unreachable_reflection_is_refused(small_preset, small_sample: SimulatedSample):
    with pytest.raises(ValueError, match="can't reach Au"):
        place_diffractometer(small_preset, DiffractometerSettings(energy_keV=2.0), small_sample)


def test_noise_is_poisson():
    mean = 7.0
    counts = detect(np.full((400, 400), mean - 0.5), NuisanceSpec(background_counts=0.5), np.random.default_rng(1))
    assert counts.dtype == np.uint32
    tolerance = 5 * mean / 400
    assert counts.mean() == pytest.approx(mean, abs=tolerance)
    assert counts.var() == pytest.approx(mean, abs=5 * tolerance)


def test_without_noise_counts_are_rounded_expectations():
    counts = detect(np.full((2, 2), 3.3), NuisanceSpec(poisson=False, background_counts=0.4), np.random.default_rng())
    np.testing.assert_array_equal(counts, 4)


def test_gaps_hot_pixels_and_saturation():
    spec = NuisanceSpec(
        gap_rows=((4, 7),), gap_columns=((10, 11),), hot_pixels=5, hot_counts=900, saturation_counts=500, seed=2
    )
    counts = detect(np.full((20, 30), 1e6), spec, np.random.default_rng(0))
    live = spec.mask((20, 30))
    assert not counts[4:7].any()
    assert not counts[:, 10].any()
    np.testing.assert_array_equal(counts[live], 500)
    dark = detect(np.zeros((20, 30)), spec.model_copy(update={"background_counts": 0.0}), np.random.default_rng(0))
    hot = np.flatnonzero(dark)
    np.testing.assert_array_equal(hot, spec.hot_positions((20, 30)))
    assert len(hot) == 5
    assert live.flat[hot].all()
