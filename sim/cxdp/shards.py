"""Shards: HDF5 files of labelled volumes that are written completely or not at all, and checked before use."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.cxdp.dataset_spec import DatasetSpec, NuisanceWord, Sample, SampleInfo
from braggwatch.sim.errors import InputError
from braggwatch.sim.shard_errors import ForeignShardError, ShardError
from braggwatch.sim.whole_hdf5 import whole_hdf5

SHARD_SCHEMA = 1
_MEANING: Mapping[NuisanceWord, str] = {
    "measured": "log1p(counts); axis 0 of each volume along Q",
    "none": "log1p(expected intensity scaled to a peak of 1e6); axis 0 of each volume along Q",
}


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """A shard's own record of its content.

    Attributes
    ----------
    samples
        Numbers of the requested samples.
    nuisance
        'measured' or 'none'.
    crystals
        Source of the relaxed crystals; '' for continuum crystals.
    code_version
        Version of the package that wrote it; '' if not recorded.
    refused
        Number of samples that the preprocessing rejected, by reason.
    infos
        Properties of the stored samples.
    """

    spec: DatasetSpec
    samples: range
    nuisance: NuisanceWord
    crystals: str
    code_version: str
    refused: Mapping[str, int]
    infos: tuple[SampleInfo, ...]


def store_samples(
    path: Path,
    spec: DatasetSpec,
    samples: Iterable[tuple[int, Sample | str]],
    numbers: range,
    *,
    nuisance: NuisanceWord | None = None,
    crystals: str = "",
) -> Iterator[tuple[int, str | None]]:
    """Store samples as they are made, yielding (number, reason for rejection or None).

    The file is written under a temporary name and renamed when complete and on disk, so that the file at ``path`` is
    always complete, even if several processes make the same shard, are killed, or fill the disk.

    Parameters
    ----------
    samples
        (number, sample or reason for rejection).
    numbers
        The requested numbers, stored with the shard.
    nuisance
        Overrides the specification's: outliers always have noise.
    crystals
        Source of the relaxed crystals.
    """
    word = spec.nuisance if nuisance is None else nuisance
    with whole_hdf5(path) as file:
        store = file.create_dataset(
            "log_intensity",
            (0, 64, 64, 64),
            "f2",
            maxshape=(None, 64, 64, 64),
            chunks=(1, 64, 64, 64),
            fletcher32=True,
        )
        store.attrs["meaning"] = _MEANING[word]
        infos: list[str] = []
        refused: dict[str, int] = {}
        for number, sample in samples:
            if isinstance(sample, str):
                refused[sample] = refused.get(sample, 0) + 1
                yield number, sample
                continue
            store.resize(len(infos) + 1, axis=0)
            store[len(infos)] = np.log1p(sample.intensity)
            infos.append(json.dumps(asdict(sample.info)))
            yield number, None
        file.create_dataset("info", data=np.asarray(infos, dtype=h5py.string_dtype()))
        file.attrs["schema"] = SHARD_SCHEMA
        file.attrs["spec"] = spec.model_dump_json()
        file.attrs["samples"] = json.dumps([numbers.start, numbers.stop])
        file.attrs["nuisance"] = word
        file.attrs["crystals"] = crystals
        file.attrs["code_version"] = _code_version()
        file.attrs["refused"] = json.dumps(refused)


def remove_partial(path: Path) -> None:
    """Remove partial files that killed processes left behind for a shard that is complete now."""
    if path.exists():
        for partial in path.parent.glob(f"{path.stem}.*partial"):
            partial.unlink(missing_ok=True)


def read_shard(path: Path) -> tuple[NDArray[np.float16], list[SampleInfo]]:
    """Read one shard: log1p counts, (N, 64, 64, 64) float16, and the samples' properties.

    Raises
    ------
    ShardError
        If the file is damaged or of another schema.
    """
    with _opened(path) as file:
        volumes = np.asarray(file["log_intensity"], dtype=np.float16)
        infos = _infos(file)
        if volumes.shape != (len(infos), 64, 64, 64):
            raise ValueError(f"{len(infos)} sample records for volumes of shape {volumes.shape}")
    return volumes, infos


def verify_shard(path: Path) -> None:
    """Read a whole shard, one pattern at a time, verifying checksums and that all values are finite.

    Raises
    ------
    ShardError
        If a pattern or the file is damaged; the text names both.
    """
    with _opened(path) as file:
        volumes, infos = file["log_intensity"], _infos(file)
        if not isinstance(volumes, h5py.Dataset) or volumes.shape != (len(infos), 64, 64, 64):
            raise ShardError(f"{path} is damaged: its patterns and their records don't fit")
        for number in range(len(infos)):
            try:
                volume = np.asarray(volumes[number])
            except OSError as error:
                raise ShardError(f"{path} is damaged at pattern {number}: {_one_line(error)}") from error
            if not np.isfinite(volume).all():
                raise ShardError(f"{path} is damaged at pattern {number}: some values are no numbers")


def shard_facts(path: Path) -> ShardFacts:
    """Read a shard's record of its content, without its volumes.

    Raises
    ------
    ShardError
        If the file is damaged or of another schema.
    """
    with _opened(path) as file:
        spec = DatasetSpec.model_validate_json(str(file.attrs["spec"]))
        refused: dict[str, int] = json.loads(str(file.attrs["refused"]))
        infos = tuple(_infos(file))
        return ShardFacts(
            spec=spec,
            samples=_numbers(file, path, len(infos) + sum(refused.values())),
            nuisance=_nuisance(file),
            crystals=str(file.attrs.get("crystals", "")),
            code_version=str(file.attrs.get("code_version", "")),
            refused=refused,
            infos=infos,
        )


def shard_nuisance(path: Path) -> NuisanceWord:
    """Return whether a shard contains noisy patterns ('measured') or expected intensities ('none').

    Raises
    ------
    ShardError
        If the file is damaged or has another value.
    """
    with _opened(path) as file:
        return _nuisance(file)


def check_shard(path: Path, spec: DatasetSpec, numbers: range, crystals: str = "") -> ShardFacts:
    """Read a whole shard, verifying checksums, and compare it with the request.

    Raises
    ------
    ShardError
        If it is damaged or has fewer samples than requested, and must be made again.
    ForeignShardError
        If it is a sound shard of another data set, which must not be overwritten.
    """
    facts = shard_facts(path)
    if facts.spec.digest() != spec.digest() or facts.crystals != crystals or facts.samples.start != numbers.start:
        raise ForeignShardError(
            f"{path.name} belongs to another data set (specification {facts.spec.digest()}, first sample "
            f"{facts.samples.start}{', ' + facts.crystals if facts.crystals else ''}): move it away"
        )
    read_shard(path)
    if facts.samples.stop < numbers.stop:
        raise ShardError(f"{path.name} has {len(facts.samples)} of {len(numbers)} samples")
    return facts


@contextmanager
def _opened(path: Path) -> Generator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("schema") != SHARD_SCHEMA:
                raise ShardError(f"{path.name} is not a shard of schema {SHARD_SCHEMA}: make the data set again")
            yield file
    except (FileNotFoundError, PermissionError, ShardError):
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ShardError(f"{path.name} is damaged: {_one_line(error)}") from error


def _nuisance(file: h5py.File) -> NuisanceWord:
    word = str(file.attrs.get("nuisance", "measured"))  # all shards older than this attribute have noise
    if word == "measured":
        return "measured"
    if word == "none":
        return "none"
    raise InputError(f"unknown nuisance {word!r}")


def _numbers(file: h5py.File, path: Path, requested: int) -> range:
    if "samples" in file.attrs:
        start, stop = json.loads(str(file.attrs["samples"]))
        return range(int(start), int(stop))
    start = int(path.stem.rpartition("-")[2])  # older shards have it only in their name
    return range(start, start + requested)


def _infos(file: h5py.File) -> list[SampleInfo]:
    return [_info(json.loads(text)) for text in np.asarray(file["info"]).astype(str)]


def _info(fields: dict[str, object]) -> SampleInfo:
    vectors = {name: tuple(v) for name in ("hkl", "burgers") if isinstance(v := fields.get(name), list)}
    return SampleInfo(**{**fields, **vectors})  # type: ignore[arg-type]


def _code_version() -> str:
    try:
        return version("braggwatch")
    except PackageNotFoundError:
        return ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
