"""The test set on disk: one HDF5 file of volumes a split, one line of facts a pattern, hashes of all of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.errors import BraggwatchError

Split = Literal["public-dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
CURRENT = "cxdp-bench-1.0"
FACTS_FILE = "patterns.jsonl"
CARD_FILE = "CARD.md"
SUMS_FILE = "SHA256SUMS"
SHAPE = (64, 64, 64)

_DATASET = "root_counts"
_MEANING = "round(sqrt(counts)); counts = root_counts**2; axis 0 of each volume along Q"
_SUMS_LINE = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9][A-Za-z0-9._-]*)")


class BenchmarkError(BraggwatchError, ValueError):
    """The test set is missing, incomplete or changed; the message names the file."""


class PatternFacts(BaseModel):
    """What is known of one pattern."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Split
    index: int = Field(ge=0, description="Place in the split's file.")
    label: str = Field(description="'perfect', 'screw', 'edge', or the kind of outlier.")
    configuration: str = Field(description="Identifies the crystal: all its patterns are in one split.")
    source: str = Field(description="'continuum', 'relaxed', 'relaxed-paper' or 'outlier'.")
    element: str
    hkl: tuple[int, int, int]
    g_dot_b: float = Field(description="0 without a line.")
    line_distance: float | None = Field(description="Of the line from the centre, in particle sizes; none without.")
    peak_counts: float = Field(description="Expected counts of the detector's brightest pixel.")
    size_nm: float
    completeness: float = Field(description="Share of the rocking curve's frames that arrived.")

    @property
    def is_outlier(self) -> bool:
        """Whether it is none of the classes."""
        return self.label not in CLASSES


def default_folder() -> Path:
    """Folder of the test set that comes with the package."""
    return Path(__file__).parent.parent / "benchmark" / CURRENT


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A verified test set; volumes are read when they are asked for.

    Attributes
    ----------
    folder
        Where it is.
    facts
        Of every pattern, split by split, in the files' order.
    """

    folder: Path
    facts: tuple[PatternFacts, ...]

    @property
    def name(self) -> str:
        """Name with version, e.g. 'cxdp-bench-1.0': the folder's."""
        return self.folder.name

    @classmethod
    def load(cls, folder: Path | None = None) -> Benchmark:
        """Read the facts and hold every file to its hash.

        Parameters
        ----------
        folder
            None: the set that comes with the package.

        Raises
        ------
        BenchmarkError
            If a file is missing, differs from its hash or doesn't fit the others.
        """
        place = default_folder() if folder is None else folder
        _verify(place)
        try:
            lines = (place / FACTS_FILE).read_text(encoding="utf-8").splitlines()
            facts = tuple(PatternFacts.model_validate_json(line) for line in lines)
        except ValidationError as error:
            raise BenchmarkError(f"{place / FACTS_FILE}: {error.errors(include_url=False)[0]['msg']}") from error
        for split in SPLITS:
            indices = [one.index for one in facts if one.split == split]
            if indices != list(range(len(indices))):
                raise BenchmarkError(f"{place / FACTS_FILE}: the patterns of {split} aren't in the file's order")
        return cls(place, facts)

    def chosen(self, splits: Sequence[Split] = SPLITS) -> tuple[PatternFacts, ...]:
        """Facts of the patterns of some splits."""
        return tuple(one for one in self.facts if one.split in splits)

    def volumes(self, splits: Sequence[Split] = SPLITS) -> Iterator[tuple[PatternFacts, NDArray[np.float32]]]:
        """Yield each pattern of some splits: its facts, and its (64, 64, 64) float32 counts, axis 0 along Q.

        Raises
        ------
        BenchmarkError
            If a file can't be read or holds another number of volumes.
        """
        for split in splits:
            facts = self.chosen((split,))
            path = volumes_path(self.folder, split)
            try:
                with h5py.File(path, "r") as file:
                    stored = file[_DATASET]
                    if not isinstance(stored, h5py.Dataset) or stored.shape != (len(facts), *SHAPE):
                        raise BenchmarkError(f"{path} doesn't hold the {len(facts)} volumes of {FACTS_FILE}")
                    for one in facts:
                        root = np.asarray(stored[one.index], dtype=np.float32)
                        yield one, root * root
            except (OSError, KeyError) as error:
                raise BenchmarkError(f"{path} can't be read: {error}") from error


def volumes_path(folder: Path, split: Split) -> Path:
    """File of one split's volumes."""
    return folder / f"{split}.h5"


def store_volumes(folder: Path, split: Split, volumes: Sequence[NDArray[np.floating]]) -> None:
    """Write one split's counts.

    What is kept is the rounded square root: its step is two standard deviations of a count's Poisson noise in a voxel
    of its own, so that rounding adds a twelfth against a variance of a quarter.
    """
    with h5py.File(volumes_path(folder, split), "w", track_order=False) as file:
        stored = file.create_dataset(
            _DATASET,
            (len(volumes), *SHAPE),
            np.uint16,
            chunks=(1, *SHAPE),
            **hdf5plugin.Bitshuffle(cname="zstd", clevel=19),
        )
        stored.attrs["meaning"] = _MEANING
        for index, volume in enumerate(volumes):
            stored[index] = np.rint(np.sqrt(np.asarray(volume, dtype=np.float64))).astype(np.uint16)


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of all other files, as ``sha256sum`` does."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != SUMS_FILE)
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / SUMS_FILE).write_text("".join(lines), encoding="ascii")


def _verify(folder: Path) -> None:
    if not folder.is_dir():
        raise BenchmarkError(f"{folder}: no such folder of a test set")
    try:
        text = (folder / SUMS_FILE).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{folder / SUMS_FILE} can't be read: {error}") from error
    sums = {match[2]: match[1] for line in text.splitlines() if (match := _SUMS_LINE.fullmatch(line))}
    required = (FACTS_FILE, CARD_FILE, *(volumes_path(folder, split).name for split in SPLITS))
    for name in required:
        if name not in sums:
            raise BenchmarkError(f"{folder / SUMS_FILE} doesn't list {name}")
    for name, digest in sums.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise BenchmarkError(f"{folder / name} can't be read: {error}") from error
        if found != digest:
            raise BenchmarkError(f"{folder / name}: content differs from its SHA-256 (changed, or cut short)")
