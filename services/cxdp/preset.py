"""Loads the geometry preset that a command or the settings name; there is no default."""

from __future__ import annotations

from braggwatch.callbacks.cxdp.without_preset import no_preset
from braggwatch.services.settings import Settings
from braggwatch.sim.geometry.model import GeometryPreset
from braggwatch.sim.geometry.preset_files import PresetError, load_preset


def chosen_preset(settings: Settings, given: str | None = None, *, hint: str = "") -> GeometryPreset:
    """Load the preset that was given with a command, else the settings'.

    Parameters
    ----------
    hint
        Added to the error where neither names one, e.g. how to see what a file holds.

    Raises
    ------
    PresetError
        If neither names one, or it isn't a preset.
    OSError
        If its file can't be read.
    """
    name = given if given is not None and given.strip() else settings.screening.geometry
    if name is None:
        raise PresetError(f"{no_preset()}{hint}")
    return load_preset(name)
