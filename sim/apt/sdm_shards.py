"""Shards of labelled SDMs: HDF5 files that are written completely or not at all, and checked before use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.apt.library import LibrarySpec, SdmSample
from braggwatch.sim.shard_errors import ForeignShardError, ShardError
from braggwatch.sim.whole_hdf5 import whole_hdf5

SDM_SHARD_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class SdmShard:
    """A shard's samples.

    Attributes
    ----------
    first
        Number of the first sample in the library.
    maps
        (N, pairs, bins_z, bins_x) float32 counts.
    ordered
        (N,) float32 labels, see `SdmSample`.
    ions
        (N,) int32 ions in each cube.
    parameters
        (N, len(names)) float32 drawn parameters of each sample; units in the names.
    """

    spec: LibrarySpec
    seed: int
    first: int
    maps: NDArray[np.float32]
    ordered: NDArray[np.float32]
    ions: NDArray[np.int32]
    parameters: NDArray[np.float32]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return self.ordered.size


def write_sdm_shard(path: Path, spec: LibrarySpec, seed: int, first: int, samples: list[SdmSample]) -> None:
    """Write a shard; the file at ``path`` is always complete, even if a writer is killed.

    Raises
    ------
    ValueError
        If there are no samples.
    """
    if not samples:
        raise ValueError("a shard needs at least one sample")
    names = list(samples[0].parameters)
    drawn = np.array([[s.parameters[name] for name in names] for s in samples], dtype=np.float32)
    with whole_hdf5(path) as file:
        maps = np.stack([s.maps for s in samples]).astype(np.uint32)
        store = file.create_dataset("maps", data=maps, compression="gzip", shuffle=True, fletcher32=True)
        store.attrs["meaning"] = "counts of neighbours; axes: sample, pair of species, dz, dx"
        file.create_dataset("ordered", data=np.array([s.ordered for s in samples], dtype=np.float32))
        file.create_dataset("ions", data=np.array([s.ions for s in samples], dtype=np.int32))
        file.create_dataset("parameters", data=drawn).attrs["names"] = json.dumps(names)
        file.attrs["schema"] = SDM_SHARD_SCHEMA
        file.attrs["spec"] = spec.model_dump_json()
        file.attrs["seed"] = seed
        file.attrs["first"] = first


def read_sdm_shard(path: Path) -> SdmShard:
    """Read a shard.

    Raises
    ------
    ShardError
        If the file is damaged or of another schema.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("schema") != SDM_SHARD_SCHEMA or "maps" not in file:
                raise ShardError(f"{path.name} is not a shard of maps of schema {SDM_SHARD_SCHEMA}: make it again")
            spec = LibrarySpec.model_validate_json(str(file.attrs["spec"]))
            shard = SdmShard(
                spec=spec,
                seed=int(str(file.attrs["seed"])),
                first=int(str(file.attrs["first"])),
                maps=np.asarray(file["maps"], dtype=np.float32),
                ordered=np.asarray(file["ordered"], dtype=np.float32),
                ions=np.asarray(file["ions"], dtype=np.int32),
                parameters=np.asarray(file["parameters"], dtype=np.float32),
                names=tuple(json.loads(str(file["parameters"].attrs["names"]))),
            )
    except (FileNotFoundError, PermissionError, ShardError):
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ShardError(f"{path.name} is damaged: {' '.join(str(error).split())}") from error
    if shard.maps.shape != (len(shard), *spec.map_shape):
        raise ShardError(f"{path.name} is damaged: maps of shape {shard.maps.shape} for {len(shard)} labels")
    return shard


def check_sdm_shard(path: Path, spec: LibrarySpec, seed: int, numbers: range) -> None:
    """Read a whole shard and compare it with the request.

    Raises
    ------
    ShardError
        If it is damaged or has fewer samples than requested, and must be made again.
    ForeignShardError
        If it is a sound shard of other samples, which must not be overwritten.
    """
    shard = read_sdm_shard(path)
    if shard.spec.digest() != spec.digest() or shard.seed != seed or shard.first != numbers.start:
        raise ForeignShardError(
            f"{path.name} contains other maps (specification {shard.spec.digest()}, seed {shard.seed}, first sample "
            f"{shard.first}): move it away"
        )
    if len(shard) < len(numbers):
        raise ShardError(f"{path.name} has {len(shard)} of {len(numbers)} samples")
