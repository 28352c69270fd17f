"""Motors of the simulated world, one of which supports fly scans."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from ophyd_async.core import AsyncStatus
from ophyd_async.sim import SimMotor
from pydantic import BaseModel, ConfigDict, Field


class RockingTrajectory(BaseModel):
    """An evenly spaced sweep of the rocking circle, with a trigger pulse at every point."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_deg: float
    stop_deg: float
    num: int = Field(ge=1)
    dwell_s: float = Field(ge=0, description="Seconds from one pulse to the next.")

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        """(num,) float64, both ends included."""
        return np.linspace(self.start_deg, self.stop_deg, self.num)


class BeamlineMotor(SimMotor):
    """A motor that moves instantly and reports its position to the world.

    Parameters
    ----------
    name
        Device name, which is also the readback's field in documents.
    on_moved
        Called with each new position.
    initial_value
        Initial position; also reported to the world.
    units
        Engineering units.
    """

    def __init__(self, name: str, on_moved: Callable[[float], None], initial_value: float, units: str) -> None:
        super().__init__(name=name, instant=True, initial_value=initial_value, units=units)
        set_readback = self.movable_logic.readback_set

        def publish(position: float) -> None:
            on_moved(float(position))
            set_readback(position)

        self.movable_logic.readback_set = publish
        on_moved(initial_value)

    def stand_at(self, position: float) -> None:
        """Move to a position at once: report it to the world and update the readback."""
        self.movable_logic.readback_set(position)


class RockingMotor(BeamlineMotor):
    """The rocking circle: steps like any motor, or sweeps and sends a pulse with the angle at every point.

    The pulses represent the trigger box of a real beamline (position compare): an externally triggered detector takes
    one exposure per pulse and records its angle.
    """

    def __init__(self, name: str, on_moved: Callable[[float], None], initial_value: float) -> None:
        super().__init__(name, on_moved, initial_value, "deg")
        self.pulses: asyncio.Queue[float] = asyncio.Queue()
        self._trajectory: RockingTrajectory | None = None
        self._sweep: AsyncStatus[None] | None = None

    @AsyncStatus.wrap
    async def prepare(self, value: RockingTrajectory) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Go to the start of the sweep and discard unused pulses."""
        self._trajectory = value
        while not self.pulses.empty():
            self.pulses.get_nowait()
        await self.set(value.start_deg)

    @AsyncStatus.wrap
    async def kickoff(self) -> None:
        """Begin the sweep.

        Raises
        ------
        RuntimeError
            If the motor was not prepared.
        """
        if self._trajectory is None:
            raise RuntimeError(f"{self.name} must be prepared with a RockingTrajectory before kickoff")
        self._sweep = AsyncStatus(self._send_pulses(self._trajectory))

    def complete(self) -> AsyncStatus[None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return a status that is done when the last pulse has been sent.

        Raises
        ------
        RuntimeError
            If the sweep was not kicked off.
        """
        if self._sweep is None:
            raise RuntimeError(f"{self.name} was not kicked off")
        return self._sweep

    async def _send_pulses(self, trajectory: RockingTrajectory) -> None:
        for angle in trajectory.angles_deg.tolist():
            self.pulses.put_nowait(angle)
            await asyncio.sleep(trajectory.dwell_s)
        self._trajectory = None
        await self.set(trajectory.stop_deg)
