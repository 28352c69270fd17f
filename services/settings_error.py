"""What is raised for settings that can't be used, apart from the settings so that every room may raise it."""

from __future__ import annotations

from braggwatch.sim.errors import BraggwatchError


class SettingsError(BraggwatchError):
    """The settings can't be used; the text names each wrong field, for an operator."""
