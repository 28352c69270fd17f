"""Dislocation loops: the isotropic displacement field of a closed polygon, and the two types of loops in fcc.

Source: D. M. Barnett, Phil. Mag. A 51, 383 (1985): the field of a triangular loop as a solid angle, which carries the
jump, and two sums over its sides; sides shared by triangles cancel, so any flat polygon is a sum over its own sides.
The loops: Hirth and Lothe, Theory of Dislocations (2nd ed.), chapter 10 (Frank) and section 16-2 (prismatic).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from braggwatch.sim.crystallography.fcc import Miller, family, is_allowed
from braggwatch.sim.cxdp.crystal.planar import fault_shifts


class LoopSpec(BaseModel):
    """A flat polygonal loop whose Burgers vector is normal to it: formed by point defects, not by slip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["loop"] = "loop"
    burgers: Miller = Field(
        description="The normal: one of <110> (prismatic, b = 1/2<110>) or of <111> (Frank, b = 1/3<111>)."
    )
    interstitial: bool = Field(description="True: an inserted platelet; False: a removed one (vacancies).")
    radius: float = Field(gt=0, le=0.6, description="Distance from the centre to the corners, in particle sizes.")
    centre: tuple[float, float, float] = Field(
        description="Centre relative to the centre of mass, crystal axes, in particle sizes."
    )
    sides: int = Field(default=6, ge=3, le=64)

    @model_validator(mode="after")
    def _is_a_loop_of_fcc(self) -> LoopSpec:
        if self.burgers not in family((1, 1, 0)) and self.burgers not in family((1, 1, 1)):
            raise ValueError(f"a loop's Burgers vector is along <110> or <111>, not {self.burgers}")
        return self

    @property
    def frank(self) -> bool:
        """Whether it is a Frank loop, which encloses a stacking fault; otherwise it is prismatic, without a fault."""
        return is_allowed(self.burgers)


def loop_g_dot_b(hkl: Miller, loop: LoopSpec) -> float:
    """Return g·b: an integer for prismatic loops, a multiple of 1/3 for Frank loops."""
    return float(np.dot(hkl, loop.burgers)) / (3.0 if loop.frank else 2.0) * (1.0 if loop.interstitial else -1.0)


def loop_corners(loop: LoopSpec) -> NDArray[np.float64]:
    """Return the (sides, 3) corners about the centre of mass, in particle sizes, right-handed about the normal."""
    normal = np.asarray(loop.burgers, dtype=np.float64) / np.linalg.norm(loop.burgers)
    # sides of a hexagon along <110> on {111} and along <112> on {110}: both have <110> in the plane
    first = np.asarray(next(d for d in family((1, 1, 0)) if int(np.dot(d, loop.burgers)) == 0), dtype=np.float64)
    first /= np.linalg.norm(first)
    angle = 2 * np.pi * np.arange(loop.sides) / loop.sides
    ring = np.outer(np.cos(angle), first) + np.outer(np.sin(angle), np.cross(normal, first))
    return np.asarray(loop.centre) + loop.radius * ring


def burgers_nm(loop: LoopSpec, lattice_parameter_nm: float) -> NDArray[np.float64]:
    """Return (3,) b in nm, crystal axes: along the normal for interstitial loops, against it for vacancy loops."""
    scale = lattice_parameter_nm / (3.0 if loop.frank else 2.0)
    return np.asarray(loop.burgers, dtype=np.float64) * (scale if loop.interstitial else -scale)


def solid_angle(corners: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the solid angle of a flat convex polygon.

    Source: van Oosterom and Strackee, IEEE Trans. Biomed. Eng. 30, 125 (1983), for each triangle of a fan.

    Parameters
    ----------
    corners
        (C, 3), right-handed about the polygon's normal.
    points
        (N, 3) points that it is seen from.

    Returns
    -------
    (N,) steradians, positive on the side that the normal points to, ±2π on the polygon's two faces.
    """
    total = np.zeros(len(points))
    rays = [corner - points for corner in corners]
    lengths = [np.linalg.norm(ray, axis=1) for ray in rays]
    a, ra = rays[0], lengths[0]
    for (b, rb), (c, rc) in zip(
        zip(rays[1:-1], lengths[1:-1], strict=True), zip(rays[2:], lengths[2:], strict=True), strict=True
    ):
        triple = np.einsum("ni,ni->n", a, np.cross(b, c))
        dots = [np.einsum("ni,ni->n", u, v) for u, v in ((a, b), (b, c), (c, a))]
        total -= 2 * np.arctan2(triple, ra * rb * rc + dots[0] * rc + dots[1] * ra + dots[2] * rb)
    return total


def polygon_displacement(
    corners_nm: NDArray[np.float64],
    burgers: NDArray[np.float64],
    points_nm: NDArray[np.float64],
    poisson_ratio: float,
    core_nm: float,
) -> NDArray[np.float64]:
    """Return the displacement of a polygonal loop in an infinite isotropic medium.

    u = b Ω / 4π + Σ_sides [(1 - 2ν) f - g] / (8π (1 - ν)), f = (b × t) ln((R_B + R_B·t) / (R_A + R_A·t)) and
    g = b·(λ_A × λ_B) (λ_A + λ_B) / (1 + λ_A·λ_B), where R_A, R_B lead from the point to a side's corners, λ are their
    directions and t is the side's (Barnett 1985; all signs are reversed, since Ω and b have the opposite sense here).

    Parameters
    ----------
    corners_nm
        (C, 3) corners of a flat convex polygon, right-handed about its normal.
    burgers
        (3,) in nm: the jump of u across the loop, in the direction of its normal.
    points_nm
        (N, 3), the corners' axes.
    core_nm
        Within this distance of a side, its logarithm and quotient are kept finite.

    Returns
    -------
    (N, 3) float64, nm. Falls as 1/r² far away.
    """
    nu = poisson_ratio
    u = np.outer(solid_angle(corners_nm, points_nm) / (4 * np.pi), burgers)
    following = np.roll(corners_nm, -1, axis=0)
    for start, end in zip(corners_nm, following, strict=True):
        tangent = end - start
        length = float(np.linalg.norm(tangent))
        tangent = tangent / length
        to_a, to_b = start - points_nm, end - points_nm
        along_a, along_b = to_a @ tangent, to_b @ tangent
        across2 = np.maximum(np.einsum("ni,ni->n", to_a, to_a) - along_a**2, core_nm**2)
        ra, rb = np.sqrt(across2 + along_a**2), np.sqrt(across2 + along_b**2)
        # R + R·t cancels if R·t is about -R: there it is computed as across² / (R - R·t)
        log = np.log(_sum_with_length(along_b, rb, across2)) - np.log(_sum_with_length(along_a, ra, across2))
        f = np.outer(log, np.cross(burgers, tangent))
        la, lb = to_a / ra[:, None], to_b / rb[:, None]
        # 1 + cos of the angle at which the side is seen vanishes on the side itself: the same floor applies
        opening = 1.0 + (along_a * along_b + across2) / (ra * rb)
        opening = np.maximum(opening, (core_nm / length) ** 2)
        g = ((np.cross(la, lb) @ burgers) / opening)[:, None] * (la + lb)
        u += ((1 - 2 * nu) * f - g) / (8 * np.pi * (1 - nu))
    return u


def _sum_with_length(
    along: NDArray[np.float64], length: NDArray[np.float64], across2: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.where(along > 0, length + np.abs(along), across2 / (length + np.abs(along)))


def loop_displacement(
    loop: LoopSpec,
    points_nm: NDArray[np.float64],
    size_nm: float,
    lattice_parameter_nm: float,
    poisson_ratio: float,
) -> NDArray[np.float64]:
    """Return the displacement of a loop: (N, 3) in nm at (N, 3) points about the centre of mass, crystal axes."""
    return polygon_displacement(
        loop_corners(loop) * size_nm,
        burgers_nm(loop, lattice_parameter_nm),
        points_nm,
        poisson_ratio,
        core_nm=0.3 * lattice_parameter_nm,
    )


def platelet(
    loop: LoopSpec, points_nm: NDArray[np.float64], size_nm: float, lattice_parameter_nm: float, start: float
) -> NDArray[np.bool_]:
    """Return which of (N, 3) points lie in the prism above the loop, one |b| high: (N,) bool.

    ``start`` is the height of its lower face above the loop's plane, in |b|.
    """
    corners = loop_corners(loop) * size_nm
    normal = np.asarray(loop.burgers, dtype=np.float64) / np.linalg.norm(loop.burgers)
    thickness = float(np.linalg.norm(burgers_nm(loop, lattice_parameter_nm)))
    height = (points_nm - corners[0]) @ normal / thickness - start
    inside = (height > 0) & (height <= 1)
    for corner, following in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (points_nm - corner) @ np.cross(normal, following - corner) > 0
    return inside


def inserted_shift_nm(loop: LoopSpec, lattice_parameter_nm: float) -> NDArray[np.float64]:
    """Return the shift (3,), nm, from the platelet above an interstitial loop to the copy of it that fills the loop.

    One Burgers vector down; in a Frank loop also 1/6⟨112⟩ sideways, since the inserted layer must have the third
    stacking position (an extrinsic fault).
    """
    shift = -burgers_nm(loop, lattice_parameter_nm)
    if loop.frank:
        shift += np.asarray(fault_shifts(loop.burgers)[0], dtype=np.float64) * (lattice_parameter_nm / 6.0)
    return shift
