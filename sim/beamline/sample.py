"""A sample holder with many particles and their true defects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.crystallography.fcc import Miller, family, g_dot_b
from braggwatch.sim.cxdp.crystal import CrystalSpec, PopulationSpec, random_crystal_spec
from braggwatch.sim.cxdp.crystal.build import Element
from braggwatch.sim.cxdp.labels import CLASSES, Label


class Truth(BaseModel):
    """The true defect of a simulated particle; travels as ``braggwatch_simulation`` in the start document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    truth: Label
    hkl: Miller
    burgers: Miller | None = Field(description="Twice the Burgers vector in lattice parameters; None without a line.")
    g_dot_b: float
    visible: bool = Field(description="False if g·b = 0: the line is invisible at this reflection.")
    element: str
    size_nm: float
    particle: int


class Particle(BaseModel):
    """One particle on the sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int = Field(ge=0)
    x_um: float
    y_um: float
    azimuth_deg: float = Field(description="Rotation of the crystal about Q.")
    peak_counts: float = Field(
        gt=0, description="Expected counts at the pattern's brightest point, with the beam centred."
    )
    crystal: CrystalSpec

    @property
    def truth(self) -> Truth:
        """The correct verdict, and whether the defect is visible at the reflection."""
        line = self.crystal.line
        gb = 0.0 if line is None else g_dot_b(self.crystal.hkl, line.burgers)
        return Truth(
            truth="perfect" if line is None else line.character,
            hkl=self.crystal.hkl,
            burgers=None if line is None else line.burgers,
            g_dot_b=gb,
            visible=line is None or gb != 0.0,
            element=self.crystal.element,
            size_nm=self.crystal.size_nm,
            particle=self.index,
        )


class SimulatedSample(BaseModel):
    """Particles of one element, all diffracting in one {hkl} family, so that the detector needn't move."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    seed: int = Field(ge=0)
    element: Element
    hkl: Miller = Field(description="A member of the family that the detector is positioned for.")
    particles: tuple[Particle, ...]

    def particle_name(self, index: int) -> str:
        """``sample_name`` of a scan of one particle, e.g. ``Au grid 7``."""
        return f"{self.name} {index}"

    @classmethod
    def grid(
        cls,
        seed: int,
        *,
        rows: int = 4,
        columns: int = 4,
        pitch_um: float = 5.0,
        name: str = "Au grid",
        element: Element = "Au",
        hkl: Miller = (1, 1, 1),
        labels: Sequence[Label] = CLASSES,
        visible_fraction: float = 1.0,
        size_nm: tuple[float, float] = (200.0, 400.0),
        points_across: int = 28,
        peak_counts: tuple[float, float] = (2e3, 1e5),
    ) -> SimulatedSample:
        """Place one particle near each point of a grid, with the labels in random order.

        Parameters
        ----------
        seed
            Seed of all draws.
        pitch_um
            Distance between neighbours, µm; positions scatter by a tenth of it.
        labels
            Classes to distribute evenly.
        visible_fraction
            Share of the dislocated particles whose line is visible at the reflection (g·b ≠ 0).
        size_nm, peak_counts
            Ranges, drawn log-uniformly.
        points_across
            Sampling of the crystals (`CrystalSpec.points_across`): the detector must not reach farther from the peak
            than about 1.5 times as many fringes.
        """
        rng = np.random.default_rng(seed)
        population = PopulationSpec(elements=(element,), size_nm=size_nm, points_across=(points_across, points_across))
        members = family(hkl)
        count = rows * columns
        dealt = [labels[i % len(labels)] for i in rng.permutation(count)]
        particles: list[Particle] = []
        for index in range(count):
            row, column = divmod(index, columns)
            jitter = rng.normal(scale=0.1 * pitch_um / 2, size=2)
            visible = dealt[index] == "perfect" or bool(rng.random() < visible_fraction)
            member = members[int(rng.integers(len(members)))]
            particles.append(
                Particle(
                    index=index,
                    x_um=float(np.round(column * pitch_um + jitter[0], 3)),
                    y_um=float(np.round(row * pitch_um + jitter[1], 3)),
                    azimuth_deg=float(rng.uniform(0.0, 360.0)),
                    peak_counts=float(np.exp(rng.uniform(*np.log(peak_counts)))),
                    crystal=random_crystal_spec(rng, dealt[index], population, hkl=member, visible=visible),
                )
            )
        return cls(name=name, seed=seed, element=element, hkl=hkl, particles=tuple(particles))
