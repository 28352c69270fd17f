"""A known particle scatters as its density says, with or without a dislocation put in, in any diffractometer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.sim.crystallography.fcc import METALS, g_dot_b
from braggwatch.sim.cxdp.crystal import CrystalSpec, build_crystal
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec
from braggwatch.sim.cxdp.crystal.shapes import Polyhedron, ShapeSpec
from braggwatch.sim.cxdp.crystal.strain import NO_STRAIN
from braggwatch.sim.cxdp.facet_fit import FACETS, facet_normals, fit_polyhedron, orientation_from_streaks
from braggwatch.sim.cxdp.given_particles import (
    ParticleObject,
    Rescan,
    object_from_density,
    object_from_polyhedron,
    visible_lines,
)
from braggwatch.sim.cxdp.object_files import fitted_gold, load_object, save_object
from braggwatch.sim.cxdp.rocking import bragg_orientation
from braggwatch.sim.cxdp.scattering import amplitude_at
from braggwatch.sim.geometry.q import rocking_map

G111 = (1, 1, 1)


def correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def lopsided(n: int = 40) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    x, y, z = np.meshgrid(*(np.arange(n) - n // 2,) * 3, indexing="ij")
    body = (np.abs(x) <= 8) & (np.abs(y) <= 6) & (np.abs(z) <= 5) & (x + y + z <= 9)
    phase = 0.6 * np.cos(0.25 * x + 0.1 * y) + 0.4 * np.sin(0.3 * z)
    return (body * np.exp(1j * phase)).astype(np.complex64), body


def test_the_amplitude_is_the_sum_over_the_points() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(scale=30.0, size=(200, 3))
    weights = rng.normal(size=200) + 1j * rng.normal(size=200)
    particle = ParticleObject(points, weights, METALS["Au"], G111, 100.0)
    q = rng.normal(scale=0.02, size=(4, 5, 3))
    exact = np.einsum("n,abn->ab", weights, np.exp(-2j * np.pi * np.einsum("abi,ni->abn", q, points)))
    np.testing.assert_allclose(particle.amplitude(q, eps=1e-9), exact, rtol=1e-6)
    np.testing.assert_allclose(particle.amplitude(q), exact, atol=2e-3 * np.abs(weights).sum())


def test_a_density_scatters_as_its_transform_does() -> None:
    """Also says that neither the signs nor the axes are mixed up: the object is not its own mirror image."""
    density, support = lopsided()
    n, voxel = density.shape[0], 9.0
    turn = bragg_orientation(np.ones(3), np.array([0.3, -1.0, 2.0]), 25.0)
    basis = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    particle = object_from_density(density, support, voxel, basis, turn, "Au", G111, refine=3)
    index = np.stack(np.meshgrid(*(np.arange(-6, 7),) * 3, indexing="ij"), axis=-1)
    q_crystal = index / (n * voxel) @ basis @ turn
    seen = np.abs(particle.amplitude(q_crystal)) ** 2
    whole = np.abs(np.fft.fftshift(np.fft.fftn(density))) ** 2
    expected = whole[n // 2 - 6 : n // 2 + 7, n // 2 - 6 : n // 2 + 7, n // 2 - 6 : n // 2 + 7]
    assert correlation(seen, expected) > 0.998
    assert correlation(seen, expected[::-1, ::-1, ::-1]) < 0.95
    assert particle.size_nm == pytest.approx(voxel * support.sum() ** (1 / 3))
    assert particle.phase_spread_rad > 0.1
    assert particle.without_phase().phase_spread_rad == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("character", [0.0, 90.0])
def test_a_line_put_in_is_the_line_of_the_simulated_crystals(character: float) -> None:
    shape = ShapeSpec(
        ratio_100=1.1, ratio_110=1.2, facet_jitter=0.2, interface=None, height_fraction=1.0, elongation=(1.0, 1.0, 1.0)
    )
    line = LineSpec(burgers=(1, 1, 0), plane=1, character_deg=character, offset=(0.05, -0.1))
    spec = CrystalSpec(
        element="Au", size_nm=200.0, points_across=18, shape=shape, line=line, strain=NO_STRAIN, hkl=G111, seed=5
    )
    crystal = build_crystal(spec)
    weights = np.ones(len(crystal.positions_nm), dtype=np.complex128)
    particle = ParticleObject(crystal.positions_nm, weights, METALS["Au"], G111, 200.0)
    axis = np.linspace(-4, 4, 17) / 200.0
    q = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    expected = np.abs(amplitude_at(crystal, q)) ** 2
    assert correlation(np.abs(particle.with_line(line).amplitude(q)) ** 2, expected) > 0.999
    assert correlation(np.abs(particle.amplitude(q)) ** 2, expected) < 0.9


def test_the_lines_listed_are_all_that_the_reflection_sees() -> None:
    lines = visible_lines(G111, (0.0, 0.2))
    assert len({line.burgers for line in lines}) == 6
    assert {line.character for line in lines} == {"screw", "edge"}
    assert len(lines) == 6 * 2 * 2
    for line in lines:
        assert g_dot_b(G111, line.burgers) != 0
        assert np.hypot(*line.offset) == pytest.approx(0.0) or np.hypot(*line.offset) == pytest.approx(0.2)


def test_facets_are_fitted_back() -> None:
    ratio = np.array([1.15 if sum(map(abs, f)) == 1 else 1.3 if sum(map(abs, f)) == 2 else 1.0 for f in FACETS])
    distances = 130.0 * ratio * (1 + 0.1 * np.cos(np.arange(len(FACETS))))
    particle = object_from_polyhedron(Polyhedron(facet_normals(), distances), "Au", G111, points_across=24)
    found, common = fit_polyhedron(particle)
    assert common > 0.93
    again = object_from_polyhedron(found, "Au", G111, points_across=24)
    assert again.size_nm == pytest.approx(particle.size_nm, rel=0.03)
    inside = found.inside(particle.positions_nm)
    assert inside.mean() > 0.9
    assert len(again.weights) == pytest.approx(len(particle.weights), rel=0.08)


def test_the_streaks_tell_how_the_crystal_lies() -> None:
    distances = np.array([120.0 if sum(map(abs, f)) == 3 else 150.0 for f in FACETS])
    particle = object_from_polyhedron(Polyhedron(facet_normals(), distances), "Au", G111, points_across=24)
    q0 = np.array([0.6, -0.3, 2.5])
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    truth = bragg_orientation(np.ones(3), q0, 47.0)
    n = 64
    index = np.stack(np.meshgrid(*(np.arange(n) - n // 2,) * 3, indexing="ij"), axis=-1)
    intensity = np.abs(particle.amplitude(index / (3.5 * particle.size_nm) @ basis @ truth)) ** 2
    counts = np.random.default_rng(2).poisson(intensity * (1e5 / intensity.max()))
    found, contrast = orientation_from_streaks(counts, np.ones(counts.shape, dtype=bool), basis, q0, G111)
    assert contrast > 2.0
    np.testing.assert_allclose(found @ np.ones(3) / np.sqrt(3), q0 / np.linalg.norm(q0), atol=1e-9)
    # every <100> of one falls on one of the other: the same crystal up to its own symmetry
    folded = np.sort(np.abs(found.T @ truth), axis=1)
    np.testing.assert_allclose(folded, np.tile([0.0, 0.0, 1.0], (3, 1)), atol=0.05)


def test_the_shipped_particle_is_scanned_where_it_was_measured() -> None:
    fitted = fitted_gold()
    particle, scan = fitted.particle(), fitted.measurement.every(8)
    assert len(scan.angles_deg) == 26
    assert particle.size_nm == pytest.approx(278, abs=10)
    assert 2 * np.pi / np.linalg.norm(scan.q_inv_A) == pytest.approx(2.3545, rel=0.01)
    counts = Rescan(scan, particle.size_nm).expected_counts(particle)
    assert counts.shape == (26, 256, 256)
    assert counts.min() == pytest.approx(scan.background)
    assert counts.max() == pytest.approx(scan.peak_counts + scan.background, rel=1e-5)
    frame, row, column = np.unravel_index(int(counts.argmax()), counts.shape)
    where = rocking_map(scan.geometry).q(scan.angles_deg[int(frame)], int(row), int(column))
    fringe = 2 * np.pi / (particle.size_nm * 10)
    assert np.linalg.norm(where - np.asarray(scan.q_inv_A)) < 2 * fringe


def test_a_scan_elsewhere_is_refused() -> None:
    fitted = fitted_gold()
    particle = fitted.particle()
    away = fitted.measurement.every(40).model_copy(update={"q_inv_A": (0.0, 3.0, 3.0)})
    with pytest.raises(ValueError, match="misses the particle's peak"):
        Rescan(away, particle.size_nm).expected_counts(particle)


def test_an_object_is_stored_whole(tmp_path: Path) -> None:
    density, support = lopsided()
    particle = object_from_density(density, support, 9.0, np.eye(3), np.eye(3), "Pt", (2, 0, 0))
    measurement = fitted_gold().measurement
    save_object(tmp_path / "object.npz", particle, measurement, "made in a test")
    again, how, source = load_object(tmp_path / "object.npz")
    assert source == "made in a test"
    assert how == measurement
    assert (again.metal, again.hkl, again.size_nm) == (particle.metal, particle.hkl, particle.size_nm)
    np.testing.assert_allclose(again.positions_nm, particle.positions_nm, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(again.weights, particle.weights, rtol=1e-6, atol=1e-9)


def test_a_file_that_is_no_object_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz is not a Braggwatch object"):
        load_object(tmp_path / "other.npz")
