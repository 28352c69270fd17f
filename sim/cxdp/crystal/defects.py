"""Defects other than a single straight dislocation: their union type, displacement and visibility."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.crystallography.fcc import Miller, g_dot_b
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec, displacement, line_frame
from braggwatch.sim.cxdp.crystal.loops import LoopSpec, loop_displacement, loop_g_dot_b, platelet
from braggwatch.sim.cxdp.crystal.planar import (
    FaultSpec,
    ShockleyPairSpec,
    ShockleySpec,
    TwinSpec,
    fault_displacement,
    fault_shifts,
    g_dot_shift,
    pair_displacement,
    partial_displacement,
    split,
    twin_displacement,
    twin_layers,
)

DefectLabel = Literal["line", "shockley_pair", "shockley", "stacking_fault", "twin", "loop"]


class StraightLineSpec(BaseModel):
    """An additional straight perfect dislocation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["line"] = "line"
    line: LineSpec
    opposite: bool = Field(
        default=False,
        description="Reverse the Burgers vector but keep the line's direction: -u. Reversing LineSpec.burgers also "
        "reverses the direction, which gives the same line.",
    )


DefectSpec = Annotated[
    StraightLineSpec | ShockleyPairSpec | ShockleySpec | FaultSpec | TwinSpec | LoopSpec, Field(discriminator="kind")
]


@dataclass(frozen=True, slots=True)
class Contrast:
    """Contrast of one defect at one reflection.

    Attributes
    ----------
    kind
        Kind of the defect.
    g_dot_b
        g·b of a line, a pair (both partials together) or a loop; g·R, R = 1/6⟨112⟩, of a fault or a twin.
    visible
        Lines, partials and loops: g·b ≠ 0. A pair: either partial's g·b ≠ 0, which also holds for some perfect lines
        with g·b = 0, whose partials have ±1/3. Faults: they shift the phase by 2π g·R, so they are invisible only if
        g·R is an integer. Twins: the same rule, since then matrix and twin share the reflection.
    """

    kind: DefectLabel
    g_dot_b: float
    visible: bool


def contrast(hkl: Miller, defect: DefectSpec, g_per_a: tuple[float, float, float] | None = None) -> Contrast:
    """Return the contrast of a defect at the reflection ``hkl``.

    Parameters
    ----------
    g_per_a
        g in 1/a, Cartesian crystal axes, for a line with `SlipVectors`; None: hkl, as in a cubic lattice.
    """
    g_per_a = hkl if g_per_a is None else g_per_a
    match defect:
        case StraightLineSpec():
            slip = defect.line.slip
            value = g_dot_b(hkl, defect.line.burgers) if slip is None else _whole(np.dot(g_per_a, slip.burgers))
            value *= -1.0 if defect.opposite else 1.0
            return Contrast("line", value, value != 0.0)
        case ShockleyPairSpec():
            partials = [g_dot_shift(hkl, shift) for shift in split(defect.line)]
            return Contrast("shockley_pair", g_dot_b(hkl, defect.line.burgers), any(partials))
        case ShockleySpec():
            value = g_dot_shift(hkl, fault_shifts(defect.plane)[defect.shift])
            return Contrast("shockley", value, value != 0.0)
        case FaultSpec() | TwinSpec():
            value = g_dot_shift(hkl, fault_shifts(defect.plane)[defect.shift])
            return Contrast(defect.kind, value, not value.is_integer())
        case LoopSpec():
            value = loop_g_dot_b(hkl, defect)
            return Contrast("loop", value, value != 0.0)


def _whole(value: float) -> float:
    """Return g·b of a lattice translation, which is whole, without the rounding of Cartesian axes."""
    return float(np.rint(value)) + 0.0


def strongest(contrasts: tuple[Contrast, ...]) -> float:
    """Return the g·b of largest modulus among visible defects, or among all if none is visible; 0 without defects."""
    if not contrasts:
        return 0.0
    return max(contrasts, key=lambda seen: (seen.visible, abs(seen.g_dot_b))).g_dot_b


def crystal_label(line: LineSpec | None, defects: tuple[DefectSpec, ...]) -> str:
    """Return the label of a crystal with these defects.

    'perfect'; 'screw', 'edge', 'mixed' for one straight line; 'two_lines'; the kind of a single other defect
    ('shockley_pair', 'shockley', 'stacking_fault', 'twin', 'loop'); 'several' for everything else.
    """
    lines = ([] if line is None else [line]) + [d.line for d in defects if isinstance(d, StraightLineSpec)]
    others = [d.kind for d in defects if not isinstance(d, StraightLineSpec)]
    if not others and len(lines) < 3:
        return ("perfect", lines[0].character if lines else "", "two_lines")[len(lines)]
    return others[0] if len(others) == 1 and not lines else "several"


def defect_displacement(
    defect: DefectSpec,
    points_nm: NDArray[np.float64],
    size_nm: float,
    lattice_parameter_nm: float,
    poisson_ratio: float,
) -> NDArray[np.float64]:
    """Return the displacement of a single defect; fields of several are added (linear elasticity).

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
    a, nu = lattice_parameter_nm, poisson_ratio
    match defect:
        case StraightLineSpec():
            frame = line_frame(defect.line)
            origin = frame[1] * defect.line.offset[0] + frame[0] * defect.line.offset[1]
            u = displacement(defect.line, points_nm, origin * size_nm, a, nu)
            if defect.line.image is not None:
                image = frame[1] * defect.line.image[0] + frame[0] * defect.line.image[1]
                u -= displacement(defect.line, points_nm, image * size_nm, a, nu)
            return -u if defect.opposite else u
        case ShockleyPairSpec():
            return pair_displacement(defect, points_nm, size_nm, a, nu)
        case ShockleySpec():
            return partial_displacement(defect, points_nm, size_nm, a, nu)
        case FaultSpec():
            return fault_displacement(defect, points_nm, size_nm, a)
        case TwinSpec():
            return twin_displacement(defect, points_nm, size_nm, a)
        case LoopSpec():
            return loop_displacement(defect, points_nm, size_nm, a, nu)


def defect_distance(defect: DefectSpec) -> float:
    """Distance of a line, a plane or a loop's centre from the centre of mass, in particle sizes."""
    match defect:
        case StraightLineSpec() | ShockleyPairSpec():
            return float(np.hypot(*defect.line.offset))
        case ShockleySpec():
            return float(np.hypot(*defect.offset))
        case FaultSpec() | TwinSpec():
            return abs(defect.offset)
        case LoopSpec():
            return float(np.linalg.norm(defect.centre))


def kept_points(
    defect: DefectSpec,
    points_nm: NDArray[np.float64],
    size_nm: float,
    lattice_parameter_nm: float,
    hkl: Miller,
    atomic: bool,
) -> NDArray[np.bool_]:
    """Return which of (N, 3) points remain: (N,) bool.

    In a coarse-grained twin the lamella's points are removed if the reflection isn't shared: the twin then doesn't
    scatter near g at all, which a lattice coarser than its layers can't reproduce. With real atoms, a vacancy loop
    removes its platelet, whose atoms would overlap once the two sides have closed up.
    """
    if isinstance(defect, TwinSpec) and not atomic and contrast(hkl, defect).visible:
        layer, layers = twin_layers(defect, points_nm, size_nm, lattice_parameter_nm)
        return (layer < 1) | (layer > layers)
    if isinstance(defect, LoopSpec) and atomic and not defect.interstitial:
        return ~platelet(defect, points_nm, size_nm, lattice_parameter_nm, start=-0.5)
    return np.ones(len(points_nm), dtype=bool)
