"""Beamline presets: one JSON file each, in the shipped folder ``presets`` next to this module or anywhere on disk."""

from __future__ import annotations

from pathlib import Path

from braggwatch.sim.geometry.model import GeometryPreset

_SHIPPED = Path(__file__).parent / "presets"


def preset_names() -> tuple[str, ...]:
    """Return the names of the shipped presets, sorted."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.json")))


def load_preset(name_or_path: str | Path) -> GeometryPreset:
    """Load a shipped preset by its name, or any preset by its path (anything with a slash or ending in ``.json``).

    Raises
    ------
    LookupError
        If no shipped preset has the name; the message lists the existing ones.
    OSError
        If the file can't be read.
    ValueError
        If it isn't a complete preset (pydantic reports every wrong field).
    """
    path = Path(name_or_path)
    if path.suffix != ".json" and path.parent == Path():
        if path.name not in preset_names():
            raise LookupError(f"no preset {path.name!r}; there are {', '.join(preset_names())}")
        path = _SHIPPED / f"{path.name}.json"
    return GeometryPreset.model_validate_json(path.read_bytes())
