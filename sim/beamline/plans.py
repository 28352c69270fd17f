"""Plans for the simulated beamline: a rocking curve as a step or fly scan, and a tour of all particles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator
from numpy.typing import NDArray
from ophyd_async.core import DetectorTrigger, TriggerInfo
from ophyd_async.plan_stubs import ensure_connected

from braggwatch.sim.beamline.assembly import Detector, SimulatedBeamline
from braggwatch.sim.beamline.motors import RockingTrajectory
from braggwatch.sim.beamline.sample import Particle

Metadata = Mapping[str, object]
AfterScan = Callable[[Particle, str], MsgGenerator[None]]


def _connect(beamline: SimulatedBeamline) -> MsgGenerator[None]:
    yield from ensure_connected(beamline.th, *beamline.baseline, beamline.stream_detector)


def _precompute(beamline: SimulatedBeamline, angles_deg: NDArray[np.float64]) -> MsgGenerator[None]:
    async def compute() -> None:
        await asyncio.to_thread(beamline.world.precompute, angles_deg)

    yield from bps.wait_for([compute])


def _simulation_metadata(beamline: SimulatedBeamline, md: Metadata | None, plan_name: str) -> dict[str, object]:
    """Return sample and reflection as a user would give them, and the true defect of the most illuminated particle."""
    world = beamline.world
    lit = sorted(world.illuminated(), key=lambda pair: pair[1] * pair[0].peak_counts, reverse=True)
    metadata: dict[str, object] = {
        "plan_name": plan_name,
        "sample_name": world.sample.name,
        "hkl": list(world.sample.hkl),
    }
    if lit:
        particle = lit[0][0]
        metadata["hkl"] = list(particle.crystal.hkl)
        metadata["sample_name"] = world.sample.particle_name(particle.index)
        metadata["braggwatch_simulation"] = particle.truth.model_dump(mode="json")
    return {**metadata, **(md or {})}


def rocking_curve(
    beamline: SimulatedBeamline,
    detector: Detector,
    start_deg: float,
    stop_deg: float,
    num: int,
    *,
    md: Metadata | None = None,
    precompute: bool = True,
) -> MsgGenerator[str]:
    """Measure a rocking curve as a step scan.

    Parameters
    ----------
    beamline
        The devices.
    detector
        One of the beamline's three.
    start_deg, stop_deg
        Readings of the rocking circle in degrees, both included.
    num
        Number of frames.
    md
        Start document metadata; overrides the simulation's own.
    precompute
        Compute all frames before the run starts (faster overall) or each when it is taken (no wait at the start).

    Returns
    -------
    The run's uid.
    """
    yield from _connect(beamline)
    if precompute:
        yield from _precompute(beamline, np.linspace(start_deg, stop_deg, num))
    metadata = _simulation_metadata(beamline, md, "rocking_curve")
    # classic ophyd's annotations don't match bluesky's protocol, although its devices do
    detectors = cast("list[Readable[object]]", [detector])
    scan = bp.scan(detectors, beamline.th, start_deg, stop_deg, num=num, md=metadata)
    return cast("str", (yield from bpp.baseline_wrapper(scan, list(beamline.baseline))))


def fly_rocking_curve(
    beamline: SimulatedBeamline,
    start_deg: float,
    stop_deg: float,
    num: int,
    *,
    dwell_s: float = 0.0,
    flush_period_s: float = 0.1,
    md: Metadata | None = None,
    precompute: bool = True,
) -> MsgGenerator[str]:
    """Measure a rocking curve as a fly scan: without events; frames and angles are two datasets of one file.

    Parameters
    ----------
    beamline
        The devices; its stream detector takes the frames.
    start_deg, stop_deg, num
        As in `rocking_curve`.
    dwell_s
        Seconds from frame to frame.
    flush_period_s
        Seconds between StreamDatum documents.
    md, precompute
        As in `rocking_curve`.

    Returns
    -------
    The run's uid.
    """
    th, detector = beamline.th, beamline.stream_detector
    trajectory = RockingTrajectory(start_deg=start_deg, stop_deg=stop_deg, num=num, dwell_s=dwell_s)
    yield from _connect(beamline)
    if precompute:
        yield from _precompute(beamline, trajectory.angles_deg)
    metadata = {
        "num_points": num,
        "detectors": [detector.name],
        "motors": [th.name],
        "hints": {"dimensions": [[[th.name], "primary"]]},
        **_simulation_metadata(beamline, md, "fly_rocking_curve"),
    }

    @bpp.stage_decorator([detector, th])
    @bpp.run_decorator(md=metadata)
    def fly() -> MsgGenerator[None]:
        yield from bps.prepare(th, trajectory, wait=True)
        trigger = TriggerInfo(trigger=DetectorTrigger.EXTERNAL_EDGE, number_of_events=num, livetime=dwell_s)
        yield from bps.prepare(detector, trigger, wait=True)
        yield from bps.declare_stream(detector, name="primary", collect=True)
        yield from bps.kickoff_all(detector, th, wait=True)
        yield from bps.collect_while_completing(
            flyers=[th, detector], dets=[detector], flush_period=flush_period_s, stream_name="primary"
        )

    return cast("str", (yield from bpp.baseline_wrapper(fly(), list(beamline.baseline))))


def screen_particles(
    beamline: SimulatedBeamline,
    half_width_deg: float,
    num: int,
    *,
    detector: Detector | None = None,
    particles: Sequence[Particle] | None = None,
    dwell_s: float = 0.0,
    md: Metadata | None = None,
    after_scan: AfterScan | None = None,
    precompute: bool = True,
) -> MsgGenerator[list[str]]:
    """Visit particles and measure a rocking curve of each about its Bragg angle.

    Parameters
    ----------
    beamline
        The devices.
    half_width_deg
        Half the rocking range, degrees.
    num
        Number of frames per scan.
    detector
        One of the beamline's three for step scans; None: fly scans.
    particles
        Particles to visit, in this order; None: all of the sample.
    dwell_s
        Seconds from frame to frame of fly scans.
    md
        Added to every start document.
    after_scan
        Plan to run after each scan, called with the particle and the run's uid, e.g. to wait for a verdict.
    precompute
        As in `rocking_curve`.

    Returns
    -------
    The uids of the runs, in order.
    """
    centre = beamline.world.bragg_angle_deg
    start, stop = centre - half_width_deg, centre + half_width_deg
    uids: list[str] = []
    yield from _connect(beamline)
    for particle in particles if particles is not None else beamline.world.sample.particles:
        yield from bps.mv(beamline.sample_x, particle.x_um, beamline.sample_y, particle.y_um)
        if detector is None:
            uid = yield from fly_rocking_curve(
                beamline, start, stop, num, dwell_s=dwell_s, md=md, precompute=precompute
            )
        else:
            uid = yield from rocking_curve(beamline, detector, start, stop, num, md=md, precompute=precompute)
        uids.append(uid)
        if after_scan is not None:
            yield from after_scan(particle, uid)
    return uids
