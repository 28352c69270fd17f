"""The crystals of Lim, Bellec, Dupraz et al. (npj Comput. Mater. 7, 115, 2021), with its classes perfect, screw, edge.

Wulff shapes with {111}, {100} and {110} facets at distances set by surface energies, cut by a substrate (Winterbottom)
on one of the eight {111} at 65 to 75 % of the free height; b = 1/2[1 -1 0], the screw line along [1 -1 0], the edge
line along [1 1 -2] in the plane (1 1 1); lines within 10 % of the lateral size of the centre (CD) or anywhere (RPD).
The best of its models was trained on three quarters CD and one quarter RPD ("mix").
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.crystallography.fcc import METALS, Miller, family, slip_planes
from braggwatch.sim.cxdp.crystal.build import CrystalSpec, Element
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec, line_frame
from braggwatch.sim.cxdp.crystal.shapes import Polyhedron, ShapeSpec, make_polyhedron
from braggwatch.sim.cxdp.crystal.strain import NO_STRAIN

PaperLabel = Literal["perfect", "screw", "edge"]
PAPER_BURGERS: Miller = (1, -1, 0)
PAPER_PLANE: Miller = (1, 1, 1)
CENTRED_SHARE = 0.75
CELLS_ACROSS: dict[str, tuple[int, int]] = {"small": (30, 32), "large": (59, 61)}
"""Cube root of the volume in cells: 108 000 to 131 000 and 822 000 to 908 000 atoms."""


class PaperRegime(BaseModel):
    """Which of the paper's data sets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Literal["small", "large"] = "small"
    lines: Literal["CD", "RPD", "mix"] = Field(
        default="CD", description="Centred, at random positions, or three quarters and one quarter of them."
    )
    elements: tuple[Element, ...] = ("Pt",)
    reflections: tuple[Miller, ...] = Field(
        default=((1, -1, 1), (1, -1, -1), (-1, 1, 1), (-1, 1, -1)),
        description="Reflections to draw from; by default the {111} with g·b = ±1.",
    )


def paper_crystal_spec(rng: np.random.Generator, label: PaperLabel, regime: PaperRegime) -> CrystalSpec:
    """Draw one crystal of the paper; its scattering points are its atoms (`CrystalSpec.atomic`), unrelaxed.

    A line of RPD goes through a point drawn uniformly from the crystal's volume, so that it always lies inside.
    """
    element = regime.elements[int(rng.integers(len(regime.elements)))]
    metal = METALS[element]
    low, high = CELLS_ACROSS[regime.size]
    cells = int(rng.integers(low, high + 1))
    normals = family((1, 1, 1))
    interface = normals[int(rng.integers(len(normals)))]
    shape = ShapeSpec(
        ratio_100=metal.surface_ratio_100,
        ratio_110=metal.surface_ratio_110,
        facet_jitter=0.0,
        interface=interface,
        height_fraction=float(rng.uniform(0.65, 0.75)),
        elongation=(1.0, 1.0, 1.0),
    )
    return CrystalSpec(
        element=element,
        size_nm=cells * metal.lattice_parameter_nm,
        points_across=cells,
        shape=shape,
        line=None if label == "perfect" else _line(rng, label, shape, regime.lines),
        strain=NO_STRAIN,
        hkl=regime.reflections[int(rng.integers(len(regime.reflections)))],
        seed=int(rng.integers(2**31)),
    )


def _line(
    rng: np.random.Generator, label: Literal["screw", "edge"], shape: ShapeSpec, lines: Literal["CD", "RPD", "mix"]
) -> LineSpec:
    line = LineSpec(
        burgers=PAPER_BURGERS,
        plane=1 if slip_planes(PAPER_BURGERS)[1] == PAPER_PLANE else 0,
        character_deg=0.0 if label == "screw" else 90.0,
        offset=(0.0, 0.0),
    )
    inside, size = _interior(make_polyhedron(shape, rng), rng)
    if lines == "CD" or (lines == "mix" and rng.random() < CENTRED_SHARE):
        radius = 0.1 * _lateral(inside, shape) / size * float(np.sqrt(rng.random()))
        angle = float(rng.uniform(0, 2 * np.pi))
        return line.model_copy(update={"offset": (radius * float(np.cos(angle)), radius * float(np.sin(angle)))})
    point = inside[int(rng.integers(len(inside)))] - inside.mean(axis=0)
    frame = line_frame(line)
    return line.model_copy(update={"offset": (float(point @ frame[1]) / size, float(point @ frame[0]) / size)})


def _interior(
    polyhedron: Polyhedron, rng: np.random.Generator, draws: int = 20_000
) -> tuple[NDArray[np.float64], float]:
    """Return points (M, 3) uniform in the volume, and the cube root of the volume; the {111} distance is 1."""
    half = 1.3
    points = rng.uniform(-half, half, size=(draws, 3))
    inside = points[polyhedron.inside(points)]
    return inside, 2 * half * float(len(inside) / draws) ** (1 / 3)


def _lateral(points: NDArray[np.float64], shape: ShapeSpec) -> float:
    """Return the mean width parallel to the interface."""
    normal = np.asarray(shape.interface, dtype=np.float64) / np.sqrt(3.0)
    first = np.cross(normal, (1.0, 0.0, 0.0))
    first /= np.linalg.norm(first)
    return float(np.mean([np.ptp(points @ axis) for axis in (first, np.cross(normal, first))]))
