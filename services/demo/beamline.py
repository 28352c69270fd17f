"""The demo's beamline: a separate process that knows only the proxy's address, like a real beamline.

    python -m braggwatch.services.demo.beamline IN_ADDRESS --folder DIR --scans 6

It prints ``ready`` on standard output, waits for one line on standard input, and scans.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from braggwatch.sim.beamline.assembly import Detector, SimulatedBeamline

PREFIX = b"demo"
PRESET = "simulated"
ROUTES = ("stream", "inline", "resource")
HALF_WIDTH_DEG = 0.4
FRAMES = 81
DWELL_S = 0.01


def main() -> None:
    """Run the beamline until its scans are done, or for ever if the number of scans is 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--scans", type=int, default=0, help="0 scans for ever")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--route", choices=ROUTES, default="stream")
    options = parser.parse_args()
    _scan(options.address, options.folder, options.scans, options.seed, options.frames, options.route)


def _scan(address: str, folder: Path, scans: int, seed: int, frames: int, route: str) -> None:
    from bluesky import RunEngine
    from bluesky.callbacks.zmq import Publisher

    from braggwatch.sim.beamline.assembly import build_beamline
    from braggwatch.sim.beamline.plans import screen_particles
    from braggwatch.sim.beamline.sample import SimulatedSample
    from braggwatch.sim.geometry import load_preset

    # Connect long before the first document: a PUB socket drops messages sent before the proxy has subscribed.
    publisher = Publisher(address, prefix=PREFIX)
    sample = SimulatedSample.grid(seed, rows=6, columns=6, name="Au demo", peak_counts=(1e4, 2e5))
    beamline = build_beamline(sample, load_preset(PRESET), folder, seed=seed)
    engine = RunEngine({"beamline_id": "simulated"})
    engine.subscribe(publisher)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        return
    left = scans if scans else None
    while left is None or left > 0:
        batch = sample.particles if left is None else sample.particles[:left]
        detector = _detector(beamline, route)
        engine(screen_particles(beamline, HALF_WIDTH_DEG, frames, detector=detector, particles=batch, dwell_s=DWELL_S))
        left = None if left is None else left - len(batch)
    publisher.close()


def _detector(beamline: SimulatedBeamline, route: str) -> Detector | None:
    """Return the detector of a route; None: a fly scan with the stream detector."""
    chosen = {"stream": None, "inline": beamline.inline_detector, "resource": beamline.area_detector}
    return cast("Detector | None", chosen[route])


if __name__ == "__main__":
    main()
