"""What a set of training shards covers, read from the shards."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from braggwatch.models.bundling.manifest import ValidDomain
from braggwatch.models.cxdp.groups import family
from braggwatch.models.cxdp.nuisance_augmentation import DEFAULT_RANGES
from braggwatch.services.cxdp.training.labelled_shards import CONTINUUM, Part, crystal_of, within_offset
from braggwatch.sim.crystallography.lattices import lattice_named
from braggwatch.sim.cxdp.datasets import SampleInfo, shard_facts
from braggwatch.sim.errors import InputError

_VOXEL_OVER_PIXEL = 0.2
"""Smallest ratio of the brightest voxel to the brightest pixel's expected counts: the preprocessing averages."""


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What a training set covers.

    Attributes
    ----------
    patterns, crystals
        Numbers of patterns and of crystals.
    elements, reflections, lattices
        Chemical symbols, families such as '{111}' or '{110} of bcc', and lattices that occur.
    peak_counts
        Smallest and largest counts of the brightest pixel that the specifications allow.
    fringe_period_voxels
        The preprocessing's target fringe period, in voxels.
    specifications
        Number of shards by digest of their specification, sorted.
    relaxed
        Number of patterns of relaxed crystals.
    clean
        Number of patterns that get their noise during training.
    hashes
        SHA-256 by file name.
    """

    patterns: int
    crystals: int
    elements: tuple[str, ...]
    reflections: tuple[str, ...]
    peak_counts: tuple[float, float]
    fringe_period_voxels: float
    specifications: Mapping[str, int]
    relaxed: int
    clean: int
    hashes: Mapping[str, str]
    lattices: tuple[str, ...] = ("fcc",)

    def valid_domain(self) -> ValidDomain:
        """Return the domain that a bundle declares itself valid for."""
        kind = f"{', '.join(self.lattices)} crystals, one straight line" + (
            "; relaxed crystals among those learnt from" if self.relaxed else ", unrelaxed"
        )
        return ValidDomain(
            elements=self.elements,
            lattices=self.lattices,
            reflections=self.reflections,
            min_peak_counts=_VOXEL_OVER_PIXEL * self.peak_counts[0],
            max_peak_counts=self.peak_counts[1],
            notes=("lines with g·b = 0 are invisible and come out as 'perfect'", kind),
        )


def training_facts(
    paths: Sequence[Path],
    part: Part | None = None,
    largest_line_offset: float | None = None,
    outliers: Sequence[Path] = (),
) -> TrainingFacts:
    """Read what a set of shards covers.

    Parameters
    ----------
    paths
        Shards of crystals.
    part
        Count only these crystals.
    largest_line_offset
        Count only lines up to this far from the centre, as `LabelledShards` takes them.
    outliers
        Shards of outliers that are learnt from, too: their hashes are noted.

    Raises
    ------
    InputError
        If they are empty, or were made for different fringe periods.
    """
    specifications: Counter[str] = Counter()
    hashes: dict[str, str] = {}
    periods: set[float] = set()
    peaks: list[tuple[float, float]] = []
    elements: set[str] = set()
    reflections: set[tuple[str, int, str]] = set()
    lattices: set[str] = set()
    crystals: set[str] = set()
    patterns = relaxed = clean = 0
    for path in paths:
        facts = shard_facts(path)
        infos = [
            info
            for info in facts.infos
            if (part is None or part.holds(info)) and within_offset(info, largest_line_offset)
        ]
        if not infos:
            continue
        is_clean = facts.nuisance == "none"
        _note_hash(hashes, path)
        specifications[facts.spec.digest()] += 1
        periods.add(facts.spec.fringe_period_voxels)
        peaks.append(DEFAULT_RANGES.peak_counts if is_clean else facts.spec.peak_counts)
        elements |= {info.element for info in infos}
        reflections |= {_reflection(info) for info in infos}
        lattices |= {info.lattice for info in infos}
        crystals |= {crystal_of(info) for info in infos}
        patterns += len(infos)
        relaxed += sum(info.source != CONTINUUM for info in infos)
        clean += len(infos) if is_clean else 0
    for path in outliers:
        _note_hash(hashes, path)
    if not patterns:
        raise InputError("there are no patterns in the training shards")
    if len(periods) > 1:
        raise InputError(f"the shards were made for different fringe periods, {sorted(periods)} voxels: use one")
    return TrainingFacts(
        patterns=patterns,
        crystals=len(crystals),
        elements=tuple(sorted(elements)),
        reflections=tuple(name for *_, name in sorted(reflections)),
        peak_counts=(min(low for low, _ in peaks), max(high for _, high in peaks)),
        fringe_period_voxels=periods.pop(),
        specifications=dict(sorted(specifications.items())),
        relaxed=relaxed,
        clean=clean,
        hashes=hashes,
        lattices=tuple(sorted(lattices)),
    )


def _reflection(info: SampleInfo) -> tuple[str, int, str]:
    """Return a reflection's family by name, after what it is sorted by: fcc first, then by length."""
    length = sum(i * i for i in info.hkl)
    if info.lattice == "fcc":
        return "", length, family(info.hkl)
    return info.lattice, length, f"{lattice_named(info.lattice).family_name(info.hkl)} of {info.lattice}"


def _note_hash(hashes: dict[str, str], path: Path) -> None:
    """Note a file's SHA-256 by its name; by its folder's, too, where another file has that name."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = path.name
    if hashes.get(name, digest) != digest:
        name = f"{path.parent.name}/{path.name}"
    if hashes.get(name, digest) != digest:
        name = str(path)
    hashes[name] = digest


def count_patterns(paths: Sequence[Path], part: Part | None = None) -> int:
    """Count the patterns in shards, or those of a part of their crystals."""
    return sum(1 for path in paths for info in shard_facts(path).infos if part is None or part.holds(info))
