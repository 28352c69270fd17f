"""Scans as a beamline would make them, whole: what preprocessing and the service are measured with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.preprocessing import PreprocessingSettings
from braggwatch.callbacks.cxdp.records import RockingCurve
from braggwatch.sim.geometry import geometry_from_values, load_preset, rocking_map
from braggwatch.sim.geometry.model import GeometryPreset

VALUES = {"energy": 9.0, "th": 0.0, "delta": 32.174, "gamma": 12.6346, "chi": 90.0, "phi": -5.0}


@dataclass(frozen=True)
class Case:
    """One scan; ``values`` are the geometry's signals as documents carry them."""

    name: str
    curve: RockingCurve
    settings: PreprocessingSettings
    preset: GeometryPreset
    values: dict[str, float]


def make_case(
    name: str,
    frames: NDArray[Any],
    angles: NDArray[np.float64],
    preset: GeometryPreset,
    distance_m: float,
    settings: PreprocessingSettings,
) -> Case:
    values = {**VALUES, "detector_distance": distance_m}
    edges = (frames.shape[1], frames.shape[2])
    geometry = geometry_from_values(preset, values, edges)
    present = np.ones(len(angles), dtype=np.bool_)
    curve = RockingCurve("bench", frames, angles, present, None, None, (0, 0), geometry)
    return Case(name, curve, settings, preset, values)


def synthetic(count: int, edge: int, distance: float, degrees: float, size_nm: float) -> Case:
    """A spherical crystal in the middle of the frames, with background."""
    preset = load_preset("34idc").model_copy(
        update={"chip_shape": (edge, edge), "direct_beam_px": (edge / 2, edge / 2)}
    )
    geometry = geometry_from_values(preset, {**VALUES, "detector_distance": distance}, (edge, edge))
    angles = np.linspace(-degrees / 2, degrees / 2, count)
    mapping = rocking_map(geometry)
    centre = mapping.q(0.0, edge / 2, edge / 2)
    rng = np.random.default_rng(0)
    frames = np.empty((count, edge, edge), dtype=np.int32)
    for n, angle in enumerate(angles):
        q = mapping.q(angle, np.arange(edge)[:, None], np.arange(edge)) - centre
        x = np.maximum(np.linalg.norm(q, axis=-1) * size_nm * 5, 1e-3)
        frames[n] = rng.poisson(1e5 * (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2 + 0.04)
    return make_case(f"{count}x{edge}²", frames, angles, preset, distance, PreprocessingSettings())
