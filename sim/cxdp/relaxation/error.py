"""The error of a relaxation that can't be done."""

from __future__ import annotations

from braggwatch.sim.errors import BraggwatchError


class RelaxationError(BraggwatchError, RuntimeError):
    """A relaxation found no minimum, or lacks the device that it was asked to run on."""
