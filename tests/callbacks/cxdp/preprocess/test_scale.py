"""The particle's size comes out of its pattern, whatever the grid, the counts and the defect."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.scale import estimate_size, voxel_size

EDGE = 64


def sphere(size_nm: float, step: float) -> NDArray[np.float64]:
    """|form factor|² of a sphere, 1 at the middle."""
    axis = (np.arange(EDGE) - EDGE / 2) * step
    q = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    x = np.maximum(q * size_nm * 10 / 2, 1e-6)
    return np.where(x < 1e-3, 1.0, (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2)


@pytest.mark.parametrize("size_nm", [20.0, 150.0, 328.0])
@pytest.mark.parametrize("period", [3.0, 3.5, 5.0])
def test_a_spheres_size_is_its_diameter(size_nm: float, period: float) -> None:
    step = voxel_size(size_nm, period)
    estimate = estimate_size(sphere(size_nm, step).astype(np.float32), step)
    assert estimate is not None
    assert estimate.trusted, estimate.doubt
    assert estimate.size_nm == pytest.approx(size_nm, rel=0.05)


@pytest.mark.parametrize("peak", [1e3, 1e5])
def test_noise_and_background_leave_it_alone(peak: float) -> None:
    step = voxel_size(200.0, 3.5)
    counts = np.random.default_rng(0).poisson(peak * sphere(200.0, step) + 0.05)
    estimate = estimate_size(counts.astype(np.float32), step)
    assert estimate is not None
    assert estimate.size_nm == pytest.approx(200.0, rel=0.05)


def boxes(phase: NDArray[np.float64] | None, *, second: bool) -> NDArray[np.float32]:
    """Pattern of a 16³ box in a 64³ field, with a phase, or beside another one."""
    field = np.zeros((EDGE,) * 3, dtype=complex)
    field[24:40, 24:40, 24:40] = 1.0
    if second:
        field[24:40, 24:40, 6:20] = 0.5
    if phase is not None:
        field = field * np.exp(1j * phase)
    return np.fft.fftshift(np.abs(np.fft.fftn(field)) ** 2).astype(np.float32)


def test_a_screw_line_shortens_it_little() -> None:
    x, y = np.meshgrid(np.arange(EDGE) - 31.5, np.arange(EDGE) - 31.5, indexing="ij")
    perfect = estimate_size(boxes(None, second=False), 1e-3)
    screw = estimate_size(boxes(np.arctan2(y, x)[:, :, None], second=False), 1e-3)
    assert perfect is not None
    assert screw is not None
    assert screw.size_nm == pytest.approx(perfect.size_nm, rel=0.06)


def test_a_second_particle_is_noticed() -> None:
    estimate = estimate_size(boxes(None, second=True), 1e-3)
    assert estimate is None or (not estimate.trusted and estimate.doubt)


def test_nothing_gives_nothing() -> None:
    assert estimate_size(np.zeros((EDGE,) * 3, dtype=np.float32), 1e-3) is None
