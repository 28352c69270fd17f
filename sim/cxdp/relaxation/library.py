"""Relaxed crystals on disk as a source for data sets."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystallography.fcc import Miller, g_dot_b
from braggwatch.sim.cxdp.crystal.atomistic import crystal_of_atoms
from braggwatch.sim.cxdp.crystal.build import Crystal
from braggwatch.sim.cxdp.crystal.population import (
    DEFAULT_POPULATION,
    PopulationSpec,
    random_reflection,
    random_strain,
)
from braggwatch.sim.cxdp.labels import CLASSES, Label
from braggwatch.sim.cxdp.relaxation.library_shards import (
    CONFIGURATIONS_PER_SHARD,
    LIBRARY_SCHEMA,
    LibraryEntry,
    opened_shard,
    positions_in,
    read_entries,
    relaxed_shard_path,
    write_relaxed_shard,
)

__all__ = [
    "CONFIGURATIONS_PER_SHARD",
    "LIBRARY_SCHEMA",
    "USABLE",
    "CrystalLibrary",
    "LibraryEntry",
    "read_entries",
    "relaxed_shard_path",
    "write_relaxed_shard",
]

logger = logging.getLogger(__name__)

USABLE: tuple[Label, ...] = get_args(Label)


class CrystalLibrary:
    """Relaxed crystals of a folder as scattering points of any size, at any reflection.

    Parameters
    ----------
    folder
        Folder of the shards of `write_relaxed_shard`.
    labels
        Labels to draw from: the defects found after relaxation.
    population
        Reflections, sizes and smooth strain given to drawn crystals.
    accept
        Further selection, e.g. of one element; None: all.

    Raises
    ------
    FileNotFoundError
        If there is no crystal with these labels.
    ShardError
        If a shard is damaged or of another schema.

    Notes
    -----
    A crystal that two shards hold, as `braggwatch cxdp relax` could once leave it, counts once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        labels: Sequence[str] = CLASSES,
        population: PopulationSpec = DEFAULT_POPULATION,
        accept: Callable[[LibraryEntry], bool] | None = None,
    ) -> None:
        found = _each_once(e for path in sorted(folder.glob("relaxed-*.h5")) for e in read_entries(path))
        self.entries: tuple[LibraryEntry, ...] = tuple(
            e for e in found if e.label in labels and (accept is None or accept(e))
        )
        if not self.entries:
            raise FileNotFoundError(f"no relaxed crystals in {folder}: make them with 'braggwatch cxdp relax --out'")
        self.population = population

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the crystals and the population applied to them."""
        # the digest of a library that doesn't record its potentials' content is what it was: data sets are named by it
        names = ",".join(
            f"{e.path.name}:{e.row}{e.potential_digest and f':{e.label}:{e.potential_digest}'}" for e in self.entries
        )
        return hashlib.sha256((names + self.population.model_dump_json()).encode()).hexdigest()[:12]

    def label(self, index: int) -> str:
        """Return the label found in crystal ``index``."""
        return self.entries[index].label

    def positions_A(self, index: int) -> NDArray[np.float32]:
        """Return the relaxed positions, (N, 3) Å, crystal axes."""
        entry = self.entries[index]
        with opened_shard(entry.path) as file:
            return positions_in(file, entry.index)

    def identity(self, index: int) -> str:
        """Return what stands for crystal ``index`` itself, in whichever library (`LibraryEntry.crystal`)."""
        return self.entries[index].crystal

    def crystal(
        self, index: int, rng: np.random.Generator, hkl: Miller | None = None, size_nm: float | None = None
    ) -> Crystal:
        """Return crystal ``index`` at a reflection at which its line is visible, with smooth strain of the population.

        Parameters
        ----------
        rng
            Generator of the strain and of anything not given.
        hkl, size_nm
            Reflection, and the particle size that the crystal represents, nm; None: drawn.
        """
        entry, population = self.entries[index], self.population
        low, high = np.log(population.size_nm)
        return crystal_of_atoms(
            self.positions_A(index),
            entry.lattice_parameter_A,
            entry.spec,
            entry.label,
            hkl=_visible_reflection(entry, population, rng) if hkl is None else hkl,
            size_nm=float(np.exp(rng.uniform(low, high))) if size_nm is None else size_nm,
            strain=random_strain(population, rng),
            rng=rng,
        )


def _visible_reflection(entry: LibraryEntry, population: PopulationSpec, rng: np.random.Generator) -> Miller:
    line = None if entry.label == "perfect" else entry.spec.line
    # in every family some members make a given line visible, so this ends
    while True:
        hkl = random_reflection(population, rng)
        if line is None or g_dot_b(hkl, line.burgers) != 0:
            return hkl


def _each_once(entries: Iterable[LibraryEntry]) -> list[LibraryEntry]:
    found: dict[tuple[str, int], LibraryEntry] = {}
    for entry in entries:
        key = (entry.path.stem.rpartition("-")[0], entry.index)
        if key in found:
            logger.warning("crystal %d is in %s, too: counted once", entry.index, entry.path)
            continue
        found[key] = entry
    return list(found.values())
