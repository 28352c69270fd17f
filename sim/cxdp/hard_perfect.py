"""Perfect crystals that are hard to classify: strained by a given amount, of unusual shape, or both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braggwatch.sim.cxdp.crystal.build import Crystal, build_crystal
from braggwatch.sim.cxdp.crystal.population import PopulationSpec, random_crystal_spec


@dataclass(frozen=True, slots=True)
class Hardness:
    """One kind of hard crystals.

    Attributes
    ----------
    strain_rad
        Root mean square of the strain's phase over the particle, radians, the same in every crystal.
    facet_jitter
        Half-width of the facets' random factors; None: that of the training population.
    elongation
        Stretch along one of the crystal's axes, at constant volume.
    """

    strain_rad: float
    facet_jitter: float | None = None
    elongation: float = 1.0

    @property
    def name(self) -> str:
        """Name for reports, e.g. 'strain 0.4 rad'."""
        parts = [f"strain {self.strain_rad:g} rad"]
        if self.facet_jitter is not None:
            parts.append(f"facets ±{self.facet_jitter:.0%}")
        if self.elongation != 1.0:
            parts.append(f"elongated {self.elongation:g}")
        return ", ".join(parts)


HARDNESSES: tuple[Hardness, ...] = (
    *(Hardness(strain) for strain in (0.0, 0.2, 0.4, 0.8, 1.2)),
    Hardness(0.0, facet_jitter=0.5),
    Hardness(0.0, elongation=1.8),
    Hardness(0.4, facet_jitter=0.5, elongation=1.8),
)
"""Kinds on which the gap to real data is measured: strain only, shape only, both."""


class HardPerfect:
    """Perfect crystals of one hardness: a `braggwatch.sim.cxdp.datasets.CrystalSource`."""

    def __init__(self, hardness: Hardness) -> None:
        self._hardness = hardness
        strain = (hardness.strain_rad, hardness.strain_rad)
        self._population = PopulationSpec(unstrained_fraction=0.0, strong_fraction=1.0, strong_strain_rad=strain)
        if hardness.facet_jitter is not None:
            jitter = (hardness.facet_jitter, hardness.facet_jitter)
            self._population = self._population.model_copy(update={"facet_jitter": jitter})

    @property
    def name(self) -> str:
        """Name of the source, stored with the data."""
        return f"perfect, {self._hardness.name}"

    def configuration(self, number: int) -> int:
        """Return the number of a sample's crystal: each sample has its own."""
        return number

    def draw(self, rng: np.random.Generator, config: int) -> Crystal:  # noqa: ARG002 - all draws come from the sample's generator
        """Draw one crystal, its size and its reflection."""
        spec = random_crystal_spec(rng, "perfect", self._population)
        if self._hardness.elongation != 1.0:
            stretch = np.full(3, self._hardness.elongation ** (-1 / 3))
            stretch[int(rng.integers(3))] *= self._hardness.elongation
            shape = spec.shape.model_copy(update={"elongation": tuple(stretch.tolist())})
            spec = spec.model_copy(update={"shape": shape})
        return build_crystal(spec)
