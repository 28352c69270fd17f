"""A frame that its neighbours contradict is no frame: whole crystals lose none, spoilt scans lose the right ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.scan_plan import plan_scan
from braggwatch.callbacks.cxdp.preprocess.warm_up import artificial_curve
from braggwatch.callbacks.cxdp.run.frame_faults import FrameFault, find_faults
from braggwatch.models.verdict import Outcome

Frames = NDArray[np.uint32]
COUNT = 48


def crystal(turns: int, *, fringe: float = 4.0, peak: float = 1e5, seed: int = 0) -> Frames:
    """Rock an ellipsoid whose phase winds ``turns`` times about a line across the scan: (48, 64, 64) counts.

    One turn splits the peak, two leave its middle dark; ``fringe`` is in frames.
    """
    n = 64
    radius = n / fringe / 2
    x, y, z = np.meshgrid(*[np.arange(n) - n / 2 + 0.5] * 3, indexing="ij")
    body = (x / radius) ** 2 + (y / radius) ** 2 + (z / (1.2 * radius)) ** 2 <= 1
    field = np.fft.fftshift(np.fft.fftn(body * np.exp(1j * turns * np.arctan2(y, x))))
    expected = np.abs(field[(n - COUNT) // 2 : (n + COUNT) // 2]) ** 2
    return np.random.default_rng(seed).poisson(expected * (peak / expected.max()) + 0.01).astype(np.uint32)


def faults_of(frames: Frames, scale: NDArray[np.float64] | None = None) -> tuple[FrameFault, ...]:
    angles = np.linspace(-0.2, 0.2, len(frames))
    totals = np.where(frames == np.iinfo(np.uint32).max, 0, frames).sum(axis=(1, 2), dtype=np.float64)
    scale = np.ones(len(frames)) if scale is None else scale
    return find_faults(frames, np.ones(len(frames), bool), angles, totals, scale)


def attenuated(frames: Frames, block: slice, factor: float) -> Frames:
    spoilt = frames.copy()
    spoilt[block] = np.random.default_rng(1).binomial(frames[block].astype(np.int64), factor)
    return spoilt


@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("fringe", [2.6, 4.0, 7.0])
@pytest.mark.parametrize("peak", [1e3, 1e6])
def test_a_whole_scan_loses_no_frame_however_its_peak_is_split(turns: int, fringe: float, peak: float) -> None:
    assert faults_of(crystal(turns, fringe=fringe, peak=peak)) == ()


@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("block", [slice(24, 25), slice(23, 25), slice(22, 25), slice(26, 28)])
@pytest.mark.parametrize("factor", [0.1, 0.5])
def test_an_attenuator_that_nobody_stated_is_found_with_its_factor(turns: int, block: slice, factor: float) -> None:
    (fault,) = faults_of(attenuated(crystal(turns), block, factor))
    assert (fault.kind, fault.frames) == ("attenuated", tuple(range(block.start, block.stop)))
    assert fault.factor == pytest.approx(factor, rel=0.15)
    assert "transmission_field" in fault.in_words


def test_an_attenuator_that_a_signal_states_is_no_fault() -> None:
    scale = np.ones(COUNT)
    scale[22:25] = 10.0
    assert faults_of(attenuated(crystal(0), slice(22, 25), 0.1), scale) == ()


def blank(frames: Frames, block: slice) -> None:
    frames[block] = 0


def marked(frames: Frames, block: slice) -> None:
    frames[block] = np.iinfo(np.uint32).max


def repeat(frames: Frames, block: slice) -> None:
    frames[block] = frames[block.start - 1]


def fill(frames: Frames, block: slice) -> None:
    frames[block] = 2**20 - 1


def clip(frames: Frames, block: slice) -> None:
    frames[block] = np.minimum(frames[block], 20_000)


def lose_rows(frames: Frames, block: slice) -> None:
    frames[block, :33] = 0


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (blank, "blank"),
        (marked, "blank"),
        (repeat, "repeated"),
        (fill, "saturated"),
        (clip, "saturated"),
        (lose_rows, "partly lost"),
    ],
)
@pytest.mark.parametrize("block", [slice(24, 25), slice(25, 27), slice(22, 25)])
def test_frames_that_are_no_measurement_are_named(
    spoil: Callable[[Frames, slice], None], kind: str, block: slice
) -> None:
    frames = crystal(0, fringe=5.0)
    spoil(frames, block)
    (fault,) = faults_of(frames)
    assert (fault.kind, fault.frames) == (kind, tuple(range(block.start, block.stop)))
    assert f"{block.start + 1}" in fault.in_words


@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("fringe", [4.0, 7.0])
@pytest.mark.parametrize(("dtype", "peak"), [("u2", 7.5e4), ("u2", 2e5), ("u2", 1e6), ("u1", 600.0), ("u4", 5500.0)])
def test_frames_whose_counter_wraps_are_found(turns: int, fringe: float, dtype: str, peak: float) -> None:
    """Counters of 16, 8, and, in a wider type, 12 bits."""
    frames = crystal(turns, fringe=fringe, peak=peak)
    period = 2**12 if dtype == "u4" else 2 ** (8 * np.dtype(dtype).itemsize)
    wrapped = (frames % period).astype(dtype)
    brightest = int(frames.max(axis=(1, 2)).argmax())
    faults = find_faults(
        wrapped,
        np.ones(COUNT, bool),
        np.linspace(-0.2, 0.2, COUNT),
        wrapped.sum(axis=(1, 2), dtype=np.float64),
        np.ones(COUNT),
    )
    found = {index for fault in faults if fault.kind == "wrapped" for index in fault.frames}
    assert brightest in found
    assert "began again at zero" in next(fault.in_words for fault in faults if fault.kind == "wrapped")


@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("fringe", [2.6, 4.0, 7.0])
@pytest.mark.parametrize("full", [2**12, 2**16])
def test_a_peak_that_almost_fills_its_counter_is_whole(turns: int, fringe: float, full: int) -> None:
    frames = crystal(turns, fringe=fringe, peak=0.95 * full)
    frames = np.minimum(frames, full - 1)
    frames[:, 30, 30] = 0
    frames[:, 20, 40] = full - 1
    assert [fault for fault in faults_of(frames) if fault.kind == "wrapped"] == []


def test_hot_and_dead_pixels_that_never_change_repeat_nothing() -> None:
    frames = crystal(0, peak=1e3)
    frames[:, 5, 6] = 65535
    frames[:, 40:42] = 65535
    assert faults_of(frames) == ()


def spoilt_scan(scan_of, block: slice):
    scan = scan_of(41, shape=(64, 64))
    scan.frames[block] = 0
    return scan


def test_blank_frames_at_the_peak_leave_no_class_and_the_record_names_them(scan_of, bench) -> None:
    bench.feed(spoilt_scan(scan_of, slice(20, 22)).inline()).wait(3)
    result = bench.result
    assert (result.verdict.outcome, result.verdict.label) == (Outcome.PARTIAL, None)
    assert (result.frames_received, result.frames_expected) == (39, 41)
    assert "2 of them near the peak" in result.verdict.reason
    assert "frames 21 and 22 are blank" in result.verdict.reason
    assert bench.callback.counters.frames_contradicted == 2
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(bench.reports[0].rocking_curve[:, 1])), [20, 21])


def test_a_blank_frame_on_the_flank_is_left_out_and_the_class_stays(scan_of, bench) -> None:
    bench.feed(spoilt_scan(scan_of, slice(10, 11)).inline()).wait(3)
    assert (bench.result.verdict.outcome, bench.result.verdict.label) == (Outcome.PARTIAL, "screw")
    assert not bench.curve.present[10]
    assert bench.curve.notes == ("frame 11 is blank between bright neighbours",)


def test_the_rule_can_be_switched_off(scan_of, bench_of) -> None:
    bench = bench_of(leave_out_contradicted=False)
    bench.feed(spoilt_scan(scan_of, slice(20, 22)).inline()).wait(3)
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED


def test_what_was_left_out_is_a_flag_of_the_quality() -> None:
    curve = replace(artificial_curve(np.dtype(np.uint16)), notes=("frame 3 is blank between bright neighbours",))
    assert plan_scan(curve, PreprocessingSettings()).flags == curve.notes
