"""A clean pattern is shown as measurements would have recorded it: other counts each time, never another class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson
from torch import Tensor

from braggwatch.models.cxdp.nuisance_augmentation import DEFAULT_RANGES, NuisanceRanges, measure_clean, measured_copy

NOTHING = NuisanceRanges(
    peak_counts=(1e5, 1e5),
    background=(1e-9, 1e-9),
    zoom=0.0,
    shift=0.0,
    blurred_share=0.0,
    gap_share=0.0,
    alien_share=0.0,
    gain_share=0.0,
)


def pattern(period: float = 3.5, count: int = 1) -> Tensor:
    """log1p of a cube crystal's pattern, fringe period in voxels, peak 1e6."""
    one = torch.sinc((torch.arange(64.0) - 32) / period) ** 2
    intensity = 1e6 * one[:, None, None] * one[:, None] * one
    return torch.log1p(intensity).expand(count, 64, 64, 64).clone()


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counts(log_intensity: Tensor) -> Tensor:
    return torch.expm1(log_intensity)


def test_it_gives_whole_counts_in_the_range_and_the_peak_stays() -> None:
    measured = counts(measured_copy(pattern(count=12), generator()))
    torch.testing.assert_close(measured, measured.round(), rtol=1e-5, atol=1e-3)
    peaks = measured.amax(dim=(1, 2, 3))
    assert peaks.min() > 600
    # the gains of the pixels may lift the brightest one
    assert peaks.max() < 2.2e6
    assert peaks.max() / peaks.min() > 30
    for volume in measured:
        at = np.unravel_index(int(volume.argmax()), (64, 64, 64))
        assert max(abs(int(i) - 32) for i in at) <= 1


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_seed_alone_decides(seed: int) -> None:
    volumes = pattern(count=3)
    torch.testing.assert_close(measured_copy(volumes, generator(seed)), measured_copy(volumes, generator(seed)))
    other = measured_copy(volumes, generator(seed + 1))
    assert not torch.equal(measured_copy(volumes, generator(seed)), other)


def test_the_noise_is_poissonian_at_few_and_at_many_counts() -> None:
    flat = torch.log1p(torch.full((4, 64, 64, 64), 1e6))
    for level in (3.0, 100.0):
        ranges = replace(NOTHING, peak_counts=(level, level))
        inner = counts(measured_copy(flat, generator(), ranges))[:, 8:56, 8:56, 8:56]
        assert inner.mean() == pytest.approx(level, rel=0.005)
        assert inner.var() == pytest.approx(level, rel=0.02)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.29, 0.31, 2.0, 29.0, 31.0])
def test_counts_follow_poissons_law_at_every_rate(rate: float) -> None:
    volumes = torch.full((1, 64, 64, 64), float(np.log1p(rate)))
    volumes[0, 32, 32, 32] = float(np.log1p(1e5))
    measured = np.rint(counts(measured_copy(volumes, generator(), NOTHING)).numpy().ravel()).astype(int)
    voxels = measured.size
    most = int(poisson.ppf(1 - 1e-3, rate))
    seen = np.bincount(measured, minlength=most + 1)[: most + 1] / voxels
    expected = poisson.pmf(np.arange(most + 1), rate)
    # the rounded normal law that takes over at 30 counts is off by its skewness
    skewness = 0.0 if rate < 30 else 0.03 * expected.max()
    assert np.abs(seen - expected).max() < 5 * np.sqrt(expected.max() / voxels) + skewness


def test_without_any_effect_only_noise_is_added() -> None:
    clean = pattern()
    measured = counts(measured_copy(clean, generator(), NOTHING))
    expected = counts(clean) * 0.1
    bright = expected > 500
    deviation = ((measured - expected) / expected.sqrt())[bright]
    assert deviation.abs().max() < 6


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_zoom_changes_the_fringe_period_and_nothing_else(seed: int) -> None:
    ranges = replace(NOTHING, zoom=0.08, peak_counts=(1e9, 1e9))
    draw = float(torch.rand((1, 32), generator=generator(seed))[0, 0])
    period = 3.5 * float(np.exp(0.08 * (2 * draw - 1)))
    zoomed = counts(measured_copy(pattern(), generator(seed), ranges))
    wanted = counts(pattern(period)) * 1e3
    error = float((zoomed - wanted).norm() / wanted.norm())
    assert error < 0.06
    assert error < float((zoomed - counts(pattern()) * 1e3).norm() / wanted.norm())


def test_a_blur_lifts_the_minima_and_keeps_the_total() -> None:
    ranges = replace(NOTHING, blurred_share=1.0, blur=(0.2, 0.2))
    sharp = counts(measured_copy(pattern(4.0), generator(), NOTHING))
    blurred = counts(measured_copy(pattern(4.0), generator(), ranges))
    minimum = (0, 36, 32, 32)
    assert blurred[minimum] > 20 * (sharp[minimum] + 1)
    # the peak is scaled to the same counts, so that the spread of the intensity shows as a larger total
    assert blurred.sum() > 1.2 * sharp.sum()


def test_gaps_and_aliens_keep_off_the_peak() -> None:
    ranges = replace(NOTHING, background=(50.0, 50.0), gap_share=1.0, alien_share=1.0, peak_counts=(1e4, 1e4))
    measured = counts(measured_copy(pattern(count=6), generator(), ranges))
    dead = measured == 0
    assert (dead.sum(dim=(1, 2, 3)) > 500).all()
    near = torch.linalg.vector_norm(torch.stack(torch.meshgrid(*[torch.arange(64.0) - 32] * 3, indexing="ij")), dim=0)
    assert not dead[:, near < 5].any()
    assert (measured.amax(dim=(1, 2, 3)) < 1.1e4).all()
    strong = replace(ranges, alien_strength=(0.5, 0.5), gap_share=0.0)
    brightest_far = counts(measured_copy(pattern(count=6), generator(), strong))[:, near > 5].amax(dim=1)
    assert (brightest_far > 3000).all()


def test_gains_are_constant_along_one_axis() -> None:
    flat = torch.log1p(torch.full((3, 64, 64, 64), 1e6))
    ranges = replace(NOTHING, gain_share=1.0, gain_spread=(0.2, 0.2), peak_counts=(1e6, 1e6))
    for volume in counts(measured_copy(flat, generator(), ranges))[:, 4:60, 4:60, 4:60]:
        along = min(float(volume.std(dim=axis).mean()) for axis in range(3))
        assert along < 2e3
        assert float(volume.std()) > 5e4


def test_measured_samples_pass_unchanged() -> None:
    volumes = pattern(count=4)
    clean = torch.tensor([True, False, False, True])
    out = measure_clean(volumes, clean, generator())
    torch.testing.assert_close(out[1:3], volumes[1:3])
    assert not torch.equal(out[0], volumes[0])
    assert not torch.equal(out[3], volumes[3])
    assert measure_clean(volumes, torch.zeros(4, dtype=torch.bool), generator()) is volumes


def test_nothing_and_the_wrong_shape() -> None:
    assert len(measured_copy(torch.zeros(0, 64, 64, 64), generator())) == 0
    empty = measured_copy(torch.zeros(1, 64, 64, 64), generator(), DEFAULT_RANGES)
    assert bool(empty.isfinite().all())
    with pytest.raises(ValueError, match="64"):
        measured_copy(torch.zeros(1, 32, 32, 32), generator())


@pytest.mark.gpu
def test_it_runs_on_the_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    on_device = torch.Generator("cuda").manual_seed(1)
    measured = measured_copy(pattern(count=8).cuda(), on_device)
    assert measured.device.type == "cuda"
    assert bool(measured.isfinite().all())


def test_the_rarest_draw_of_noise_leaves_no_negative_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def lowest(shape: torch.Size, generator: torch.Generator, device: torch.device) -> torch.Tensor:
        return torch.full(tuple(shape), -6.5, device=device)

    monkeypatch.setattr(torch, "randn", lowest)
    every_rate = torch.linspace(0, 13, 64).expand(1, 64, 64, 64)
    shown = measured_copy(every_rate, torch.Generator().manual_seed(3))
    assert bool(torch.isfinite(shown).all())
    assert float(shown.min()) >= 0.0
