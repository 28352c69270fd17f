"""Combine a preset and the values of one scan into a geometry; missing values are an error that names them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from braggwatch.sim.errors import BraggwatchError, InputError
from braggwatch.sim.geometry.model import Circle, CirclePreset, GeometryPreset, RockingGeometry, Signal, Value


class MissingGeometry(BraggwatchError, LookupError):  # noqa: N818 the name says what is wrong
    """Fields that a preset reads from the documents are absent or not finite.

    Attributes
    ----------
    names
        All such fields, sorted.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(f"the geometry needs {', '.join(names)}: absent or not a finite number")


def preset_signals(preset: GeometryPreset) -> tuple[str, ...]:
    """Return the names of all fields that the preset reads, sorted, each once."""
    values: list[Value] = [preset.energy_keV, preset.distance_m, *preset.direct_beam_px, *preset.roi_origin]
    values += [circle.angle_deg for circle in (*preset.sample_circles, *preset.detector_circles)]
    return tuple(sorted({value.signal for value in values if isinstance(value, Signal)}))


def geometry_from_values(
    preset: GeometryPreset, values: Mapping[str, float], frame_shape: tuple[int, int]
) -> RockingGeometry:
    """Fill in a preset's signals and return the geometry.

    Parameters
    ----------
    preset
        The beamline.
    values
        Field name to value in the field's own unit; each signal's scale is applied here.
    frame_shape
        Shape of a delivered frame, (rows, columns).

    Raises
    ------
    MissingGeometry
        If fields are absent or not finite; names all of them.
    InputError
        If a value is invalid: a region of interest that is not on whole pixels or not on the chip, or an energy or
        distance that is not positive.
    """
    missing = tuple(
        name for name in preset_signals(preset) if name not in values or not math.isfinite(float(values[name]))
    )
    if missing:
        raise MissingGeometry(missing)

    def number(value: Value) -> float:
        return float(values[value.signal]) * value.scale if isinstance(value, Signal) else float(value)

    def circles(presets: tuple[CirclePreset, ...]) -> tuple[Circle, ...]:
        return tuple(
            Circle(name=c.name, axis=c.axis, angle_deg=number(c.angle_deg), offset_deg=c.offset_deg) for c in presets
        )

    row, column = (number(value) for value in preset.roi_origin)
    if row != round(row) or column != round(column):
        raise InputError(f"the region of interest starts at ({row}, {column}), not on whole pixels")
    on_chip = frame_shape[::-1] if preset.transposed else frame_shape
    ends = (row + on_chip[0] * preset.binning[0], column + on_chip[1] * preset.binning[1])
    if min(row, column) < 0 or ends[0] > preset.chip_shape[0] or ends[1] > preset.chip_shape[1]:
        raise InputError(
            f"frames of {frame_shape} at chip pixel ({row:.0f}, {column:.0f}), binning {preset.binning}, "
            f"don't fit the chip of {preset.chip_shape}"
        )
    return RockingGeometry(
        energy_keV=number(preset.energy_keV),
        sample_circles=circles(preset.sample_circles),
        scanned=preset.scanned,
        detector_circles=circles(preset.detector_circles),
        distance_m=number(preset.distance_m),
        pixel_size_m=preset.pixel_size_m,
        row_direction=preset.row_direction,
        column_direction=preset.column_direction,
        detector_tilt=preset.detector_tilt,
        direct_beam_px=(number(preset.direct_beam_px[0]), number(preset.direct_beam_px[1])),
        direct_beam_angles_deg=preset.direct_beam_angles_deg,
        chip_shape=preset.chip_shape,
        roi_origin=(int(row), int(column)),
        binning=preset.binning,
        frame_shape=frame_shape,
        transposed=preset.transposed,
        material=preset.material,
        lattice_parameter_A=preset.lattice_parameter_A,
        hkl=preset.hkl,
        lattice=preset.lattice,
        space_group=preset.space_group,
        lattice_parameter_c_A=preset.lattice_parameter_c_A,
    )
