"""Shards of relaxed crystals: written in any order by any number of processes, checked, completed, read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from braggwatch.sim.cxdp.crystal.build import CrystalSpec
from braggwatch.sim.cxdp.relaxation.configuration import (
    RelaxationSpec,
    RelaxedConfiguration,
    load_potential,
    make_relaxer,
    potential_digest,
    relax_configuration,
)
from braggwatch.sim.shard_errors import ForeignShardError, ShardError
from braggwatch.sim.whole_hdf5 import whole_hdf5

LIBRARY_SCHEMA = 1
CONFIGURATIONS_PER_SHARD = 10


@dataclass(frozen=True, slots=True)
class LibraryEntry:
    """The record of one relaxed crystal without its atoms.

    Attributes
    ----------
    label
        Defect found: a label of `braggwatch.sim.cxdp.labels`, or the census label of a crystal that lost its line.
    put_in
        Defect put in.
    potential_digest
        Digest of the potential's content; '' in shards older than this field.
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
    potential_digest: str = ""

    @property
    def crystal(self) -> str:
        """Twelve hexadecimal digits that stand for the crystal itself, whichever library and data set it is in.

        They cover what was built: shape, size, line. Crystals that differ only in how they were relaxed share them.
        """
        return hashlib.sha256(self.spec.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:12]


def relaxed_shard_path(folder: Path, spec: RelaxationSpec, start: int) -> Path:
    """Return the path of the shard that starts with crystal ``start``."""
    return folder / f"relaxed-{spec.digest()}-{start:06d}.h5"


def write_relaxed_shard(
    folder: Path, spec: RelaxationSpec, start: int, stop: int, elsewhere: frozenset[int] = frozenset()
) -> Path:
    """Relax crystals ``start`` to ``stop - 1`` into one shard; what a sound one holds already is kept. Picklable.

    Parameters
    ----------
    elsewhere
        Numbers to leave out: another shard of the folder holds them.

    Raises
    ------
    ForeignShardError
        If the shard's crystals are of another potential than the one that goes by that name now.
    """
    path, _ = complete_relaxed_shard(folder, spec, range(start, stop), elsewhere)
    return path


def complete_relaxed_shard(
    folder: Path, spec: RelaxationSpec, numbers: range, elsewhere: frozenset[int] = frozenset()
) -> tuple[Path, str]:
    """Do the work of `write_relaxed_shard`; also returns why a shard that was there was made anew, or ''."""
    path = relaxed_shard_path(folder, spec, numbers.start)
    present: set[int] = set()
    problem = ""
    if path.exists():
        try:
            present = _sound_numbers(path, spec)
        except ShardError as error:
            problem = str(error)
    missing = [number for number in numbers if number not in present and number not in elsewhere]
    if not missing:
        return path, ""
    relaxer = make_relaxer(spec.engine)
    with whole_hdf5(path) as file:
        file.attrs["schema"] = LIBRARY_SCHEMA
        file.attrs["spec"] = spec.model_dump_json()
        if present:
            with h5py.File(path, "r") as existing:
                for number in sorted(present):
                    existing.copy(_name(number), file)
        for number in missing:
            _store(file, relax_configuration(spec, number, relaxer))
    return path, problem


def _name(number: int) -> str:
    return f"{number:06d}"


def _store(file: h5py.File, crystal: RelaxedConfiguration) -> None:
    group = file.create_group(_name(crystal.index))
    atoms = group.create_dataset(
        "positions", data=crystal.positions_A, compression="gzip", shuffle=True, fletcher32=True
    )
    atoms.attrs["units"] = "angstrom"
    atoms.attrs["axes"] = "crystal: x [100], y [010], z [001]"
    group.attrs["crystal"] = crystal.spec.model_dump_json()
    group.attrs["label"] = crystal.label
    group.attrs["census"] = json.dumps(asdict(crystal.census))
    group.attrs["potential"] = crystal.potential
    group.attrs["potential_digest"] = potential_digest(crystal.potential)
    group.attrs["lattice_parameter_A"] = crystal.lattice_parameter_A
    group.attrs["steps"] = crystal.steps
    group.attrs["stopped"] = crystal.stopped
    group.attrs["max_force_eV_A"] = crystal.max_force_eV_A
    group.attrs["engine"] = crystal.engine
    group.attrs["seconds"] = crystal.seconds


def numbers_elsewhere(folder: Path, spec: RelaxationSpec, own: frozenset[Path]) -> dict[int, Path]:
    """Return which crystals of a specification lie in other shards of a folder than one's own, and in which.

    Raises
    ------
    ShardError
        If one of these is damaged.
    ForeignShardError
        If its crystals are of another potential than the one that goes by that name now.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(f"relaxed-{spec.digest()}-*.h5")):
        if path not in own:
            for entry in read_entries(path):
                _require_same_potential(entry)
                found[entry.index] = path
    return found


def _sound_numbers(path: Path, spec: RelaxationSpec) -> set[int]:
    """Read a whole shard, verifying its checksums, and return the numbers of its crystals."""
    entries = read_entries(path)
    with opened_shard(path) as file:
        if RelaxationSpec.model_validate_json(str(file.attrs["spec"])) != spec:
            raise ForeignShardError(f"{path} belongs to another library: move it away")
        for entry in entries:
            positions_in(file, entry.index)
    for entry in entries:
        _require_same_potential(entry)
    return {entry.index for entry in entries}


def _require_same_potential(entry: LibraryEntry) -> None:
    if entry.potential_digest:
        same = entry.potential_digest == potential_digest(entry.potential)
    else:
        same = abs(entry.lattice_parameter_A - load_potential(entry.potential).lattice_parameter_A) < 1e-9
    if not same:
        now_A = load_potential(entry.potential).lattice_parameter_A
        raise ForeignShardError(
            f"{entry.path} holds crystals of another potential than {entry.potential} is now (lattice parameter "
            f"{entry.lattice_parameter_A:.4f} angstrom there, {now_A:.4f} in the potential): it has "
            "changed. Give another folder with --out, or remove the old library"
        )


def positions_in(file: h5py.File, index: int) -> NDArray[np.float32]:
    """Return the relaxed positions of one crystal of an open shard, (N, 3) Å, crystal axes."""
    return np.asarray(file[f"{_name(index)}/positions"], dtype=np.float32)


def read_entries(path: Path) -> list[LibraryEntry]:
    """Read the records of one shard.

    Raises
    ------
    ShardError
        If the file is damaged or of another schema.
    """
    entries: list[LibraryEntry] = []
    with opened_shard(path) as file:
        for row, name in enumerate(sorted(file)):
            group, positions = file[name], file[f"{name}/positions"]
            if not isinstance(positions, h5py.Dataset):
                raise ShardError(f"{path} contains no atoms for crystal {name}: relax the crystals again")
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
                    potential_digest=str(group.attrs.get("potential_digest", "")),
                )
            )
    return entries


@contextmanager
def opened_shard(path: Path) -> Generator[h5py.File]:
    """Open a shard of this schema to read; what is wrong with it is told with its name.

    Raises
    ------
    ShardError
        If the file is damaged or of another schema.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("schema") != LIBRARY_SCHEMA:
                raise ShardError(f"{path} is not a library shard of schema {LIBRARY_SCHEMA}: relax the crystals again")
            yield file
    except (FileNotFoundError, PermissionError, ShardError, ForeignShardError):
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValidationError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ShardError(
            f"{path} is damaged ({reason}): repeat the 'braggwatch cxdp relax' that made it, which makes it anew, or "
            "remove it"
        ) from error
