"""The simulated microscope as a Bluesky device with a stream declared as `sadp`, and a plan that visits zones."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.protocols import Reading
from bluesky.utils import MsgGenerator
from event_model import DataKey
from numpy.typing import NDArray
from ophyd.status import DeviceStatus

from braggwatch.sim.beamline.microscope import SimulatedMicroscope
from braggwatch.sim.sadp.model import Direction


class DiffractionCamera:
    """Camera whose frames travel in the events, with particle, zone visit and stated zone.

    Parameters
    ----------
    microscope
        Takes the exposures.
    frames
        Precomputed exposures to use instead, in turn, so that a fast stream needn't wait for the simulation.
    """

    parent: Any = None

    def __init__(
        self, microscope: SimulatedMicroscope, name: str = "camera", frames: Sequence[NDArray[np.uint16]] | None = None
    ) -> None:
        self.microscope = microscope
        self.name = name
        self.particle = "particle 1"
        self._frames = frames
        self._exposures = 0
        side = microscope.spec.size_px
        self._frame = np.zeros((side, side), np.uint16)

    def trigger(self) -> DeviceStatus:
        """Take one exposure."""
        if self._frames is None:
            self._frame = self.microscope.expose()
        else:
            self._frame = self._frames[self._exposures % len(self._frames)]
        self._exposures += 1
        status = DeviceStatus(self)
        status.set_finished()
        return status

    def describe(self) -> OrderedDict[str, DataKey]:
        """Declare the frames as diffraction patterns, with their scale."""
        source = f"sim:{self.name}"
        image: dict[str, Any] = {
            "source": source,
            "dtype": "array",
            "shape": list(self._frame.shape),
            "dtype_numpy": "<u2",
            "modality": "sadp",
            "inv_nm_per_px": self.microscope.spec.inv_nm_per_px,
        }
        keys: dict[str, Any] = {
            f"{self.name}_image": image,
            "particle": {"source": source, "dtype": "string", "shape": []},
            "zone_visit": {"source": source, "dtype": "integer", "shape": []},
            "zone": {"source": source, "dtype": "array", "shape": [3]},
        }
        return OrderedDict(keys)

    def read(self) -> OrderedDict[str, Reading[Any]]:
        """Return the last exposure and its metadata."""
        values: dict[str, object] = {
            f"{self.name}_image": self._frame,
            "particle": self.particle,
            "zone_visit": self.microscope.visit,
            "zone": list(self.microscope.zone),
        }
        now = time.time()
        return OrderedDict((key, Reading(value=value, timestamp=now)) for key, value in values.items())

    def read_configuration(self) -> OrderedDict[str, Reading[Any]]:
        """Return nothing: the camera has no configuration."""
        return OrderedDict()

    def describe_configuration(self) -> OrderedDict[str, DataKey]:
        """Describe nothing."""
        return OrderedDict()


def visit_zones(
    camera: DiffractionCamera,
    zones: Sequence[Direction],
    exposures: int,
    *,
    period_s: float = 0.0,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Tilt to each zone and take exposures there, at most one per ``period_s`` seconds, in one run."""

    @bpp.run_decorator(md={"plan_name": "visit_zones", "num_points": len(zones) * exposures, **(md or {})})
    def inner() -> MsgGenerator[str]:
        due = time.monotonic()
        for zone in zones:
            camera.microscope.tilt_to(zone)
            for _ in range(exposures):
                due += period_s
                yield from bps.trigger_and_read([camera])
                yield from bps.sleep(max(0.0, due - time.monotonic()))
        return ""

    return (yield from inner())
