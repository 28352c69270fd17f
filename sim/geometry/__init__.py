"""Diffractometer geometry: circles, detector, angles to Q and back, presets.

Everything may import it; it imports nothing from the simulation.
"""

from braggwatch.sim.geometry.model import Circle, CirclePreset, DetectorTilt, GeometryPreset, RockingGeometry, Signal
from braggwatch.sim.geometry.preset_files import load_preset, preset_names
from braggwatch.sim.geometry.q import RockingMap, pixel_q, q_index, rocking_map
from braggwatch.sim.geometry.resolve import MissingGeometry, geometry_from_values, preset_signals

__all__ = [
    "Circle",
    "CirclePreset",
    "DetectorTilt",
    "GeometryPreset",
    "MissingGeometry",
    "RockingGeometry",
    "RockingMap",
    "Signal",
    "geometry_from_values",
    "load_preset",
    "pixel_q",
    "preset_names",
    "preset_signals",
    "q_index",
    "rocking_map",
]
