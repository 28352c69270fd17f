"""A small simulated beamline and a real RunEngine for the tests of the simulation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bluesky import RunEngine

from braggwatch.sim.beamline.assembly import SimulatedBeamline, build_beamline
from braggwatch.sim.beamline.diffractometer import DiffractometerSettings
from braggwatch.sim.beamline.sample import SimulatedSample
from braggwatch.sim.geometry.model import CirclePreset, GeometryPreset, Signal


@pytest.fixture(scope="session")
def small_preset() -> GeometryPreset:
    """A vertical rocking axis and a two-circle detector arm, all readings from signals."""
    return GeometryPreset(
        name="small",
        description="Test diffractometer",
        energy_keV=Signal(signal="energy", scale=1.0),
        sample_circles=(CirclePreset(name="th", axis="y+", angle_deg=Signal(signal="th", scale=1.0), offset_deg=0.0),),
        scanned="th",
        detector_circles=(
            CirclePreset(name="delta", axis="y+", angle_deg=Signal(signal="delta", scale=1.0), offset_deg=0.0),
            CirclePreset(name="gamma", axis="x-", angle_deg=Signal(signal="gamma", scale=1.0), offset_deg=0.0),
        ),
        distance_m=Signal(signal="detector_distance", scale=1e-3),
        pixel_size_m=(55e-6, 55e-6),
        row_direction="y-",
        column_direction="x+",
        detector_tilt=None,
        direct_beam_px=(256.0, 256.0),
        direct_beam_angles_deg=(0.0, 0.0),
        chip_shape=(512, 512),
        roi_origin=(Signal(signal="roi_y", scale=1.0), Signal(signal="roi_x", scale=1.0)),
        binning=(1, 1),
        transposed=False,
        detector_field="det_image",
        monitor_field=None,
        transmission_field=None,
        saturation_counts=1e6,
        material="Au",
        lattice_parameter_A=4.0782,
        hkl=(1, 1, 1),
    )


@pytest.fixture(scope="session")
def small_settings() -> DiffractometerSettings:
    return DiffractometerSettings(frame_shape=(32, 40), circles_deg={"th": 18.0, "gamma": 12.0})


@pytest.fixture(scope="session")
def small_sample() -> SimulatedSample:
    return SimulatedSample.grid(5, rows=2, columns=2, points_across=12, size_nm=(250.0, 320.0))


@pytest.fixture
def make_beamline(
    small_preset: GeometryPreset, small_settings: DiffractometerSettings, small_sample: SimulatedSample, tmp_path: Path
):
    """Builds beamlines that are all alike unless told otherwise."""

    def make(**changes: object) -> SimulatedBeamline:
        given: dict[str, object] = {"settings": small_settings, "seed": 3, **changes}
        return build_beamline(small_sample, small_preset, tmp_path, **given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def run_engine() -> Iterator[RunEngine]:
    """A RunEngine whose event loop thread ends with the test."""
    engine = RunEngine({}, call_returns_result=True)
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(timeout=10)
    engine.loop.close()
