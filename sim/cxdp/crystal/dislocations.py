"""Straight dislocations: the isotropic displacement field of screw, edge and mixed lines.

Source: Hirth and Lothe, Theory of Dislocations (2nd ed.), equations 3-1 and 3-45 (infinite isotropic medium).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.crystallography.fcc import Miller, slip_planes

Character = Literal["screw", "edge", "mixed"]


Vector = tuple[float, float, float]


class SlipVectors(BaseModel):
    """A slip system of another lattice than fcc, in Cartesian crystal axes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    burgers: Vector = Field(description="Burgers vector in lattice parameters a.")
    normal: Vector = Field(description="Normal of the slip plane, any length, perpendicular to ``burgers``.")


class LineSpec(BaseModel):
    """One straight dislocation.

    Reversing the Burgers vector also reverses the line's direction (`line_frame`), which gives the same dislocation: a
    population of these lines has one sign of each character. The other sign (-u, `StraightLineSpec.opposite`) needs no
    crystals of its own: near the peak its pattern is the inversion q → -q of this one's, and networks are trained and
    evaluated with mirror images. Only q·u and the slope of f(q), both small within a few fringes, differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    burgers: Miller = Field(
        description="Twice the Burgers vector in lattice parameters, one of the twelve <110>; with ``slip`` the whole "
        "numbers of that lattice's own vector, for the record."
    )
    plane: Literal[0, 1] = Field(description="Which of the two {111} planes that contain the Burgers vector.")
    character_deg: float = Field(
        ge=0, le=90, description="Angle between line and Burgers vector in the plane: 0 screw, 90 edge."
    )
    offset: tuple[float, float] = Field(
        description="Position of the line relative to the crystal's centre of mass, in units of the particle's size: "
        "(along the slip plane normal, in the plane across the line)."
    )
    image: tuple[float, float] | None = Field(
        default=None,
        description="Position of an image line, likewise: its field, of the opposite sign, is added. At a free surface "
        "halfway it takes the screw's tractions away (Hirth and Lothe, section 3-4), and most of an edge's.",
    )

    slip: SlipVectors | None = Field(default=None, description="Slip system of another lattice; None: fcc.")

    @property
    def burgers_vector(self) -> NDArray[np.float64]:
        """(3,) float64 in lattice parameters, crystal axes."""
        return np.asarray(self.burgers, dtype=np.float64) / 2.0 if self.slip is None else np.asarray(self.slip.burgers)

    @property
    def character(self) -> Character:
        """Screw at 0°, edge at 90°, otherwise mixed."""
        if self.character_deg == 0:
            return "screw"
        return "edge" if self.character_deg == 90 else "mixed"


def line_frame(line: LineSpec) -> NDArray[np.float64]:
    """Right-handed rows (x, y, z): z along the line, y the slip plane's normal, x in the plane across the line.

    Crystal axes; (3, 3) float64.
    """
    b = line.burgers_vector
    b = b / np.linalg.norm(b)
    normal = np.asarray(
        slip_planes(line.burgers)[line.plane] if line.slip is None else line.slip.normal, dtype=np.float64
    )
    normal /= np.linalg.norm(normal)
    angle = np.deg2rad(line.character_deg)
    # rotating b about the normal by the character angle gives the line; at 90° b lies along +x of the frame
    z = np.cos(angle) * b + np.sin(angle) * np.cross(b, normal)
    return np.asarray([np.cross(normal, z), normal, z], dtype=np.float64)


def displacement(
    line: LineSpec,
    points_nm: NDArray[np.float64],
    origin_nm: NDArray[np.float64],
    lattice_parameter_nm: float,
    poisson_ratio: float,
) -> NDArray[np.float64]:
    """Return the displacement u of each point.

    Parameters
    ----------
    points_nm
        (N, 3), crystal axes.
    origin_nm
        (3,), a point on the line.

    Returns
    -------
    (N, 3) float64, nm, crystal axes. The cut is the half-plane x < 0, y = 0 of `line_frame`; across it u jumps by b.
    """
    b = line.burgers_vector * lattice_parameter_nm
    return straight_displacement(line_frame(line), b, points_nm, origin_nm, lattice_parameter_nm, poisson_ratio)


def straight_displacement(
    frame: NDArray[np.float64],
    burgers_nm: NDArray[np.float64],
    points_nm: NDArray[np.float64],
    origin_nm: NDArray[np.float64],
    lattice_parameter_nm: float,
    poisson_ratio: float,
) -> NDArray[np.float64]:
    """Return the displacement of a straight line whose Burgers vector, perfect or partial, lies in its cut plane.

    Parameters
    ----------
    frame
        (3, 3) rows as in `line_frame`.
    burgers_nm
        (3,), crystal axes; without a component along ``frame[1]``.
    points_nm
        (N, 3), crystal axes.
    origin_nm
        (3,), a point on the line.
    lattice_parameter_nm
        Scale of the core, where the field is cut off.

    Returns
    -------
    (N, 3) float64, nm, crystal axes: at x < 0 the side y > 0 is shifted by the Burgers vector against y < 0.
    """
    local = (points_nm - origin_nm) @ frame.T
    x, y = local[:, 0], local[:, 1]
    b_edge, b_screw = float(burgers_nm @ frame[0]), float(burgers_nm @ frame[2])
    # the core has no defined displacement: a floor well below the atomic spacing keeps it finite
    r2 = np.maximum(x * x + y * y, (0.05 * lattice_parameter_nm) ** 2)
    theta = np.arctan2(y, x)
    nu = poisson_ratio
    scale2 = lattice_parameter_nm**2
    ux = b_edge / (2 * np.pi) * (theta + x * y / (2 * (1 - nu) * r2))
    uy = (
        -b_edge
        / (2 * np.pi)
        * ((1 - 2 * nu) / (4 * (1 - nu)) * np.log(r2 / scale2) + (x * x - y * y) / (4 * (1 - nu) * r2))
    )
    uz = b_screw / (2 * np.pi) * theta
    return np.stack([ux, uy, uz], axis=1) @ frame
