"""Parameters of the diffractometer: everything needed to convert angles and pixels into Q.

Laboratory frame: NeXus/McStas (z along the beam, y up, x completes the right-handed set). An axis such as ``"y+"``
is a right-handed rotation about +y, ``"y-"`` about -y; for pixel directions it is the direction in which the index
grows, with all detector circles at zero. Q = k_out - k_in with |k| = 2 pi / lambda, in 1/angstrom.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from braggwatch.sim.crystallography.lattices import LatticeName
from braggwatch.sim.crystallography.stated_lattice import ASK, StatedLattice, contradiction, stated_lattice

Axis = Literal["x+", "x-", "y+", "y-", "z+", "z-"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Circle(_Frozen):
    """One rotation circle at one position."""

    name: str = Field(description="Motor name as in the documents, e.g. 'th'.")
    axis: Axis
    angle_deg: float = Field(description="Reading in degrees; for the scanned circle any value of the scan.")
    offset_deg: float = Field(description="Added to every reading before use, in degrees.")


class DetectorTilt(_Frozen):
    """Deviation of the chip from perpendicular to the beam, with all detector circles at zero.

    The pivot is the pixel that the direct beam hits. The three angles are xrayutilities' ``detrot``, ``tiltazimuth``
    and ``tilt``, as its calibration of an area detector gives them: with r and c the directions of growing row and
    column index, the chip is turned by ``tilt_deg`` about t x (r x c), t = r cos(azimuth) + c sin(azimuth), and then
    by ``rotation_deg`` about the beam.
    """

    rotation_deg: float = Field(description="About the beam, right-handed about +z, degrees.")
    azimuth_deg: float = Field(description="Direction of the tilt in the chip's plane, from row to column, degrees.")
    tilt_deg: float = Field(gt=-90, lt=90, description="Off the plane perpendicular to the beam, degrees.")


class RockingGeometry(_Frozen):
    """Geometry of one rocking curve; every field must be given.

    Pixel coordinates are (row, column), zero-based, of pixel centres. A delivered frame's pixel (r, c) is, before
    binning, at full-chip pixel ``roi_origin + binning * (r, c) + (binning - 1) / 2``, after undoing ``transposed``.
    """

    energy_keV: float = Field(gt=0)
    sample_circles: tuple[Circle, ...] = Field(min_length=1, description="From outermost to innermost.")
    scanned: str = Field(description="Name of the sample circle that rocks.")
    detector_circles: tuple[Circle, ...] = Field(description="From outermost to innermost.")
    distance_m: float = Field(gt=0, description="Distance from sample to detector along the direct beam.")
    pixel_size_m: tuple[float, float] = Field(description="Unbinned pixel size, (row step, column step).")
    row_direction: Axis = Field(description="Laboratory direction of growing row index, circles at zero.")
    column_direction: Axis = Field(description="Laboratory direction of growing column index, circles at zero.")
    detector_tilt: DetectorTilt | None = Field(description="None: the chip is perpendicular to the beam.")
    direct_beam_px: tuple[float, float] = Field(description="Direct beam (row, column) in full-chip pixels.")
    direct_beam_angles_deg: tuple[float, ...] = Field(
        description="Detector circle readings at which direct_beam_px was measured, same order as detector_circles."
    )
    chip_shape: tuple[int, int]
    roi_origin: tuple[int, int] = Field(description="First full-chip (row, column) in a delivered frame.")
    binning: tuple[int, int]
    frame_shape: tuple[int, int] = Field(description="Shape of a delivered frame, (rows, columns).")
    transposed: bool = Field(description="True if delivered frames are transposed relative to the chip.")
    material: str | None = Field(description="e.g. 'Au'; None if unknown.")
    lattice_parameter_A: float | None = Field(
        description="Lattice parameter in Å, of a hexagonal lattice a; None if unknown."
    )
    hkl: tuple[int, int, int] | None = Field(description="Reflection, three indices; None if unknown.")
    lattice: LatticeName | None = Field(default=None, description="e.g. 'bcc'; None if not stated.")
    space_group: int | str | None = Field(default=None, description="Number or symbol; None if not stated.")
    lattice_parameter_c_A: float | None = Field(default=None, description="c of a hexagonal lattice in Å, else None.")

    @property
    def crystal_lattice(self) -> StatedLattice:
        """What lattice, space group and material tell of the lattice."""
        return stated_lattice(self.lattice, self.space_group, self.material)

    @model_validator(mode="after")
    def _consistent(self) -> RockingGeometry:
        if self.scanned not in {c.name for c in self.sample_circles}:
            raise ValueError(f"scanned circle {self.scanned!r} is not among the sample circles")
        if len(self.direct_beam_angles_deg) != len(self.detector_circles):
            raise ValueError("direct_beam_angles_deg needs one angle for each detector circle")
        if self.row_direction[0] == self.column_direction[0]:
            raise ValueError("pixel rows and columns must point along different axes")
        return self


class Signal(_Frozen):
    """A number carried by the documents, looked up by field name."""

    signal: str = Field(description="Field name in start document, descriptor configuration, baseline or event.")
    scale: float = Field(description="Multiplies the field's value, e.g. 1e-3 for mm to m.")


Value = float | Signal


class CirclePreset(_Frozen):
    """One circle of a beamline preset: its reading is a number or comes from a signal."""

    name: str
    axis: Axis
    angle_deg: Value
    offset_deg: float


class GeometryPreset(_Frozen):
    """One beamline's geometry as data (``sim/geometry/presets/NAME.json``). See `RockingGeometry` for the fields.

    ``lattice``, ``space_group`` and ``lattice_parameter_c_A`` may be left out: a lattice is then known where the
    material tells it, and otherwise unknown.
    """

    name: str
    description: str
    energy_keV: Value
    sample_circles: tuple[CirclePreset, ...] = Field(min_length=1)
    scanned: str
    detector_circles: tuple[CirclePreset, ...]
    distance_m: Value
    pixel_size_m: tuple[float, float]
    row_direction: Axis
    column_direction: Axis
    detector_tilt: DetectorTilt | None
    direct_beam_px: tuple[Value, Value]
    direct_beam_angles_deg: tuple[float, ...]
    chip_shape: tuple[int, int]
    roi_origin: tuple[Value, Value]
    binning: tuple[int, int]
    transposed: bool
    detector_field: str = Field(description="Data key of the frames in the event, resource or stream resource.")
    monitor_field: str | None
    transmission_field: str | None
    saturation_counts: float | None = Field(description="Counts per pixel at which the detector saturates.")
    material: str | None
    lattice_parameter_A: float | None
    hkl: tuple[int, int, int] | None
    lattice: LatticeName | None = None
    space_group: int | str | None = None
    lattice_parameter_c_A: float | None = Field(default=None, gt=0)

    @property
    def crystal_lattice(self) -> StatedLattice:
        """What lattice, space group and material tell of the lattice."""
        return stated_lattice(self.lattice, self.space_group, self.material)

    @model_validator(mode="after")
    def _one_crystal(self) -> GeometryPreset:
        if self.lattice is not None and self.space_group is not None:
            problem = contradiction(self.lattice, self.space_group)
            if problem is not None:
                raise ValueError(problem)
        known, c = self.crystal_lattice, self.lattice_parameter_c_A
        if known.system == "hexagonal" and (c is None) != (self.lattice_parameter_A is None):
            raise ValueError(
                f"{known.words} is hexagonal: state both lattice_parameter_A (a) and lattice_parameter_c_A, or neither"
            )
        if known.system == "cubic" and c is not None:
            raise ValueError(f"{known.words} is cubic: it has no lattice_parameter_c_A")
        if known.system is None and c is not None:
            raise ValueError(f"lattice_parameter_c_A belongs to a hexagonal lattice: {ASK}")
        return self
