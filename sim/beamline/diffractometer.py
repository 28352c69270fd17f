"""The simulated diffractometer: a preset's geometry, filled in with the values that the documents will carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import brentq

from braggwatch.sim.beamline.sample import SimulatedSample
from braggwatch.sim.cxdp.crystal import METALS
from braggwatch.sim.errors import InputError
from braggwatch.sim.geometry import GeometryPreset, RockingGeometry, Signal, geometry_from_values, pixel_q
from braggwatch.sim.geometry.model import Value

_DRIVEN_RANGE_DEG = (1.0, 150.0)


class DiffractometerSettings(BaseModel):
    """Energy and motor positions of the simulated beamline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    energy_keV: float = Field(default=9.0, gt=0)
    distance_m: float = Field(default=1.0, gt=0)
    frame_shape: tuple[int, int] | None = Field(default=None, description="(rows, columns); None: the whole chip.")
    circles_deg: Mapping[str, float] = Field(
        default={"th": 17.0, "gamma": 12.0}, description="Readings in degrees; other circles are at zero."
    )
    bragg_circle: str = Field(default="delta", description="Detector circle that is moved to the Bragg angle.")


def _carried_values(preset: GeometryPreset, settings: DiffractometerSettings, driven_deg: float) -> dict[str, float]:
    """Return the value of each signal that the preset names, in the signal's own unit."""
    readings = {**settings.circles_deg, settings.bragg_circle: driven_deg}
    rows, columns = _frame_shape(preset, settings)
    first = (
        (preset.chip_shape[0] - rows * preset.binning[0]) // 2,
        (preset.chip_shape[1] - columns * preset.binning[1]) // 2,
    )
    physical: list[tuple[Value, float]] = [
        (preset.energy_keV, settings.energy_keV),
        (preset.distance_m, settings.distance_m),
        (preset.direct_beam_px[0], (preset.chip_shape[0] - 1) / 2),
        (preset.direct_beam_px[1], (preset.chip_shape[1] - 1) / 2),
        (preset.roi_origin[0], first[0]),
        (preset.roi_origin[1], first[1]),
        *((c.angle_deg, readings.get(c.name, 0.0)) for c in (*preset.sample_circles, *preset.detector_circles)),
    ]
    return {value.signal: number / value.scale for value, number in physical if isinstance(value, Signal)}


def _frame_shape(preset: GeometryPreset, settings: DiffractometerSettings) -> tuple[int, int]:
    if settings.frame_shape is not None:
        return settings.frame_shape
    rows, columns = (pixels // step for pixels, step in zip(preset.chip_shape, preset.binning, strict=True))
    return (columns, rows) if preset.transposed else (rows, columns)


def place_diffractometer(
    preset: GeometryPreset, settings: DiffractometerSettings, sample: SimulatedSample
) -> tuple[RockingGeometry, dict[str, float]]:
    """Move the detector until the sample's reflection is in the middle of the frame.

    Parameters
    ----------
    preset
        The beamline.
    settings
        Energy, distance and the circles that are not moved.
    sample
        Its element and {hkl} determine the Bragg angle.

    Returns
    -------
    geometry
        Geometry with the scanned circle at its Bragg angle, as a listener resolves it from the carried values.
    carried
        Value of every signal that the preset names, in the signal's own unit: what the devices must report.

    Raises
    ------
    InputError
        If no angle of ``bragg_circle`` reaches the reflection, or the frame doesn't fit the chip.
    """
    frame_shape = _frame_shape(preset, settings)
    lattice_A = 10.0 * METALS[sample.element].lattice_parameter_nm
    target = 2 * np.pi * float(np.linalg.norm(sample.hkl)) / lattice_A

    def miss(driven_deg: float) -> float:
        geometry = geometry_from_values(preset, _carried_values(preset, settings, driven_deg), frame_shape)
        scanned = next(c.angle_deg for c in geometry.sample_circles if c.name == geometry.scanned)
        middle = pixel_q(geometry, scanned, (frame_shape[0] - 1) / 2, (frame_shape[1] - 1) / 2)
        return float(np.linalg.norm(middle)) - target

    low, high = _DRIVEN_RANGE_DEG
    if miss(low) * miss(high) > 0:
        raise InputError(
            f"{settings.bragg_circle} can't reach {sample.element} {sample.hkl} at {settings.energy_keV} keV"
        )
    # motors are read to 1e-4 degrees: 1/30 of a pixel at 1 m
    driven_deg = round(cast("float", brentq(miss, low, high, xtol=1e-8)), 4)
    carried = _carried_values(preset, settings, driven_deg)
    return geometry_from_values(preset, carried, frame_shape), carried
