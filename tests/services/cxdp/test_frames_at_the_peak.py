"""One or two lost frames at the peak of a simulated crystal once made `edge` of `perfect`: now they are left out."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.run.frame_faults import FrameFault, find_faults
from braggwatch.callbacks.cxdp.run.volume import usable_counts
from braggwatch.sim.beamline.diffractometer import DiffractometerSettings, place_diffractometer
from braggwatch.sim.beamline.sample import SimulatedSample
from braggwatch.sim.beamline.world import SimulatedWorld
from braggwatch.sim.geometry import load_preset

CASES = Path(__file__).parents[4] / "shared" / "cases" / "cxdp"
COUNT = 81


@cache
def scanned(seed: int) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Rock a perfect gold crystal: (81, rows, columns) counts and the angles."""
    sample = SimulatedSample.grid(seed, rows=1, columns=1, labels=("perfect",), peak_counts=(2e5, 2e5))
    geometry, _ = place_diffractometer(load_preset("simulated"), DiffractometerSettings(), sample)
    world = SimulatedWorld(sample, geometry, seed=seed)
    world.x_um, world.y_um = sample.particles[0].x_um, sample.particles[0].y_um
    angles = np.linspace(-0.4, 0.4, COUNT) + round(world.bragg_angle_deg, 4)
    world.precompute(angles)
    return np.stack([world.expose(float(angle)) for angle in angles]), angles


def faults_of(frames: NDArray[np.generic], angles: NDArray[np.float64]) -> tuple[FrameFault, ...]:
    totals = usable_counts(frames, None).sum(axis=(1, 2), dtype=np.float64)
    return find_faults(frames, np.ones(COUNT, bool), angles, totals, np.ones(COUNT))


def peak_of(frames: NDArray[np.uint32]) -> int:
    return int(frames.sum(axis=(1, 2), dtype=np.int64).argmax())


@pytest.mark.parametrize("seed", [8, 12, 14])
def test_the_crystal_as_it_is_loses_no_frame(seed: int) -> None:
    assert faults_of(*scanned(seed)) == ()


@pytest.mark.parametrize("seed", [8, 14])
@pytest.mark.parametrize("offsets", [(0,), (1,), (0, 1), (1, 2)])
def test_a_frame_of_zeros_at_the_peak_is_no_frame(seed: int, offsets: tuple[int, ...]) -> None:
    frames, angles = scanned(seed)
    lost = tuple(peak_of(frames) + offset for offset in offsets)
    spoilt = frames.copy()
    spoilt[list(lost)] = 0
    assert faults_of(spoilt, angles) == (FrameFault("blank", lost),)


@pytest.mark.parametrize("seed", [12, 14])
@pytest.mark.parametrize(("dtype", "mark"), [("u4", 2**32 - 1), ("i4", -1)])
def test_a_frame_whose_every_pixel_is_marked_as_no_reading_is_no_frame(seed: int, dtype: str, mark: int) -> None:
    frames, angles = scanned(seed)
    peak, spoilt = peak_of(frames), frames.astype(dtype)
    spoilt[peak : peak + 2] = mark
    assert faults_of(spoilt, angles) == (FrameFault("blank", (peak, peak + 1)),)


@pytest.mark.parametrize("seed", [8, 12, 14])
def test_three_frames_attenuated_tenfold_at_the_peak_are_named(seed: int) -> None:
    frames, angles = scanned(seed)
    peak, spoilt = peak_of(frames), frames.copy()
    spoilt[peak - 1 : peak + 2] = np.random.default_rng(seed).binomial(spoilt[peak - 1 : peak + 2], 0.1)
    (fault,) = faults_of(spoilt, angles)
    assert (fault.kind, fault.frames) == ("attenuated", (peak - 1, peak, peak + 1))


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases aren't here")
@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.h5")))
def test_no_frame_of_an_independent_scan_is_contradicted(name: str) -> None:
    with h5py.File(CASES / f"{name}.h5") as file:
        frames, angles = np.asarray(file["/entry/data"]), np.asarray(file["/entry/th"])
    totals = frames.sum(axis=(1, 2), dtype=np.float64)
    assert find_faults(frames, np.ones(len(frames), bool), angles, totals, np.ones(len(frames))) == ()
