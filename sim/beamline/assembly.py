"""All devices of the simulated beamline around one world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ophyd_async.core import StaticPathProvider, UUIDFilenameProvider

from braggwatch.sim.beamline.classic_detectors import AreaDetectorHDF5, InlineDetector
from braggwatch.sim.beamline.diffractometer import DiffractometerSettings, place_diffractometer
from braggwatch.sim.beamline.motors import BeamlineMotor, RockingMotor
from braggwatch.sim.beamline.nuisance import NuisanceSpec
from braggwatch.sim.beamline.sample import SimulatedSample
from braggwatch.sim.beamline.stream_detector import StreamDetector
from braggwatch.sim.beamline.world import BeamSpec, SimulatedWorld
from braggwatch.sim.geometry.model import GeometryPreset

Detector = StreamDetector | InlineDetector | AreaDetectorHDF5


@dataclass(frozen=True, slots=True)
class SimulatedBeamline:
    """One world, its motors, and the same detector with three control-system interfaces.

    Attributes
    ----------
    world
        The simulation that all devices act on; also usable without them.
    th, sample_x, sample_y
        Rocking circle (degrees) and sample translations (µm).
    baseline
        Devices that report the geometry's values before and after each run, including the sample translations.
    stream_detector
        ophyd-async, StreamResource/StreamDatum; the only one that supports fly scans.
    inline_detector
        Classic ophyd, frames in the events.
    area_detector
        Classic areaDetector, Resource/Datum.
    """

    world: SimulatedWorld
    th: RockingMotor
    sample_x: BeamlineMotor
    sample_y: BeamlineMotor
    baseline: tuple[BeamlineMotor, ...]
    stream_detector: StreamDetector
    inline_detector: InlineDetector
    area_detector: AreaDetectorHDF5


def build_beamline(
    sample: SimulatedSample,
    preset: GeometryPreset,
    directory: Path,
    *,
    settings: DiffractometerSettings | None = None,
    beam: BeamSpec | None = None,
    nuisances: NuisanceSpec | None = None,
    seed: int = 0,
    swmr: bool = True,
) -> SimulatedBeamline:
    """Assemble the beamline; the plans connect the devices.

    Parameters
    ----------
    sample
        The particles on the holder.
    preset
        The geometry that listeners are configured with; its signals become baseline devices.
    directory
        Folder of the detector files; made absolute.
    settings
        Energy, distance, frame size.
    beam, nuisances
        Beam and detector artefacts. Without ``nuisances`` the saturation is the preset's.
    seed
        Seed of the noise.
    swmr
        Whether the classic detector's files can be read while they grow.

    Raises
    ------
    ValueError
        If the detector can't reach the sample's reflection.
    """
    geometry, carried = place_diffractometer(preset, settings or DiffractometerSettings(), sample)
    nuisances = nuisances or NuisanceSpec(saturation_counts=preset.saturation_counts)
    world = SimulatedWorld(sample, geometry, beam=beam, nuisances=nuisances, seed=seed)
    directory = directory.resolve()
    first = sample.particles[0]

    def move_x(position: float) -> None:
        world.x_um = position

    def move_y(position: float) -> None:
        world.y_um = position

    def rock(position: float) -> None:
        world.angle_deg = position

    th = RockingMotor(geometry.scanned, rock, world.bragg_angle_deg)
    sample_x = BeamlineMotor("sample_x", move_x, first.x_um, "um")
    sample_y = BeamlineMotor("sample_y", move_y, first.y_um, "um")
    shown = tuple(
        BeamlineMotor(signal, _stay_put, value, "") for signal, value in carried.items() if signal != geometry.scanned
    )
    return SimulatedBeamline(
        world=world,
        th=th,
        sample_x=sample_x,
        sample_y=sample_y,
        baseline=(*shown, sample_x, sample_y),
        stream_detector=StreamDetector(
            world, th, StaticPathProvider(UUIDFilenameProvider(), directory), preset.detector_field
        ),
        inline_detector=InlineDetector(world, preset.detector_field),
        area_detector=AreaDetectorHDF5(world, directory, preset.detector_field, swmr=swmr),
    )


def _stay_put(position: float) -> None:
    """Ignore the new position: the geometry was fixed when the world was made."""
    del position
