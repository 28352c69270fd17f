"""The quality record tells a wrong geometry by the d-spacing and by the facets' angles."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.facets import facet_streaks, ideal_angle_error_deg, mutual_angles_deg
from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor, PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.quality import d_deviation
from braggwatch.callbacks.cxdp.preprocess.warm_up import artificial_curve, artificial_geometry

NORMALS_111 = np.array([v for v in itertools.product((-1.0, 1.0), repeat=3) if v[0] > 0]) / np.sqrt(3)
COVERED = np.ones((64, 64, 64), np.float32)


def rotated(seed: int) -> NDArray[np.float64]:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def octahedron_pattern(rotation: NDArray[np.float64], peak: float = 1e5) -> NDArray[np.float32]:
    """Diffraction of an octahedron of {111} facets, 18 samples across, on 64³, with Poisson noise."""
    axis = np.arange(64) - 31.5
    r = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    distance = np.abs(r @ (NORMALS_111 @ rotation.T).T).max(axis=-1)
    density = np.clip(8.0 - distance, 0.0, 1.0)
    intensity = np.fft.fftshift(np.abs(np.fft.fftn(density)) ** 2)
    return np.random.default_rng(2).poisson(peak * intensity / intensity.max()).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_the_facets_of_an_octahedron_are_found(seed: int) -> None:
    rotation = rotated(seed)
    streaks = facet_streaks(octahedron_pattern(rotation), COVERED).directions
    truth = NORMALS_111 @ rotation.T
    assert len(streaks) >= 4
    nearest = np.degrees(np.arccos(np.clip(np.abs(streaks[:4] @ truth.T).max(axis=1), 0, 1)))
    assert nearest.max() < 3.0
    angles = mutual_angles_deg(streaks[:4])
    assert np.abs(angles - 70.53).max() < 4.0
    assert ideal_angle_error_deg(angles) < 2.0


def test_no_streaks_in_noise_and_none_where_nothing_was_measured() -> None:
    noise = np.random.default_rng(0).poisson(1.0, (64, 64, 64)).astype(np.float32)
    assert len(facet_streaks(noise, COVERED).directions) <= 1
    assert len(facet_streaks(octahedron_pattern(np.eye(3)), np.zeros_like(COVERED)).directions) == 0


def test_d_spacing_is_compared_with_the_stated_reflection() -> None:
    geometry = artificial_geometry()
    assert d_deviation(4.0782 / np.sqrt(3), geometry) == pytest.approx(0.0)
    assert d_deviation(1.05 * 4.0782 / np.sqrt(3), geometry) == pytest.approx(0.05)
    assert d_deviation(2.0, geometry.model_copy(update={"hkl": None})) is None


def test_a_wrong_energy_is_flagged() -> None:
    curve = artificial_curve(np.dtype(np.int32))
    preprocess = CpuPreprocessor(PreprocessingSettings())
    right = preprocess(curve).quality
    assert right.d_deviation is not None
    assert abs(right.d_deviation) < 0.005
    assert not any("d-spacing" in flag for flag in right.flags)
    object.__setattr__(curve, "geometry", curve.geometry.model_copy(update={"energy_keV": 9.5}))
    wrong = preprocess(curve).quality
    assert any("d-spacing" in flag for flag in wrong.flags)


@pytest.mark.parametrize(
    ("change", "off"),
    [
        ({"energy_keV": 9.0 / 0.97}, "-3."),
        ({"energy_keV": 9.0 / 1.03}, "+2.9"),
        ({"energy_keV": 9000.0}, "-99.9"),
        ({"hkl": (2, 0, 0)}, "+15."),
        ({"lattice_parameter_A": 3.5238}, "+15."),
        ({"direct_beam_px": (24.0, 400.0), "column_direction": "x-"}, ""),
    ],
)
def test_a_peak_that_contradicts_the_stated_reflection_gets_no_class(change: dict[str, object], off: str) -> None:
    curve = artificial_curve(np.dtype(np.int32))
    curve = replace(curve, geometry=curve.geometry.model_copy(update=change))
    quality = CpuPreprocessor(PreprocessingSettings())(curve).quality
    reason, geometry = quality.invalid_reason, curve.geometry
    assert reason is not None
    assert geometry.hkl is not None
    assert geometry.lattice_parameter_A is not None
    expected = geometry.lattice_parameter_A / np.linalg.norm(geometry.hkl)
    for part in (f"{quality.d_spacing_A:.4f} Å", f"{expected:.4f} Å", off, "limit is 2.0%", "keV", "column"):
        assert part in reason
    assert quality.q_inv_A > 0
    assert quality.peak_counts > 0
    assert quality.d_deviation is not None
    unstated = replace(curve, geometry=geometry.model_copy(update={"lattice_parameter_A": None}))
    assert "contradicts" not in (CpuPreprocessor(PreprocessingSettings())(unstated).quality.invalid_reason or "")


@pytest.mark.parametrize("strain", [-0.015, 0.015])
def test_strain_alloying_and_heat_stay_within_the_limit(strain: float) -> None:
    curve = artificial_curve(np.dtype(np.int32))
    a = 4.0782 * (1 + strain)
    curve = replace(curve, geometry=curve.geometry.model_copy(update={"lattice_parameter_A": a}))
    # Little of the tiny curve's cube was measured, which is beside the point here.
    assert CpuPreprocessor(PreprocessingSettings(min_coverage=0))(curve).quality.invalid_reason is None
    narrow = CpuPreprocessor(PreprocessingSettings(min_coverage=0, max_d_deviation=0.01))(curve).quality
    assert "limit is 1.0%" in (narrow.invalid_reason or "")


def test_a_hexagonal_reflection_is_compared_by_its_own_metric() -> None:
    curve = artificial_curve(np.dtype(np.int32))
    d = CpuPreprocessor(PreprocessingSettings(min_coverage=0))(curve).quality.d_spacing_A
    oxide = {"material": "ZnO", "hkl": (1, 0, 1)}
    # 1/d² = 4/3 / a² + 1 / c² at 101; c/a of ZnO.
    a = d * np.sqrt(4 / 3 + 1 / 1.602**2)
    change = oxide | {"lattice_parameter_A": a, "lattice_parameter_c_A": 1.602 * a}
    right = replace(curve, geometry=curve.geometry.model_copy(update=change))
    quality = CpuPreprocessor(PreprocessingSettings(min_coverage=0))(right).quality
    assert quality.d_deviation == pytest.approx(0.0, abs=1e-3)
    assert quality.invalid_reason is None
    change["lattice_parameter_c_A"] = a
    wrong = replace(curve, geometry=curve.geometry.model_copy(update=change))
    assert "contradicts" in (CpuPreprocessor(PreprocessingSettings(min_coverage=0))(wrong).quality.invalid_reason or "")
    change["lattice_parameter_c_A"] = None
    unknown = replace(curve, geometry=curve.geometry.model_copy(update=change))
    quality = CpuPreprocessor(PreprocessingSettings(min_coverage=0))(unknown).quality
    assert quality.d_deviation is None
    assert "d-spacing not compared: a hexagonal lattice needs lattice_parameter_c_A in the preset" in quality.flags
