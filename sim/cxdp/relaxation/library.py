"""Relaxed crystals on disk: shards made in any order by any number of processes, used as a source for data sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystallography.fcc import Miller, g_dot_b
from braggwatch.sim.cxdp.crystal.atomistic import crystal_of_atoms
from braggwatch.sim.cxdp.crystal.build import Crystal, CrystalSpec
from braggwatch.sim.cxdp.crystal.population import (
    DEFAULT_POPULATION,
    PopulationSpec,
    random_reflection,
    random_strain,
)
from braggwatch.sim.cxdp.labels import CLASSES, Label
from braggwatch.sim.cxdp.relaxation.configuration import (
    RelaxationSpec,
    RelaxedConfiguration,
    make_relaxer,
    relax_configuration,
)
from braggwatch.sim.errors import InputError
from braggwatch.sim.whole_file import whole_file

LIBRARY_SCHEMA = 1
CONFIGURATIONS_PER_SHARD = 10
USABLE: tuple[Label, ...] = get_args(Label)


@dataclass(frozen=True, slots=True)
class LibraryEntry:
    """The record of one relaxed crystal without its atoms.

    Attributes
    ----------
    label
        Defect found: one of `USABLE`, or the census label of a crystal that lost its line.
    put_in
        Defect put in.
    """

    path: Path
    row: int
    index: int
    spec: CrystalSpec
    potential: str
    lattice_parameter_A: float
    label: str
    put_in: str
    atoms: int


def relaxed_shard_path(folder: Path, spec: RelaxationSpec, start: int) -> Path:
    """Return the path of the shard that starts with crystal ``start``."""
    return folder / f"relaxed-{spec.digest()}-{start:06d}.h5"


def write_relaxed_shard(folder: Path, spec: RelaxationSpec, start: int, stop: int) -> Path:
    """Relax crystals ``start`` to ``stop - 1`` into one shard; a complete one is left alone. Picklable."""
    path = relaxed_shard_path(folder, spec, start)
    if path.exists():
        return path
    relaxer = make_relaxer(spec.engine)
    with whole_file(path) as partial, h5py.File(partial, "w") as file:
        file.attrs["schema"] = LIBRARY_SCHEMA
        file.attrs["spec"] = spec.model_dump_json()
        for index in range(start, stop):
            _store(file, relax_configuration(spec, index, relaxer))
    return path


def _store(file: h5py.File, crystal: RelaxedConfiguration) -> None:
    group = file.create_group(f"{crystal.index:06d}")
    atoms = group.create_dataset("positions", data=crystal.positions_A, compression="gzip", shuffle=True)
    atoms.attrs["units"] = "angstrom"
    atoms.attrs["axes"] = "crystal: x [100], y [010], z [001]"
    group.attrs["crystal"] = crystal.spec.model_dump_json()
    group.attrs["label"] = crystal.label
    group.attrs["census"] = json.dumps(asdict(crystal.census))
    group.attrs["potential"] = crystal.potential
    group.attrs["lattice_parameter_A"] = crystal.lattice_parameter_A
    group.attrs["steps"] = crystal.steps
    group.attrs["stopped"] = crystal.stopped
    group.attrs["max_force_eV_A"] = crystal.max_force_eV_A
    group.attrs["engine"] = crystal.engine
    group.attrs["seconds"] = crystal.seconds


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
    ValueError
        If a shard is of another schema.
    """

    def __init__(
        self,
        folder: Path,
        *,
        labels: Sequence[str] = CLASSES,
        population: PopulationSpec = DEFAULT_POPULATION,
        accept: Callable[[LibraryEntry], bool] | None = None,
    ) -> None:
        found = [e for path in sorted(folder.glob("relaxed-*.h5")) for e in read_entries(path)]
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
        names = ",".join(f"{e.path.name}:{e.row}" for e in self.entries)
        return hashlib.sha256((names + self.population.model_dump_json()).encode()).hexdigest()[:12]

    def label(self, index: int) -> str:
        """Return the label found in crystal ``index``."""
        return self.entries[index].label

    def positions_A(self, index: int) -> NDArray[np.float32]:
        """Return the relaxed positions, (N, 3) Å, crystal axes."""
        entry = self.entries[index]
        with h5py.File(entry.path, "r") as file:
            return np.asarray(file[f"{entry.index:06d}/positions"], dtype=np.float32)

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


def read_entries(path: Path) -> Iterable[LibraryEntry]:
    """Read the records of one shard.

    Raises
    ------
    InputError
        If the file is of another schema.
    """
    with h5py.File(path, "r") as file:
        if file.attrs.get("schema") != LIBRARY_SCHEMA:
            raise InputError(f"{path.name} is not a library shard of schema {LIBRARY_SCHEMA}: relax the crystals again")
        entries: list[LibraryEntry] = []
        for row, name in enumerate(sorted(file)):
            group, positions = file[name], file[f"{name}/positions"]
            if not isinstance(positions, h5py.Dataset):
                raise InputError(f"{path.name} contains no atoms for crystal {name}: relax the crystals again")
            spec = CrystalSpec.model_validate_json(str(group.attrs["crystal"]))
            entries.append(
                LibraryEntry(
                    path=path,
                    row=row,
                    index=int(name),
                    spec=spec,
                    potential=str(group.attrs["potential"]),
                    lattice_parameter_A=float(str(group.attrs["lattice_parameter_A"])),
                    label=str(group.attrs["label"]),
                    put_in="perfect" if spec.line is None else spec.line.character,
                    atoms=int(positions.shape[0]),
                )
            )
    return entries
