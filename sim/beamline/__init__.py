"""A simulated Bragg CDI beamline: many particles, real Bluesky devices and plans.

`braggwatch.sim.beamline.assembly.build_beamline` makes the devices, `braggwatch.sim.beamline.plans` scans them. Parts
that need no control system are separate: `sample`, `world` and `nuisance` import neither bluesky nor ophyd.

Used by the demo and tests; the live service doesn't import it.
"""

from braggwatch.sim.beamline.nuisance import NuisanceSpec
from braggwatch.sim.beamline.sample import Particle, SimulatedSample, Truth
from braggwatch.sim.beamline.world import BeamSpec, SimulatedWorld

__all__ = ["BeamSpec", "NuisanceSpec", "Particle", "SimulatedSample", "SimulatedWorld", "Truth"]
