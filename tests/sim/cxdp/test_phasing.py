"""Phase retrieval finds the object that made a peak: its shape, its strain, and whether a line runs through it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, generate_binary_structure

from braggwatch.sim.crystallography.fcc import METALS
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec, displacement
from braggwatch.sim.cxdp.phasing import PhasingSettings, align, overlap, retrieve, twin, vortices

N = 48
SETTINGS = PhasingSettings(seeds=2, cycles=8, hybrid=25, finish=30)


def particle() -> NDArray[np.bool_]:
    """A lopsided polyhedron, so that it is not its own twin."""
    x, y, z = np.meshgrid(*(np.arange(N) - N // 2,) * 3, indexing="ij")
    body = (np.abs(x) <= 9) & (np.abs(y) <= 8) & (np.abs(z) <= 7)
    return body & (x + y + z <= 13) & (x - y + z >= -12) & (2 * x - z <= 17)


def screw_phase() -> NDArray[np.float64]:
    """g·u of a screw with g·b = 1 through the middle, radians."""
    au = METALS["Au"]
    voxel_nm = 10.0
    points = (np.stack(np.meshgrid(*(np.arange(N) - N // 2,) * 3, indexing="ij"), axis=-1) + 0.3) * voxel_nm
    line = LineSpec(burgers=(1, 1, 0), plane=0, character_deg=0.0, offset=(0.0, 0.0))
    a = au.lattice_parameter_nm
    u = displacement(line, np.asarray(points.reshape(-1, 3), np.float64), np.zeros(3), a, au.poisson_ratio)
    return -2 * np.pi * (u @ (np.array([1.0, 1.0, 1.0]) / a)).reshape(N, N, N)


def smooth_phase() -> NDArray[np.float64]:
    x, y, z = np.meshgrid(*((np.arange(N) - N // 2) / 9,) * 3, indexing="ij")
    return 0.4 * np.cos(2.1 * x + y) + 0.3 * np.sin(1.5 * z - x)


def counts(density: NDArray[np.complexfloating], peak: float = 1e6) -> NDArray[np.float64]:
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(density)))
    intensity = np.abs(field) ** 2
    return np.random.default_rng(1).poisson(intensity * peak / intensity.max()).astype(np.float64)


def made(phase: Callable[[], NDArray[np.float64]]) -> NDArray[np.complex64]:
    return (particle() * np.exp(1j * phase())).astype(np.complex64)


@pytest.mark.parametrize(("phase", "line"), [(smooth_phase, False), (screw_phase, True)])
def test_it_recovers_the_object_and_its_line(phase: Callable[[], NDArray[np.float64]], line: bool) -> None:
    truth = made(phase)
    found = retrieve(counts(truth), settings=SETTINGS)
    assert overlap(align(found.density, truth), truth) > 0.9
    widest = binary_dilation(particle(), generate_binary_structure(3, 3))
    assert 0.95 * particle().sum() < found.support.sum() < widest.sum()
    assert found.error < 0.02
    assert found.errors[0] == found.error
    assert (vortices(found.density, found.support) > 20) is line


def test_what_was_not_measured_is_left_free_and_bounded() -> None:
    truth = made(smooth_phase)
    seen = counts(truth)
    measured = np.ones(seen.shape, dtype=bool)
    measured[:4] = measured[-4:] = False
    measured[:, N // 2 + 5 : N // 2 + 7, :] = False
    seen[~measured] = 0
    found = retrieve(seen, measured, SETTINGS)
    assert overlap(align(found.density, truth), truth) > 0.88


def test_vortices_are_counted_only_where_the_phase_winds() -> None:
    inside = particle()
    assert vortices(made(smooth_phase), inside) == 0
    assert vortices(made(screw_phase), inside) > 20
    steep = (inside * np.exp(1j * 2.5 * np.arange(N))[:, None, None]).astype(np.complex64)
    assert vortices(steep, inside) == 0


def test_a_twin_scatters_alike_and_is_turned_back() -> None:
    truth = made(smooth_phase)
    other = np.roll(twin(truth), (2, -1, 3), axis=(0, 1, 2)) * np.exp(1j * 0.7)
    np.testing.assert_allclose(np.abs(np.fft.fftn(other)), np.abs(np.fft.fftn(truth)), rtol=1e-3, atol=0.05)
    np.testing.assert_array_equal(twin(twin(truth)), truth)
    assert overlap(align(other.astype(np.complex64), truth), truth) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    "bad", [np.zeros((8, 8, 8)), np.ones((8, 8, 9)), np.ones((8, 8)), np.full((8, 8, 8), np.nan), -np.ones((8, 8, 8))]
)
def test_what_is_no_peak_is_refused(bad: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match=r"phas"):
        retrieve(bad)
