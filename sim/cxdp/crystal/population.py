"""Random crystals: the distribution of the training data and of the simulated sample."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.crystallography.fcc import BURGERS, Miller, family, g_dot_b
from braggwatch.sim.cxdp.crystal.build import CrystalSpec, Element
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec
from braggwatch.sim.cxdp.crystal.shapes import ShapeSpec
from braggwatch.sim.cxdp.crystal.strain import NO_STRAIN, StrainSpec


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


DEFAULT_POPULATION = PopulationSpec()


def _shape(population: PopulationSpec, rng: np.random.Generator) -> ShapeSpec:
    stretch = np.exp(rng.normal(scale=0.15, size=3))
    interface: Miller | None = None
    if rng.random() < 0.6:
        members = family((1, 1, 1))
        interface = members[int(rng.integers(len(members)))]
    return ShapeSpec(
        ratio_100=float(rng.uniform(0.75, 1.35)),
        ratio_110=float(rng.uniform(0.95, 1.5)),
        facet_jitter=float(rng.uniform(*population.facet_jitter)),
        interface=interface,
        height_fraction=float(rng.uniform(0.6, 0.9)),
        elongation=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
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
    return StrainSpec(
        random_rad=(first, second),
        correlation=tuple(float(v) for v in rng.uniform(1 / 6, 1 / 2, size=2)),
        # a field that decays from a facet has an rms of about a third of its amplitude over the particle
        facet_rad=3.0 * facet,
        facet_depth=float(rng.uniform(0.06, 0.3)),
        bend_rad=bend,
    )


def _line(
    population: PopulationSpec,
    hkl: Miller,
    label: Literal["screw", "edge", "mixed"],
    visible: bool,
    rng: np.random.Generator,
) -> LineSpec:
    choices = [b for b in BURGERS if (g_dot_b(hkl, b) != 0) == visible]
    burgers = choices[int(rng.integers(len(choices)))]
    centred = rng.random() < population.centred_fraction
    radius = (0.1 if centred else population.max_line_offset) * float(np.sqrt(rng.random()))
    angle = float(rng.uniform(0, 2 * np.pi))
    character = {"screw": 0.0, "edge": 90.0}.get(label)
    return LineSpec(
        burgers=burgers,
        plane=1 if rng.random() < 0.5 else 0,
        character_deg=float(rng.choice((30.0, 60.0))) if character is None else character,
        offset=(radius * float(np.cos(angle)), radius * float(np.sin(angle))),
    )


def random_reflection(population: PopulationSpec, rng: np.random.Generator) -> Miller:
    """Draw a family of the population by its weight, then one of its members."""
    weights = np.asarray([weight for _, weight in population.reflections])
    members = family(population.reflections[int(rng.choice(len(weights), p=weights / weights.sum()))][0])
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
    if hkl is None:
        hkl = random_reflection(population, rng)
    element = population.elements[int(rng.integers(len(population.elements)))]
    low, high = np.log(population.size_nm[0]), np.log(population.size_nm[1])
    return CrystalSpec(
        element=element,
        size_nm=float(np.exp(rng.uniform(low, high))),
        points_across=int(rng.integers(population.points_across[0], population.points_across[1] + 1)),
        shape=_shape(population, rng),
        line=None if label == "perfect" else _line(population, hkl, label, visible, rng),
        strain=random_strain(population, rng),
        hkl=hkl,
        seed=int(rng.integers(2**31)),
    )
