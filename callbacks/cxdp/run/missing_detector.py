"""Says what a run has where the preset's detector isn't among its keys."""

from __future__ import annotations

from typing import Final

from braggwatch.callbacks.documents.contents import RunContents, quoted
from braggwatch.sim.geometry.model import GeometryPreset

_CANDIDATES: Final = 3


def missing_detector(preset: GeometryPreset, contents: RunContents) -> str:
    """Return what is missing from a run, what it has instead, and the way out, in one sentence."""
    missing = f"no key {quoted(preset.detector_field)}, the detector_field of the preset {quoted(preset.name)}"
    if any(key.name == preset.detector_field for stream in contents.streams for key in stream.keys):
        missing = f"key {quoted(preset.detector_field)} is in the baseline stream alone, which holds no scan"
    names = [quoted(key.name) for key in contents.images[:_CANDIDATES]]
    if names:
        way_out = f"if {' or '.join(names)} is the detector, set detector_field to it or choose its preset (--geometry)"
    else:
        way_out = "none of it looks like frames: it is no rocking curve"
    return f"{missing}; this run has {contents.in_words}; {way_out}"
