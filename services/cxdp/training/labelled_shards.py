"""Shards as labelled samples of the CXDP classes: which samples are used, their labels, and their counts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from braggwatch.models.cxdp.nuisance_augmentation import measured_copy
from braggwatch.models.cxdp.predictions import NO_ARTEFACT, LabelledVolume
from braggwatch.models.cxdp.unclassed import is_unclassed
from braggwatch.models.learning.training_config import PAPER_SHARES
from braggwatch.services.cxdp.training.shard_making import ShardSource
from braggwatch.sim.cxdp.datasets import SampleInfo
from braggwatch.sim.cxdp.labels import CLASSES

PartName = Literal["training", "calibration", "test"]
CONTINUUM = "continuum"


@dataclass(frozen=True, slots=True)
class Split:
    """Splits one data set by crystal into training, calibration and test.

    All patterns of a crystal go to the same part, which doesn't depend on what else is in the set.

    Attributes
    ----------
    shares
        Relative sizes of training, calibration and test.
    seed
        A different seed gives a different split.
    """

    shares: tuple[float, float, float] = PAPER_SHARES
    seed: int = 1

    def part(self, crystal: str) -> PartName:
        """Return the part that a crystal belongs to."""
        digest = hashlib.sha256(f"{self.seed}:{crystal}".encode()).digest()
        position = int.from_bytes(digest[:8], "big") / 2**64 * sum(self.shares)
        for name, share in zip(get_args(PartName), self.shares, strict=True):
            if position < share:
                return name
            position -= share
        return "test"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a split data set."""

    split: Split
    name: PartName

    def holds(self, info: SampleInfo) -> bool:
        """Return whether a sample belongs to this part."""
        return self.split.part(crystal_of(info)) == self.name


_EACH = re.compile(r"x\d+$")


def crystal_of(info: SampleInfo) -> str:
    """Return the name of a sample's crystal: continuum and relaxed crystals are numbered separately.

    A relaxed crystal's name is its own, whatever data set shows it. Shards older than that record give its number in
    the library; the patterns a crystal has in a data set are no part of the name.
    """
    if info.crystal is not None:
        return f"relaxed/{info.crystal}"
    return str(info.config) if info.source == CONTINUUM else f"{_EACH.sub('', info.source)}/{info.config}"


class LabelledShards:
    """Samples of several shards: a `models.training_data.Source` that also says which are noiseless.

    Parameters
    ----------
    paths
        Shards.
    outlier_class
        Keep outliers, which should be rejected, as an extra class; otherwise they are left out.
    unclassed
        Also keep good crystals that no class describes: for reports, not for training.
    part
        Only these crystals.
    largest_line_offset
        Only dislocations up to this distance from the centre, in cube roots of the crystal's volume; None: all. A
        dislocation near the surface barely changes the pattern: training on it makes a network call perfect crystals
        dislocated.
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
        self._paths = tuple(paths)
        self._source = ShardSource(paths, CLASSES)
        selected = [
            index
            for index, info in enumerate(self._source.infos)
            if _is_selected(info.label, outlier_class, unclassed)
            and (part is None or part.holds(info))
            and within_offset(info, largest_line_offset)
        ]
        self._selected = np.asarray(selected, dtype=np.int64)
        self.infos: tuple[SampleInfo, ...] = tuple(self._source.infos[index] for index in selected)
        labels = self._source.labels[self._selected]
        self.labels: NDArray[np.int64] = np.where(labels < 0, len(CLASSES), labels)

    def __len__(self) -> int:
        return len(self.infos)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Return log1p intensities, (B, 64, 64, 64) float16, and class indices, (B,) int64."""
        volumes, _ = self._source.batch(self._selected[indices])
        return volumes, self.labels[indices]

    def clean(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which samples are expected intensities without noise, (B,) bool."""
        return self._source.clean(self._selected[indices])

    def fingerprint(self) -> str:
        """Return a digest of the files' content and of what is taken from them, in order."""
        digest = hashlib.sha256()
        for path in self._paths:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(self._selected.tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()

    def where(self, index: int) -> str:
        """Return a sample's file and its number there."""
        return self._source.where(int(self._selected[index]))

    def counts(self, index: int) -> NDArray[np.float32]:
        """Return one (64, 64, 64) float32 volume of counts; a noiseless one gets noise, the same each time."""
        indices = np.asarray([index])
        volumes, _ = self.batch(indices)
        log_intensity = volumes.astype(np.float32)
        if bool(self.clean(indices)[0]):
            seed = int.from_bytes(hashlib.sha256(f"{crystal_of(self.infos[index])}:{index}".encode()).digest()[:7])
            generator = torch.Generator().manual_seed(seed)
            log_intensity = measured_copy(torch.from_numpy(log_intensity), generator).numpy()
        return np.expm1(log_intensity[0])

    def labelled(self) -> Iterator[LabelledVolume]:
        """Yield every sample with its known properties; labels outside the classes stay as they are."""
        for index, info in enumerate(self.infos):
            is_crystal = info.label in CLASSES or is_unclassed(info.label, CLASSES)
            has_line = is_crystal and info.label != "perfect"
            yield LabelledVolume(
                counts=self.counts(index),
                label=info.label,
                configuration=crystal_of(info),
                element=info.element if is_crystal else None,
                line_offset=info.line_distance if has_line and info.line_distance >= 0 else None,
                hkl=info.hkl if is_crystal else None,
                g_dot_b=info.g_dot_b if has_line else None,
                completeness=info.completeness if is_crystal else None,
                strain_rad=info.strain_rad if is_crystal else None,
                source=info.source.split("-")[0] if is_crystal else None,
                character_deg=info.character_deg if has_line else None,
                aspect=info.aspect if is_crystal else None,
                blur_fringes=info.blur_fringes if is_crystal else None,
                artefact=_artefact(info) if is_crystal else None,
                lattice=info.lattice if is_crystal else None,
            )


def within_offset(info: SampleInfo, largest_line_offset: float | None) -> bool:
    """Return whether a sample's line, if any, is as close to the centre as asked for; None: any is."""
    return largest_line_offset is None or info.line_distance <= largest_line_offset


def _artefact(info: SampleInfo) -> str | None:
    # shards from before artefacts say nothing of the blur either: whether theirs are unspoilt isn't known
    return NO_ARTEFACT if info.artefact is None and info.blur_fringes is not None else info.artefact


def _is_selected(label: str, outliers: bool, unclassed: bool) -> bool:
    if label in CLASSES:
        return True
    return unclassed if is_unclassed(label, CLASSES) else outliers


def find_shards(folder: Path, pattern: str) -> tuple[Path, ...]:
    """Return the shards in a folder, in order.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    shards = tuple(sorted(folder.glob(pattern)))
    if not shards:
        raise FileNotFoundError(
            f"no shards {pattern} in {folder}: make them with 'braggwatch cxdp simulate --out {folder}'"
        )
    return shards
