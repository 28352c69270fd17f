"""Random crystals: the distribution of the training data and of the simulated sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.crystallography.fcc import BURGERS, Miller, family, g_dot_b
from braggwatch.sim.crystallography.lattices import IDEAL_C_OVER_A, LATTICES, Lattice, LatticeName
from braggwatch.sim.cxdp.crystal.build import CrystalSpec, Element
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec, SlipVectors, line_frame
from braggwatch.sim.cxdp.crystal.shapes import ShapeSpec, make_polyhedron
from braggwatch.sim.cxdp.crystal.strain import NO_STRAIN, StrainSpec
from braggwatch.sim.errors import InputError


class PopulationSpec(BaseModel):
    """Distribution of the crystals. The defaults are the shipped bundle's training population."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    elements: tuple[Element, ...] = ("Al", "Ag", "Au", "Pt")
    reflections: tuple[tuple[Miller, float], ...] = Field(
        default=(((1, 1, 1), 0.6), ((2, 0, 0), 0.25), ((2, 2, 0), 0.1), ((3, 1, 1), 0.05)),
        description="Families of reflections and their weights.",
    )
    size_nm: tuple[float, float] = (100.0, 600.0)
    points_across: tuple[int, int] = (17, 22)
    centred_fraction: float = Field(
        default=0.45, description="Share of lines within 0.1 particle sizes of the centre (CD)."
    )
    max_line_offset: float = Field(
        default=0.22, description="Largest distance of a line from the centre, in particle sizes (RPD)."
    )
    unstrained_fraction: float = Field(default=0.15, description="Share of crystals without strain.")
    strain_rad: float = Field(
        default=0.35, description="Scale of the half-normal distribution of the rms strain phase, radians."
    )
    strong_fraction: float = Field(
        default=0.1, description="Share of crystals whose rms is drawn uniformly from strong_strain_rad."
    )
    strong_strain_rad: tuple[float, float] = (0.5, 1.1)
    facet_jitter: tuple[float, float] = (0.03, 0.35)
    line_positions: Literal["disk", "cross-section", "distance"] = Field(
        default="disk",
        description="'disk': lines within 0.1 and within max_line_offset of the centre. 'cross-section': anywhere in "
        "the crystal, uniform over its silhouette along the line, up to the surface. 'distance': likewise, but uniform "
        "in the distance from the centre, so that the middle is as well covered as the rim.",
    )
    image_fraction: float = Field(
        default=0.0, ge=0, le=1, description="Share of the lines with an image line beyond the nearest free surface."
    )
    plate_fraction: float = Field(default=0.0, ge=0, le=1, description="Share of plates.")
    plate_aspect: tuple[float, float] = Field(default=(1.5, 5.0), description="Width over thickness, log-uniform.")
    rod_fraction: float = Field(default=0.0, ge=0, le=1, description="Share of rods.")
    rod_aspect: tuple[float, float] = Field(default=(1.3, 4.0), description="Length over width, log-uniform.")
    round_fraction: float = Field(default=0.0, ge=0, le=1, description="Share of spheres and rounded shapes.")
    lattices: tuple[tuple[LatticeName, float], ...] = Field(
        default=(("fcc", 1.0),),
        description="Lattices and their weights; reflections of others than fcc are those of `OTHER_REFLECTIONS`.",
    )
    surface_fraction: float = Field(
        default=0.0, ge=0, le=1, description="Share of strained crystals whose strain is, in part, facet-wise."
    )


DEFAULT_POPULATION = PopulationSpec()


def _shape(population: PopulationSpec, rng: np.random.Generator) -> ShapeSpec:
    stretch = np.exp(rng.normal(scale=0.15, size=3))
    interface: Miller | None = None
    if rng.random() < 0.6:
        members = family((1, 1, 1))
        interface = members[int(rng.integers(len(members)))]
    shape = ShapeSpec(
        ratio_100=float(rng.uniform(0.75, 1.35)),
        ratio_110=float(rng.uniform(0.95, 1.5)),
        facet_jitter=float(rng.uniform(*population.facet_jitter)),
        interface=interface,
        height_fraction=float(rng.uniform(0.6, 0.9)),
        elongation=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
    )
    odd = population.plate_fraction + population.rod_fraction + population.round_fraction
    # no draw where nothing is odd: the crystals of populations without these fields stay the same
    return _odd_shape(shape, population, rng) if odd > 0 else shape


_AXES: tuple[Miller, ...] = ((1, 1, 1), (1, 0, 0), (1, 1, 0))


def _odd_shape(shape: ShapeSpec, population: PopulationSpec, rng: np.random.Generator) -> ShapeSpec:
    if rng.random() < population.round_fraction:
        # a sphere, or facets with rounded edges; a sphere that sits on a substrate keeps its interface
        sphere = rng.random() < 0.5
        shape = shape.model_copy(update={"ball": float(rng.uniform(0.6, 0.75) if sphere else rng.uniform(0.85, 1.2))})
    kind = rng.random()
    plate, rod = population.plate_fraction, population.rod_fraction
    if kind >= plate + rod:
        return shape
    low, high = population.plate_aspect if kind < plate else population.rod_aspect
    aspect = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    if rng.random() < 0.5:
        members = family(_AXES[int(rng.integers(len(_AXES)))])
        axis = np.asarray(members[int(rng.integers(len(members)))], dtype=np.float64)
    else:
        axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    return shape.model_copy(
        update={
            "aspect": 1.0 / aspect if kind < plate else aspect,
            "aspect_axis": (float(axis[0]), float(axis[1]), float(axis[2])),
        }
    )


def random_strain(population: PopulationSpec, rng: np.random.Generator) -> StrainSpec:
    """Draw the smooth strain of one crystal."""
    kind = rng.random()
    if kind < population.unstrained_fraction:
        return NO_STRAIN
    if kind > 1 - population.strong_fraction:
        rms = float(rng.uniform(*population.strong_strain_rad))
    else:
        rms = abs(float(rng.normal(scale=population.strain_rad)))
    present = np.array([True, rng.random() < 0.6, rng.random() < 0.4, rng.random() < 0.3])
    share = np.sqrt(rng.dirichlet(np.ones(4)) * present)
    first, second, facet, bend = (rms * share / np.linalg.norm(share)).tolist()
    strain = StrainSpec(
        random_rad=(first, second),
        correlation=tuple(float(v) for v in rng.uniform(1 / 6, 1 / 2, size=2)),
        # a field that decays from a facet has an rms of about a third of its amplitude over the particle
        facet_rad=3.0 * facet,
        facet_depth=float(rng.uniform(0.06, 0.3)),
        bend_rad=bend,
    )
    if population.surface_fraction and rng.random() < population.surface_fraction:
        part = float(rng.uniform(0.2, 1.0))
        rest = float(np.sqrt(1.0 - part**2))
        strain = strain.model_copy(
            update={
                "random_rad": tuple(rest * one for one in strain.random_rad),
                "facet_rad": rest * strain.facet_rad,
                "bend_rad": rest * strain.bend_rad,
                "surface_rad": part * rms,
            }
        )
    return strain


def _lattice_and_reflection(population: PopulationSpec, rng: np.random.Generator) -> tuple[LatticeName, Miller]:
    name: LatticeName = population.lattices[0][0]
    if len(population.lattices) > 1:
        weights = np.asarray([weight for _, weight in population.lattices])
        name = population.lattices[int(rng.choice(len(weights), p=weights / weights.sum()))][0]
    reflections = population.reflections if name == "fcc" else OTHER_REFLECTIONS[name]
    return name, _reflection(reflections, LATTICES[name], rng)


def _line(
    population: PopulationSpec,
    lattice: LatticeName,
    hkl: Miller,
    label: Literal["screw", "edge", "mixed"],
    visible: bool,
    rng: np.random.Generator,
) -> LineSpec:
    slip: SlipVectors | None = None
    if lattice == "fcc":
        choices = [b for b in BURGERS if (g_dot_b(hkl, b) != 0) == visible]
        burgers = choices[int(rng.integers(len(choices)))]
    else:
        burgers, slip = _other_slip(LATTICES[lattice], hkl, visible, rng)
    centred = rng.random() < population.centred_fraction
    radius = (0.1 if centred else population.max_line_offset) * float(np.sqrt(rng.random()))
    angle = float(rng.uniform(0, 2 * np.pi))
    character = {"screw": 0.0, "edge": 90.0}.get(label)
    return LineSpec(
        burgers=burgers,
        plane=1 if rng.random() < 0.5 else 0,
        character_deg=float(rng.choice((30.0, 60.0))) if character is None else character,
        offset=(radius * float(np.cos(angle)), radius * float(np.sin(angle))),
        slip=slip,
    )


def _other_slip(lattice: Lattice, hkl: Miller, visible: bool, rng: np.random.Generator) -> tuple[Miller, SlipVectors]:
    systems = [s for s in lattice.slip_systems if (lattice.g_dot_b(hkl, s.burgers) != 0) == visible]
    if not systems:
        raise InputError(f"no line of {lattice.name} is {'visible' if visible else 'invisible'} at {hkl}")
    vectors = sorted({s.burgers.numerators for s in systems})
    numerators = vectors[int(rng.integers(len(vectors)))]
    those = [s for s in systems if s.burgers.numerators == numerators]
    system = those[int(rng.integers(len(those)))]
    c = IDEAL_C_OVER_A if lattice.system == "hexagonal" else None
    b = lattice.burgers_vector(system.burgers, 1.0, c) * float(rng.choice((-1.0, 1.0)))
    normal = np.asarray(system.normal, dtype=np.float64) @ lattice.reciprocal_basis(1.0, c)
    normal = normal / np.linalg.norm(normal)
    return numerators, SlipVectors(
        burgers=(float(b[0]), float(b[1]), float(b[2])),
        normal=(float(normal[0]), float(normal[1]), float(normal[2])),
    )


OTHER_REFLECTIONS: Mapping[LatticeName, tuple[tuple[Miller, float], ...]] = {
    "bcc": (((1, 1, 0), 0.5), ((2, 0, 0), 0.2), ((2, 1, 1), 0.2), ((2, 2, 0), 0.1)),
    "diamond": (((1, 1, 1), 0.4), ((2, 2, 0), 0.3), ((3, 1, 1), 0.2), ((4, 0, 0), 0.1)),
    "rocksalt": (((1, 1, 1), 0.25), ((2, 0, 0), 0.4), ((2, 2, 0), 0.2), ((3, 1, 1), 0.1), ((2, 2, 2), 0.05)),
    "perovskite": (((1, 0, 0), 0.25), ((1, 1, 0), 0.3), ((1, 1, 1), 0.15), ((2, 0, 0), 0.2), ((2, 1, 1), 0.1)),
    "spinel": (((1, 1, 1), 0.3), ((2, 2, 0), 0.2), ((3, 1, 1), 0.25), ((4, 0, 0), 0.15), ((4, 4, 0), 0.1)),
    "hcp": (((1, 0, 0), 0.25), ((0, 0, 2), 0.25), ((1, 0, 1), 0.3), ((1, 0, 2), 0.1), ((1, 1, 0), 0.1)),
    "wurtzite": (((1, 0, 0), 0.25), ((0, 0, 2), 0.25), ((1, 0, 1), 0.3), ((1, 0, 2), 0.1), ((1, 1, 0), 0.1)),
}
"""Families of reflections that are measured of other lattices, and their weights."""


def random_reflection(population: PopulationSpec, rng: np.random.Generator) -> Miller:
    """Draw an fcc family of the population by its weight, then one of its members."""
    return _reflection(population.reflections, LATTICES["fcc"], rng)


def _reflection(reflections: tuple[tuple[Miller, float], ...], lattice: Lattice, rng: np.random.Generator) -> Miller:
    weights = np.asarray([weight for _, weight in reflections])
    members = lattice.family(reflections[int(rng.choice(len(weights), p=weights / weights.sum()))][0])
    return members[int(rng.integers(len(members)))]


def random_crystal_spec(
    rng: np.random.Generator,
    label: Literal["perfect", "screw", "edge", "mixed"],
    population: PopulationSpec = DEFAULT_POPULATION,
    *,
    hkl: Miller | None = None,
    visible: bool = True,
) -> CrystalSpec:
    """Draw one crystal of a class.

    Parameters
    ----------
    rng
        Generator of every draw.
    label
        The class: the defect to put in.
    population
        The distribution.
    hkl
        The reflection; None: drawn from the population.
    visible
        Whether the line must be visible (g·b ≠ 0) or invisible (g·b = 0) at the reflection.
    """
    lattice: LatticeName = "fcc"
    if hkl is None:
        lattice, hkl = _lattice_and_reflection(population, rng)
    element = population.elements[int(rng.integers(len(population.elements)))]
    low, high = np.log(population.size_nm[0]), np.log(population.size_nm[1])
    spec = CrystalSpec(
        element=element,
        size_nm=float(np.exp(rng.uniform(low, high))),
        points_across=int(rng.integers(population.points_across[0], population.points_across[1] + 1)),
        shape=_shape(population, rng),
        line=None if label == "perfect" else _line(population, lattice, hkl, label, visible, rng),
        strain=random_strain(population, rng),
        hkl=hkl,
        seed=int(rng.integers(2**31)),
        lattice=lattice,
    )
    if spec.line is None or population.line_positions == "disk":
        return spec
    return spec.model_copy(update={"line": line_anywhere(spec, spec.line, population, rng)})


def draw_line(
    spec: CrystalSpec,
    population: PopulationSpec,
    label: Literal["screw", "edge", "mixed"],
    rng: np.random.Generator,
    *,
    visible: bool = True,
) -> LineSpec:
    """Draw a line of the population for a crystal without one; see `random_crystal_spec`."""
    line = _line(population, spec.lattice, spec.hkl, label, visible, rng)
    if population.line_positions == "disk":
        return line
    return line_anywhere(spec, line, population, rng)


_SILHOUETTE_SAMPLES = 24
_SILHOUETTE_CELL = 0.04


def line_anywhere(spec: CrystalSpec, line: LineSpec, population: PopulationSpec, rng: np.random.Generator) -> LineSpec:
    """Move a line to a place in the crystal's silhouette along it.

    Parameters
    ----------
    spec
        The crystal.
    population
        How the place is drawn, and how often there is an image line at the inverse point, as of a cylinder whose
        surface is the silhouette's rim in that direction.
    """
    shape = make_polyhedron(spec.shape, np.random.default_rng(spec.seed))
    inside, volume = shape.sampled(_SILHOUETTE_SAMPLES)
    across = (inside - inside.mean(axis=0)) @ line_frame(line)[[1, 0]].T / volume ** (1 / 3)
    cells = np.unique(np.rint(across / _SILHOUETTE_CELL).astype(np.int64), axis=0)
    place = (cells[int(rng.integers(len(cells)))] + rng.uniform(-0.5, 0.5, size=2)) * _SILHOUETTE_CELL
    if population.line_positions == "distance":
        angle = float(rng.uniform(0, 2 * np.pi))
        direction = np.array([np.cos(angle), np.sin(angle)])
        place = direction * float(rng.uniform(0.0, _rim(across, direction)))
    image: tuple[float, float] | None = None
    distance = float(np.hypot(*place))
    if rng.random() < population.image_fraction and distance > _SILHOUETTE_CELL:
        far = max(_rim(across, place / distance), distance) ** 2 / distance
        image = (float(place[0] / distance * far), float(place[1] / distance * far))
    return line.model_copy(update={"offset": (float(place[0]), float(place[1])), "image": image})


def _rim(across: NDArray[np.float64], direction: NDArray[np.float64]) -> float:
    """Return how far points (N, 2) reach from the origin in a direction, a unit vector (2,)."""
    beside = np.abs(across @ np.array([-direction[1], direction[0]]))
    return float((across @ direction)[beside < 2 * _SILHOUETTE_CELL].max(initial=0.0))
