"""Shards as labelled samples of the CXDP classes: which of them, with what labels, as measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from braggwatch.models.cxdp.nuisance_augmentation import measured_copy
from braggwatch.models.cxdp.predictions import LabelledVolume
from braggwatch.models.cxdp.unclassed import is_unclassed
from braggwatch.models.learning.training_config import PAPER_SHARES
from braggwatch.services.cxdp.training.shard_making import ShardSource
from braggwatch.sim.cxdp.datasets import SampleInfo
from braggwatch.sim.cxdp.labels import CLASSES

PartName = Literal["training", "calibration", "test"]
CONTINUUM = "continuum"


@dataclass(frozen=True, slots=True)
class Split:
    """One data set for three purposes, by crystal: all patterns of one go the same way, whatever else is in the set.

    Attributes
    ----------
    shares
        Of training, calibration and test.
    seed
        Another one makes another split.
    """

    shares: tuple[float, float, float] = PAPER_SHARES
    seed: int = 1

    def part(self, crystal: str) -> PartName:
        """Say what a crystal is for."""
        digest = hashlib.sha256(f"{self.seed}:{crystal}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64 * sum(self.shares)
        for name, share in zip(get_args(PartName), self.shares, strict=True):
            if place < share:
                return name
            place -= share
        return "test"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a split data set."""

    split: Split
    name: PartName

    def holds(self, info: SampleInfo) -> bool:
        """Whether a sample belongs to it."""
        return self.split.part(crystal_of(info)) == self.name


def crystal_of(info: SampleInfo) -> str:
    """Identify the crystal of a sample: the continuum's and the relaxed ones are counted apart."""
    return str(info.config) if info.source == CONTINUUM else f"{info.source}/{info.config}"


class LabelledShards:
    """Samples of several shards: a `models.training_data.Source` that tells which are clean.

    Parameters
    ----------
    paths
        Shards.
    outlier_class
        Keep samples that are to be refused as one more class; else they are left out.
    unclassed
        Keep good crystals that no class describes, too: to be told of, not to learn from.
    part
        Only these crystals.
    largest_line_offset
        Only lines up to this far from the centre, in cube roots of the crystal's volume; None: all. A line at the rim
        leaves nearly no mark: as an example it teaches that perfect crystals are dislocated.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        outlier_class: bool = False,
        unclassed: bool = False,
        part: Part | None = None,
        largest_line_offset: float | None = None,
    ) -> None:
        self._source = ShardSource(paths, CLASSES)
        kept = [
            index
            for index, info in enumerate(self._source.infos)
            if _wanted(info.label, outlier_class, unclassed)
            and (part is None or part.holds(info))
            and (largest_line_offset is None or info.line_distance <= largest_line_offset)
        ]
        self._kept = np.asarray(kept, dtype=np.int64)
        self.infos: tuple[SampleInfo, ...] = tuple(self._source.infos[index] for index in kept)
        labels = self._source.labels[self._kept]
        self.labels: NDArray[np.int64] = np.where(labels < 0, len(CLASSES), labels)

    def __len__(self) -> int:
        return len(self.infos)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Return log1p intensities (B, 64, 64, 64) and class indices (B,)."""
        volumes, _ = self._source.batch(self._kept[indices])
        return volumes, self.labels[indices]

    def clean(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which samples are expected intensities without noise, (B,)."""
        return self._source.clean(self._kept[indices])

    def counts(self, index: int) -> NDArray[np.float32]:
        """Return one (64, 64, 64) volume of counts; a clean one is measured, the same way each time."""
        at = np.asarray([index])
        volumes, _ = self.batch(at)
        log_intensity = volumes.astype(np.float32)
        if bool(self.clean(at)[0]):
            seed = int.from_bytes(hashlib.sha256(f"{crystal_of(self.infos[index])}:{index}".encode()).digest()[:7])
            generator = torch.Generator().manual_seed(seed)
            log_intensity = measured_copy(torch.from_numpy(log_intensity), generator).numpy()
        return np.expm1(log_intensity[0])

    def labelled(self) -> Iterator[LabelledVolume]:
        """Yield every sample with what is known of it; labels that are no class are kept as they are."""
        for index, info in enumerate(self.infos):
            known = info.label in CLASSES or is_unclassed(info.label, CLASSES)
            has_line = known and info.label != "perfect"
            yield LabelledVolume(
                counts=self.counts(index),
                label=info.label,
                configuration=crystal_of(info),
                element=info.element if known else None,
                line_offset=info.line_distance if has_line and info.line_distance >= 0 else None,
                hkl=info.hkl if known else None,
                g_dot_b=info.g_dot_b if has_line else None,
                completeness=info.completeness if known else None,
                strain_rad=info.strain_rad if known else None,
                source=info.source.split("-")[0] if known else None,
                character_deg=info.character_deg if has_line else None,
            )


def _wanted(label: str, outliers: bool, unclassed: bool) -> bool:
    if label in CLASSES:
        return True
    return unclassed if is_unclassed(label, CLASSES) else outliers


def find_shards(folder: Path, pattern: str) -> tuple[Path, ...]:
    """Return the shards in a folder, in order.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = tuple(sorted(folder.glob(pattern)))
    if not found:
        raise FileNotFoundError(f"no shard {pattern} in {folder}: make them with 'braggwatch sim cxdp --out {folder}'")
    return found
