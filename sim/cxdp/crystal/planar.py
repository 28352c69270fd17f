"""Planar faults of fcc and the partial dislocations that bound them.

Sources: Hirth and Lothe, Theory of Dislocations (2nd ed.), chapter 10 (Shockley partials, stacking faults, twins);
which of the six 1/6⟨112⟩ shifts a {111} plane allows follows from its ABC stacking, as in Thompson's tetrahedron.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.crystallography.fcc import Miller, family, slip_planes
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec, line_frame, straight_displacement
from braggwatch.sim.errors import InputError


class ShockleyPairSpec(BaseModel):
    """A perfect line split into two Shockley partials in its slip plane, with the stacking fault between them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["shockley_pair"] = "shockley_pair"
    line: LineSpec = Field(description="The perfect line; its offset is the middle of the pair.")
    separation: float = Field(gt=0, le=1.5, description="Distance between the partials, in particle sizes.")


class ShockleySpec(BaseModel):
    """One Shockley partial; its stacking fault reaches from the line to the surface."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["shockley"] = "shockley"
    plane: Miller = Field(description="Normal of the fault, one of {111}.")
    shift: Literal[0, 1, 2] = Field(description="Which of the three shifts that the plane allows (`fault_shifts`).")
    angle_deg: float = Field(
        ge=0, lt=360, description="Angle of the line in the plane, measured from the shift about the normal."
    )
    offset: tuple[float, float] = Field(
        description="Position of the line, as in LineSpec: (along the normal, in the plane across the line)."
    )


class FaultSpec(BaseModel):
    """An intrinsic stacking fault through the whole crystal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["stacking_fault"] = "stacking_fault"
    plane: Miller = Field(description="Normal of the fault, one of {111}.")
    shift: Literal[0, 1, 2] = Field(description="Which of the three allowed shifts; they differ by lattice vectors.")
    offset: float = Field(
        description="Distance of the plane from the centre of mass along the normal, in particle sizes."
    )


class TwinSpec(BaseModel):
    """A twin lamella: parallel {111} boundaries, the crystal between them mirrored in the plane."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["twin"] = "twin"
    plane: Miller = Field(description="Normal of the boundaries, one of {111}.")
    shift: Literal[0, 1, 2] = Field(description="Which of the three allowed shifts; they differ by lattice vectors.")
    offset: float = Field(description="Distance of the lamella's middle from the centre of mass, in particle sizes.")
    thickness: float = Field(
        gt=0, le=1.5, description="Thickness in particle sizes, rounded to a whole number of {111} layers."
    )


def unit_normal(plane: Miller) -> NDArray[np.float64]:
    """Return the (3,) unit normal of a {111} plane, crystal axes.

    Raises
    ------
    InputError
        If ``plane`` is not one of the eight {111}.
    """
    if plane not in family((1, 1, 1)):
        raise InputError(f"{plane} is not a {{111}} plane, on which fcc's faults and twins lie")
    return np.asarray(plane, dtype=np.float64) / np.sqrt(3.0)


def fault_shifts(plane: Miller) -> tuple[Miller, Miller, Miller]:
    """Return six times the three shifts 1/6⟨112⟩ that turn perfect stacking into an intrinsic fault.

    They shift the side that the normal points to. The opposite shifts would stack like layers on each other (AA).
    The three differ by lattice vectors, so all give the same fault.
    """
    unit_normal(plane)
    n1, n2, n3 = plane
    return (n1, n2, -2 * n3), (n1, -2 * n2, n3), (-2 * n1, n2, n3)


def g_dot_shift(hkl: Miller, shift: Miller) -> float:
    """Return g·R of a shift R = 1/6⟨112⟩, given as 6R: a fault is invisible if it is an integer."""
    return float(np.dot(hkl, shift)) / 6.0


def split(line: LineSpec) -> tuple[Miller, Miller]:
    """Return six times the partials at +x and -x of `line_frame`; their sum is six times the Burgers vector.

    The partial at +x bounds the far end of the fault, so it must be a shift that the plane allows (the other order
    would stack like layers on each other).
    """
    normal = slip_planes(line.burgers)[line.plane]
    for first in fault_shifts(normal):
        b = line.burgers
        second = (3 * b[0] - first[0], 3 * b[1] - first[1], 3 * b[2] - first[2])
        if sorted(abs(i) for i in second) == [1, 1, 2] and int(np.dot(second, normal)) == 0:
            return first, second
    raise ValueError(f"{line.burgers} does not split on {normal}")  # unreachable for an fcc slip system


def pair_displacement(
    pair: ShockleyPairSpec,
    points_nm: NDArray[np.float64],
    size_nm: float,
    lattice_parameter_nm: float,
    poisson_ratio: float,
) -> NDArray[np.float64]:
    """Return the displacement of both partials and, as the difference of their cuts, of the fault between them.

    Parameters
    ----------
    points_nm
        (N, 3) about the centre of mass, crystal axes.
    size_nm
        The particle's size, which is the unit of the specification's lengths.

    Returns
    -------
    (N, 3) float64, nm, crystal axes.
    """
    frame = line_frame(pair.line)
    middle = (frame[1] * pair.line.offset[0] + frame[0] * pair.line.offset[1]) * size_nm
    half = frame[0] * (pair.separation / 2 * size_nm)
    total = np.zeros_like(points_nm)
    for partial, origin in zip(split(pair.line), (middle + half, middle - half), strict=True):
        b = np.asarray(partial, dtype=np.float64) * (lattice_parameter_nm / 6.0)
        total += straight_displacement(frame, b, points_nm, origin, lattice_parameter_nm, poisson_ratio)
    return total


def partial_frame(partial: ShockleySpec) -> NDArray[np.float64]:
    """Return the (3, 3) frame of a single partial as `line_frame`: y the plane's normal, z the line."""
    normal = unit_normal(partial.plane)
    b = np.asarray(fault_shifts(partial.plane)[partial.shift], dtype=np.float64)
    b /= np.linalg.norm(b)
    angle = np.deg2rad(partial.angle_deg)
    z = np.cos(angle) * b + np.sin(angle) * np.cross(normal, b)
    return np.asarray([np.cross(normal, z), normal, z], dtype=np.float64)


def partial_displacement(
    partial: ShockleySpec,
    points_nm: NDArray[np.float64],
    size_nm: float,
    lattice_parameter_nm: float,
    poisson_ratio: float,
) -> NDArray[np.float64]:
    """Return the displacement of a single partial: (N, 3) in nm at (N, 3) points as in `pair_displacement`.

    The fault is the half-plane x < 0 of `partial_frame`.
    """
    frame = partial_frame(partial)
    origin = (frame[1] * partial.offset[0] + frame[0] * partial.offset[1]) * size_nm
    b = np.asarray(fault_shifts(partial.plane)[partial.shift], dtype=np.float64) * (lattice_parameter_nm / 6.0)
    return straight_displacement(frame, b, points_nm, origin, lattice_parameter_nm, poisson_ratio)


def fault_displacement(
    fault: FaultSpec, points_nm: NDArray[np.float64], size_nm: float, lattice_parameter_nm: float
) -> NDArray[np.float64]:
    """Return the shift of the side that the normal points to: (N, 3) in nm at points as in `pair_displacement`."""
    r = np.asarray(fault_shifts(fault.plane)[fault.shift], dtype=np.float64) * (lattice_parameter_nm / 6.0)
    above = points_nm @ unit_normal(fault.plane) > fault.offset * size_nm
    return np.where(above[:, None], r, 0.0)


def twin_layers(
    twin: TwinSpec, points_nm: NDArray[np.float64], size_nm: float, lattice_parameter_nm: float
) -> tuple[NDArray[np.int64], int]:
    """Count {111} layers from the lower boundary.

    Returns
    -------
    (N,) int64 layer number of each of (N, 3) points, and the number of layers in the lamella (at least 1). The
    lamella's layers are numbered from 1; points below it have numbers of 0 or less.
    """
    spacing = lattice_parameter_nm / np.sqrt(3.0)
    layers = max(1, round(twin.thickness * size_nm / spacing))
    height = points_nm @ unit_normal(twin.plane) - twin.offset * size_nm + layers * spacing / 2
    return np.ceil(height / spacing).astype(np.int64), layers


def twin_displacement(
    twin: TwinSpec, points_nm: NDArray[np.float64], size_nm: float, lattice_parameter_nm: float
) -> NDArray[np.float64]:
    """Return the displacement that makes the twin: (N, 3) in nm at (N, 3) points as in `pair_displacement`.

    Each layer of the lamella is shifted by R = 1/6⟨112⟩ relative to the layer below. Three shifts make a lattice
    vector, so layer k is shifted by (k mod 3) R: the same structure, without a deformation twin's shape change.
    """
    r = np.asarray(fault_shifts(twin.plane)[twin.shift], dtype=np.float64) * (lattice_parameter_nm / 6.0)
    layer, layers = twin_layers(twin, points_nm, size_nm, lattice_parameter_nm)
    return np.outer((np.clip(layer, 0, layers) + 1) % 3 - 1, r)
