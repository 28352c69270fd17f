"""The error for atom probe files that can't be used."""

from __future__ import annotations

from braggwatch.sim.errors import BraggwatchError


class AptFileError(BraggwatchError, ValueError):
    """The atom probe file is truncated, empty, in another format or implausible; the message says what to do."""
