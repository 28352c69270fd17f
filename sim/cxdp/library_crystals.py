"""Relaxed crystals as a source of samples: each configuration at several reflections, sizes and set-ups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from braggwatch.sim.crystallography.fcc import Miller
from braggwatch.sim.cxdp.crystal import Crystal, PopulationSpec
from braggwatch.sim.cxdp.crystal.population import random_reflection
from braggwatch.sim.errors import InputError

_DRAWS = 50


class Library(Protocol):
    """Relaxed configurations by number."""

    @property
    def digest(self) -> str:
        """Hash of all configurations."""
        ...

    def __len__(self) -> int: ...

    def crystal(self, index: int, rng: np.random.Generator, hkl: Miller | None, size_nm: float) -> Crystal:
        """Return a configuration at a reflection (drawn if None), scaled to a size."""
        ...


@runtime_checkable
class TellsIdentity(Protocol):
    """A library that knows what stands for a crystal itself, in whichever library it is."""

    def identity(self, index: int) -> str:
        """Return it."""
        ...


@dataclass(frozen=True)
class LibraryCrystals:
    """A library as a `sim.datasets.CrystalSource`.

    Attributes
    ----------
    library
        Configurations.
    population
        Reflections and sizes to draw from.
    visible
        Whether lines must be visible (g·b ≠ 0) or invisible (g·b = 0).
    patterns_per_crystal
        Samples ``n·p`` to ``n·p + p - 1`` are of configuration ``n``.
    """

    library: Library
    population: PopulationSpec
    visible: bool = True
    patterns_per_crystal: int = 10

    def identity(self, config: int) -> str | None:
        """Return what stands for a crystal itself, in whichever library; None where the library doesn't tell."""
        return self.library.identity(config) if isinstance(self.library, TellsIdentity) else None

    @property
    def name(self) -> str:
        """The library's hash and the number of patterns per crystal: with a sample number they identify a crystal."""
        return f"relaxed-{self.library.digest[:12]}x{self.patterns_per_crystal}"

    def configuration(self, number: int) -> int:
        """Return the configuration of sample ``number``.

        Raises
        ------
        InputError
            If the library is too small for this number.
        """
        config = number // self.patterns_per_crystal
        if not 0 <= config < len(self.library):
            raise InputError(
                f"the library's {len(self.library)} crystals, {self.patterns_per_crystal} patterns each, give samples "
                f"0 to {len(self.library) * self.patterns_per_crystal - 1}: there is no sample {number}"
            )
        return config

    def draw(self, rng: np.random.Generator, config: int) -> Crystal:
        """Return a configuration at a reflection and size of the population, its line visible or not as specified.

        Raises
        ------
        InputError
            If no reflection of the population gives the specified visibility.
        """
        low, high = np.log(self.population.size_nm)
        for _ in range(_DRAWS):
            # a library draws reflections at which the line is visible; for invisible ones, draw until one is found
            hkl = None if self.visible else random_reflection(self.population, rng)
            crystal = self.library.crystal(config, rng, hkl, float(np.exp(rng.uniform(low, high))))
            if crystal.label == "perfect" or (crystal.g_dot_b != 0) == self.visible:
                return crystal
        seen = "visible" if self.visible else "invisible"
        raise InputError(f"crystal {config} is not {seen} at any reflection of the population")
