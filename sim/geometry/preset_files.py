"""Beamline presets: one JSON file each, in the shipped folder ``presets`` next to this module or anywhere on disk."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.geometry.model import GeometryPreset
from braggwatch.sim.validated import wrong_fields

_SHIPPED = Path(__file__).parent / "presets"


def preset_names() -> tuple[str, ...]:
    """Return the names of the shipped presets, sorted."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.json")))


class PresetError(BraggwatchError, LookupError, ValueError):
    """There is no such geometry preset, or its file isn't one; the text says which."""


def load_preset(name_or_path: str | Path) -> GeometryPreset:
    """Load a shipped preset by its name, or any preset by its path (anything with a slash or ending in ``.json``).

    Raises
    ------
    PresetError
        If no shipped preset has the name (lists those there are), or the file isn't a complete preset (names every
        wrong field).
    OSError
        If the file can't be read.
    """
    path = Path(name_or_path)
    if path.suffix != ".json" and path.parent == Path():
        if path.name not in preset_names():
            raise PresetError(f"no preset {path.name!r}; there are {', '.join(preset_names())}")
        path = _SHIPPED / f"{path.name}.json"
    try:
        return GeometryPreset.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise PresetError(f"{path}: {wrong_fields(error)}") from error
