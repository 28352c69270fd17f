"""Build a crystal from its specification: scattering points, their phases, and the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from braggwatch.sim.crystallography.fcc import METALS, Metal, Miller
from braggwatch.sim.crystallography.lattices import IDEAL_C_OVER_A, LATTICES, LatticeName
from braggwatch.sim.cxdp.crystal.defects import (
    Contrast,
    DefectSpec,
    StraightLineSpec,
    contrast,
    crystal_label,
    defect_displacement,
    defect_distance,
    kept_points,
    strongest,
)
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec
from braggwatch.sim.cxdp.crystal.loops import LoopSpec, inserted_shift_nm, platelet
from braggwatch.sim.cxdp.crystal.shapes import Polyhedron, ShapeSpec, make_polyhedron
from braggwatch.sim.cxdp.crystal.strain import StrainSpec, strain_phase, strain_spread
from braggwatch.sim.errors import InputError

Element = Literal["Al", "Ag", "Au", "Pt"]


class CrystalSpec(BaseModel):
    """Everything that determines one crystal; the same specification always gives the same crystal.

    ``points_across`` sets how finely the particle is sampled: an fcc lattice of scattering points with that many
    cubic cells across the particle. Where that equals the number of real cells, the points are the atoms; larger
    particles are coarse-grained, which leaves the pattern around one Bragg peak unchanged as long as the displacement
    varies little within a cell (the points' own Bragg peaks lie ``points_across`` fringes away).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    element: Element
    size_nm: float = Field(gt=1, description="Cube root of the volume.")
    points_across: int = Field(ge=8, le=200)
    shape: ShapeSpec
    line: LineSpec | None
    strain: StrainSpec
    hkl: Miller
    seed: int
    defects: tuple[DefectSpec, ...] = Field(default=(), description="Defects besides ``line``.")
    lattice: LatticeName = Field(
        default="fcc",
        description="Lattice of reflection and line; the points stay those of fcc, which near one peak makes "
        "no difference. A hexagonal one has the ideal c/a.",
    )

    @model_validator(mode="after")
    def _reflection_exists(self) -> CrystalSpec:
        extinct = LATTICES[self.lattice].extinction(self.hkl)
        if extinct is not None:
            raise ValueError(extinct)
        return self

    @property
    def metal(self) -> Metal:
        """The element's constants."""
        return METALS[self.element]

    @property
    def g_per_a(self) -> tuple[float, float, float]:
        """The reflection g in 1/a, Cartesian crystal axes."""
        lattice = LATTICES[self.lattice]
        basis = lattice.reciprocal_basis(1.0, IDEAL_C_OVER_A if lattice.system == "hexagonal" else None)
        g = (np.asarray(self.hkl, dtype=np.float64) @ basis).tolist()
        return g[0], g[1], g[2]

    @property
    def atomic(self) -> bool:
        """Whether the scattering points are the atoms: ``points_across`` is the real number of cells."""
        return abs(self.size_nm / self.points_across / self.metal.lattice_parameter_nm - 1.0) < 1e-6

    @property
    def all_defects(self) -> tuple[DefectSpec, ...]:
        """``line``, if there is one, followed by ``defects``."""
        return self.defects if self.line is None else (StraightLineSpec(line=self.line), *self.defects)


@dataclass(frozen=True, slots=True)
class Crystal:
    """Scattering points of one crystal seen at one reflection.

    Attributes
    ----------
    positions_nm
        (N, 3) float64 ideal lattice positions about the centre of mass (of the crystal without defects), crystal axes.
    displacement_nm
        (N, 3) float64 displacement from those positions (defects and strain).
    phase_turns
        (N,) float64 g·u in turns: a point scatters with exp(-2πi phase_turns) exp(-2πi q·(r + u)), q from g.
    label
        The defect put in: 'perfect', 'screw', 'edge', 'mixed' or another label of `crystal_label`.
    g_dot_b
        g·b of the line; for other defects the largest visible g·b or g·R of `contrasts`. 0 without a defect or if none
        is visible at this reflection, except that g·R of an invisible fault is an integer.
    line_distance
        Distance of the line, plane or loop nearest to the centre of mass, in particle sizes; None without a defect.
    contrasts
        Contrast of each of ``spec.all_defects`` at this reflection, in that order; may be empty for a single line,
        which ``g_dot_b`` describes completely.
    strain_rad
        Root mean square of the smooth strain's phase g·u over the points, radians (`strain_spread`).
    """

    spec: CrystalSpec
    positions_nm: NDArray[np.float64]
    displacement_nm: NDArray[np.float64]
    phase_turns: NDArray[np.float64]
    label: str
    g_dot_b: float
    line_distance: float | None
    contrasts: tuple[Contrast, ...] = ()
    strain_rad: float = 0.0

    @property
    def hkl(self) -> Miller:
        """The reflection."""
        return self.spec.hkl

    @property
    def visible(self) -> bool:
        """Whether any defect is visible at this reflection (see `Contrast`); True for a crystal without defects."""
        if self.contrasts:
            return any(seen.visible for seen in self.contrasts)
        return self.label == "perfect" or self.g_dot_b != 0.0

    @property
    def g_inv_nm(self) -> NDArray[np.float64]:
        """(3,) reciprocal lattice vector g = hkl / a in 1/nm, crystal axes."""
        return np.asarray(self.spec.g_per_a) / self.spec.metal.lattice_parameter_nm


def _fcc_points(shape: Polyhedron, step: float, rng: np.random.Generator) -> NDArray[np.float64]:
    reach = 1.05 * float(np.max(np.linalg.norm(shape.corners(), axis=1)))
    n = int(np.ceil(reach / step)) + 1
    axis = np.arange(-n, n + 1, dtype=np.float64) * step
    origin = rng.uniform(0.0, step, size=3)
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3) + origin
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]) * step
    return np.concatenate([pts[shape.inside(pts)] for pts in (cells + shift for shift in basis)])


@dataclass(frozen=True, slots=True)
class _Body:
    """Scattering points (N, 3) in particle sizes about their centre of mass, and the smooth strain's phase (N,)."""

    points: NDArray[np.float64]
    phase_rad: NDArray[np.float64]


def _body(spec: CrystalSpec) -> _Body:
    rng = np.random.default_rng(spec.seed)
    shape = make_polyhedron(spec.shape, rng)
    shape = shape.scaled(shape.volume() ** (-1 / 3))  # lengths in particle sizes from here on
    points = _fcc_points(shape, 1.0 / spec.points_across, rng)
    if len(points) < 100:
        raise InputError(f"the shape contains only {len(points)} points: raise points_across or relax the facet ratios")
    centre = points.mean(axis=0)
    points = points - centre
    return _Body(points, strain_phase(spec.strain, points, shape.moved(-centre), rng))


def build_crystal(spec: CrystalSpec) -> Crystal:
    """Build the scattering points.

    Raises
    ------
    InputError
        If the shape contains fewer than 100 points.
    """
    return _with_defects(spec, _body(spec))


def build_alike(specs: Sequence[CrystalSpec]) -> tuple[Crystal, ...]:
    """Build crystals that differ in line and defects alone: same points, same strain, a good deal faster than one each.

    Raises
    ------
    ValueError
        If they differ in anything else.
    InputError
        As `build_crystal`.
    """
    bare = [spec.model_copy(update={"line": None, "defects": ()}) for spec in specs]
    if any(spec != bare[0] for spec in bare):
        raise ValueError("these crystals differ in more than their defects")
    if not specs:
        return ()
    body = _body(specs[0])
    return tuple(_with_defects(spec, body) for spec in specs)


def _with_defects(spec: CrystalSpec, body: _Body) -> Crystal:
    points, phase = body.points, body.phase_rad
    positions = points * spec.size_nm
    a = spec.metal.lattice_parameter_nm
    g = np.asarray(spec.g_per_a) / a
    u = np.zeros_like(positions)
    defects = spec.all_defects
    for defect in defects:
        u += defect_displacement(defect, positions, spec.size_nm, a, spec.metal.poisson_ratio)
    contrasts = tuple(contrast(spec.hkl, defect, spec.g_per_a) for defect in defects)
    # smooth strain is given as a phase: its displacement is taken along g, the only component this peak sees
    u += np.outer(phase / (2 * np.pi), g / float(g @ g))
    positions, u = _with_platelets(spec, positions, u)
    return Crystal(
        spec,
        positions,
        u,
        u @ g,
        crystal_label(spec.line, spec.defects),
        strongest(contrasts),
        min(map(defect_distance, defects), default=None),
        contrasts,
        strain_spread(phase, points),
    )


def _with_platelets(
    spec: CrystalSpec, positions_nm: NDArray[np.float64], u_nm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Remove the points of vacancies and add those of interstitials."""
    a = spec.metal.lattice_parameter_nm
    keep = np.ones(len(positions_nm), dtype=bool)
    more, more_u = [positions_nm[:0]], [u_nm[:0]]
    for defect in spec.defects:
        keep &= kept_points(defect, positions_nm, spec.size_nm, a, spec.hkl, spec.atomic)
        if isinstance(defect, LoopSpec) and defect.interstitial and spec.atomic:
            copied = platelet(defect, positions_nm, spec.size_nm, a, start=0.0)
            more.append(positions_nm[copied])
            more_u.append(u_nm[copied] + inserted_shift_nm(defect, a))
    return np.concatenate([positions_nm[keep], *more]), np.concatenate([u_nm[keep], *more_u])
