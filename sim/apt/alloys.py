"""Alloys of a face-centred cubic matrix with coherent L1₂ precipitates: sites, occupancies, mass spectra.

The cubic cell has four sites: the corner (0, 0, 0) and the three face centres. In a disordered matrix they are
equivalent; in an L1₂ precipitate one of the four is occupied by the solute. Which one differs between precipitates (the
four translation variants), since a precipitate may nucleate on any site.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from braggwatch.sim.apt.model import MassRange

SITES = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
"""The four sites of the cubic cell, in fractional coordinates."""

AlloyName = Literal["al-li", "al-li-flat", "al-sc", "ni-al"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MassLine(_Frozen):
    """One peak of a species' mass spectrum."""

    mass_to_charge_Da: float = Field(gt=0)
    weight: float = Field(
        gt=0, description="Relative share of the species' ions; divided by the sum of all its weights."
    )


class Species(_Frozen):
    """An element of an alloy as measured by the instrument."""

    name: str
    lines: tuple[MassLine, ...] = Field(min_length=1)
    volume_nm3: float = Field(gt=0, description="Atomic volume in nm³, for range files.")
    color: str = Field(pattern="^[0-9A-F]{6}$")


class Alloy(_Frozen):
    """A two-phase alloy. Occupancies are probabilities in the order of ``species``."""

    description: str
    lattice_parameter_nm: float = Field(gt=0.2, lt=1.0)
    species: tuple[Species, ...] = Field(min_length=1, max_length=8)
    matrix: tuple[float, ...] = Field(description="Composition of the disordered matrix.")
    corner: tuple[float, ...] = Field(description="Occupancy of the solute's site in a precipitate.")
    face: tuple[float, ...] = Field(description="Occupancy of the other three sites in a precipitate.")
    peak_width_relative: float = Field(
        default=4e-4, ge=0, description="Standard deviation of a mass peak relative to its m/q."
    )
    tail_fraction: float = Field(
        default=0.3, ge=0, le=1, description="Fraction of the ions in a peak's tail towards higher m/q."
    )
    tail_Da: float = Field(default=0.06, gt=0, description="Decay length of that tail.")
    range_Da: tuple[float, float] = Field(
        default=(0.12, 0.3), description="Extent of a range below and above its peak."
    )

    @model_validator(mode="after")
    def _occupancies_are_probabilities(self) -> Alloy:
        for name, values in (("matrix", self.matrix), ("corner", self.corner), ("face", self.face)):
            if len(values) != len(self.species) or min(values) < 0 or abs(sum(values) - 1) > 1e-9:
                raise ValueError(f"{name}: {len(self.species)} probabilities that sum to 1 are needed, not {values}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Elements, in the order of the occupancies."""
        return tuple(s.name for s in self.species)

    @property
    def ordered_composition(self) -> tuple[float, ...]:
        """Composition of a precipitate as a whole."""
        return tuple((c + 3 * f) / 4 for c, f in zip(self.corner, self.face, strict=True))

    @property
    def sites_per_nm3(self) -> float:
        """Density of lattice sites, 1/nm³."""
        return len(SITES) / self.lattice_parameter_nm**3

    def with_solute(self, matrix: float | None = None, corner: float | None = None) -> Alloy:
        """Return the alloy with another fraction of its last species in the matrix or on the precipitate's solute site.

        The fraction of the first species changes accordingly.
        """

        def changed(values: tuple[float, ...], part: float | None) -> tuple[float, ...]:
            if part is None:
                return values
            middle = values[1:-1]
            return (1.0 - part - sum(middle), *middle, part)

        return Alloy.model_validate(
            {**self.model_dump(), "matrix": changed(self.matrix, matrix), "corner": changed(self.corner, corner)}
        )

    def occupancy(self) -> NDArray[np.float64]:
        """(3, species) cumulative probabilities of matrix, face and corner sites, each ending in 1."""
        table = np.cumsum(np.array([self.matrix, self.face, self.corner]), axis=1)
        table[:, -1] = 1.0
        return table

    def ranges(self) -> list[MassRange]:
        """Return the ranges of all peaks, ascending."""
        below, above = self.range_Da
        found = [
            MassRange(line.mass_to_charge_Da - below, line.mass_to_charge_Da + above, s.name, s.volume_nm3, s.color)
            for s in self.species
            for line in s.lines
        ]
        return sorted(found, key=lambda r: r.low_Da)

    def mass_to_charge(self, species: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw (N,) mass-to-charge ratios for ions of given species: isotopes, charge states, peak width and tail."""
        ratio = np.empty(species.size, dtype=np.float32)
        for number, kind in enumerate(self.species):
            of_kind = np.flatnonzero(species == number)
            weights = np.array([line.weight for line in kind.lines])
            peaks = np.array([line.mass_to_charge_Da for line in kind.lines], dtype=np.float32)
            cumulative = np.cumsum(weights / weights.sum())
            chosen = np.searchsorted(cumulative[:-1], rng.random(of_kind.size, dtype=np.float32), side="right")
            ratio[of_kind] = peaks[chosen]
        ratio += ratio * np.float32(self.peak_width_relative) * rng.standard_normal(ratio.size, dtype=np.float32)
        late = rng.random(ratio.size, dtype=np.float32) < self.tail_fraction
        ratio[late] += np.float32(self.tail_Da) * rng.standard_exponential(int(late.sum()), dtype=np.float32)
        return ratio


def load_alloy(name: AlloyName) -> Alloy:
    """Return an alloy from the package's table (``presets/alloys.json``)."""
    table = json.loads(files("braggwatch.sim.apt").joinpath("presets/alloys.json").read_text())
    return Alloy.model_validate(table[name])
