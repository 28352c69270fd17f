"""Lost fringe contrast, plates, second peaks and gaps are told from the volume; a good crystal passes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from braggwatch.models.bundling.manifest import PeakLimits
from braggwatch.models.cxdp.volume.peak_checks import fit_peak_limits, lost, measure_peak, second_peaks

PERIOD = 3.5


def box_pattern(sides: tuple[float, float, float] = (1.0, 1.0, 1.0), peak: float = 1e5) -> NDArray[np.float64]:
    """The pattern of a brick, its sides in particle sizes: fringes of PERIOD / side voxels along each axis."""
    axes = [np.sinc(side * (np.arange(64) - 32.0) / PERIOD) ** 2 for side in sides]
    return peak * axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]


def counted(rate: NDArray[np.float64], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).poisson(rate + 0.01).astype(np.float32)


@pytest.fixture(scope="module")
def limits() -> PeakLimits:
    rng = np.random.default_rng(3)
    good = [
        measure_peak(counted(box_pattern(tuple(rng.uniform(0.8, 1.25, 3)), 10 ** rng.uniform(4, 5)), seed), PERIOD)
        for seed in range(40)
    ]
    return fit_peak_limits(good, PERIOD)


def test_a_good_crystal_passes(limits: PeakLimits) -> None:
    found = measure_peak(counted(box_pattern((0.9, 1.0, 1.1)), 77), PERIOD)
    assert second_peaks(found, limits) is None
    assert lost(found, limits) == ()


def test_a_blurred_pattern_has_lost_its_contrast(limits: PeakLimits) -> None:
    contrast = [
        measure_peak(counted(gaussian_filter(box_pattern(), PERIOD * blur)), PERIOD).fringe_contrast
        for blur in (0.1, 0.2, 0.3, 0.4)
    ]
    assert contrast == sorted(contrast, reverse=True)
    blurred = measure_peak(counted(gaussian_filter(box_pattern(), PERIOD * 0.4)), PERIOD)
    assert any("lost contrast" in reason for reason in lost(blurred, limits))


def test_a_plate_is_measured_as_one(limits: PeakLimits) -> None:
    found = measure_peak(counted(box_pattern((0.5, 1.5, 1.5))), PERIOD)
    assert found.aspect == pytest.approx(3.0, rel=0.15)
    assert any("longer or flatter" in reason for reason in lost(found, limits))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_gap_through_the_peak_is_told(limits: PeakLimits, axis: int) -> None:
    volume = counted(box_pattern())
    np.moveaxis(volume, axis, 0)[32:34] = 0.0
    assert any("a gap or blank frames" in reason for reason in lost(measure_peak(volume, PERIOD), limits))


def test_a_fainter_peak_beside_the_first_is_told(limits: PeakLimits) -> None:
    pair = box_pattern() + 0.1 * np.roll(box_pattern(), (12, 8, 0), (0, 1, 2))
    assert "lies 14 or more voxels beside it" in (second_peaks(measure_peak(counted(pair), PERIOD), limits) or "")


def test_a_limit_that_is_not_there_is_not_checked() -> None:
    blurred = measure_peak(counted(gaussian_filter(box_pattern((0.4, 1.5, 1.5)), 2.0)), PERIOD)
    assert lost(blurred, PeakLimits()) == ()
    assert second_peaks(blurred, PeakLimits()) is None
