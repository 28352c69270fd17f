"""Pattern sets as HDF5 files that are written completely or not at all."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
from pydantic import TypeAdapter, ValidationError

from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.sadp.dataset import PatternSpec
from braggwatch.sim.sadp.pattern_set import PatternSet, StructureFacts, join
from braggwatch.sim.whole_hdf5 import whole_hdf5

SCHEMA = 1
_COLUMNS = tuple(field.name for field in fields(PatternSet) if field.name != "structures")
_STRUCTURES = TypeAdapter(tuple[StructureFacts, ...])


class PatternFileError(BraggwatchError, ValueError):
    """The file of patterns can't be used; the message names it and says why."""


def store_patterns(path: Path, spec: PatternSpec, patterns: PatternSet) -> None:
    """Write one file; the file at ``path`` is always complete.

    Raises
    ------
    OSError
        If it can't be written.
    """
    with whole_hdf5(path) as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["kind"] = "sadp-patterns"
        file.attrs["spec"] = spec.model_dump_json()
        file.create_dataset("structures", data=_STRUCTURES.dump_json(patterns.structures).decode())
        for name in _COLUMNS:
            file.create_dataset(
                name,
                data=getattr(patterns, name),
                compression="gzip",
                compression_opts=4,
                shuffle=True,
                fletcher32=True,
                chunks=True,
            )


def read_patterns(path: Path) -> PatternSet:
    """Read one file, verifying checksums, or all ``*.h5`` of a folder.

    Raises
    ------
    FileNotFoundError
        If there are none.
    PatternFileError
        If a file is damaged, has another schema, or its columns are inconsistent.
    """
    if path.is_dir():
        parts = sorted(path.glob("*.h5"))
        if not parts:
            raise FileNotFoundError(f"no patterns (*.h5) in {path}")
        return join([read_patterns(part) for part in parts])
    return _read(path)[1]


def read_spec(path: Path) -> PatternSpec:
    """Read the specification that one file was made from; errors as ``read_patterns``."""
    return _read(path)[0]


def _read(path: Path) -> tuple[PatternSpec, PatternSet]:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("kind") != "sadp-patterns" or file.attrs.get("schema") != SCHEMA:
                raise PatternFileError(f"{path.name} contains no diffraction patterns of schema {SCHEMA}")
            spec = PatternSpec.model_validate_json(str(file.attrs["spec"]))
            structures = _STRUCTURES.validate_json(bytes(np.asarray(file["structures"]).item()))
            columns = {name: np.asarray(file[name]) for name in _COLUMNS}
    except PatternFileError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValidationError, ValueError) as error:
        raise PatternFileError(f"{path.name} is damaged: {' '.join(str(error).split())}") from error
    patterns = PatternSet(structures=structures, **columns)
    spots = len(patterns.intensity)
    consistent = (
        all(len(columns[name]) == len(patterns) for name in _COLUMNS[4:])
        and len(patterns.offsets) == len(patterns) + 1
        and patterns.offsets[0] == 0
        and patterns.offsets[-1] == spots == len(patterns.g_inv_A) == len(patterns.hkl)
        and bool((np.diff(patterns.offsets) >= 0).all())
        and (not len(patterns) or 0 <= patterns.structure.min() <= patterns.structure.max() < len(structures))
    )
    if not consistent:
        raise PatternFileError(f"{path.name} is damaged: its columns are inconsistent")
    return spec, patterns
