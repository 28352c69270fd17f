"""Whether a bundle is tested on crystals that it didn't learn from: counted, not assumed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from pydantic import ValidationError

from braggwatch.models.bundling.bundle import MANIFEST_FILE
from braggwatch.models.bundling.manifest import LearntCrystals, Manifest, Separation
from braggwatch.services.cxdp.training.labelled_shards import CONTINUUM, Part, crystal_of, within_offset
from braggwatch.services.cxdp.training.shard_making import SHARD_SIZE
from braggwatch.sim.cxdp.datasets import SampleInfo, shard_facts
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.errors import InputError

_SHOWN = 5
_SHARD_NAME = re.compile(r"(?:.*/)?cxdp-([0-9a-f]{12})-([0-9]{6,})\.h5")


@dataclass(slots=True)
class Crystals:
    """The crystals of some shards.

    Attributes
    ----------
    numbered
        (seed, number) of continuum crystals: the same draws, whatever the population, reflection or noise.
    relaxed
        What stands for relaxed crystals (`SampleInfo.crystal`).
    unnamed
        Library and number of relaxed crystals in shards that don't record that; they compare within a library alone.
    outliers
        Samples of no class, by kind, seed and number.
    specified
        Digest of the specification and number of every sample of a class.
    """

    numbered: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    relaxed: set[str] = field(default_factory=set[str])
    unnamed: set[str] = field(default_factory=set[str])
    outliers: set[tuple[str, int, int]] = field(default_factory=set[tuple[str, int, int]])
    specified: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])

    def __len__(self) -> int:
        return len(self.numbered) + len(self.relaxed) + len(self.unnamed)

    def add(self, info: SampleInfo, seed: int, digest: str) -> None:
        """Note a sample of the specification with this seed and digest."""
        if info.crystal is not None:
            self.relaxed.add(info.crystal)
        elif info.source != CONTINUUM:
            self.unnamed.add(crystal_of(info))
        elif info.label in CLASSES:
            self.numbered.add((seed, info.config))
            self.specified.add((digest, info.config))
        else:
            self.outliers.add((info.label, seed, info.config))

    def shared_with(self, other: Crystals) -> list[str]:
        """Name the crystals that are in both."""
        return [
            *(f"{number} of seed {seed}" for seed, number in sorted(self.numbered & other.numbered)),
            *(f"relaxed {name}" for name in sorted(self.relaxed & other.relaxed)),
            *sorted(self.unnamed & other.unnamed),
        ]

    @property
    def libraries(self) -> set[str]:
        """Libraries of the crystals that compare within their library alone."""
        return {name.rpartition("/")[0] for name in self.unnamed}


def crystals_in(paths: Iterable[Path], part: Part | None = None, largest_line_offset: float | None = None) -> Crystals:
    """Read which crystals some shards hold, or a part of them."""
    found = Crystals()
    for path in dict.fromkeys(paths):
        facts = shard_facts(path)
        digest = facts.spec.digest()
        for info in facts.infos:
            if (part is None or part.holds(info)) and within_offset(info, largest_line_offset):
                found.add(info, facts.spec.seed, digest)
    return found


@dataclass(frozen=True, slots=True)
class SeparationCheck:
    """What was found about who learnt from what.

    Attributes
    ----------
    separation
        The numbers, as the manifest keeps them.
    learnt
        The crystals learnt from, by this training and, where known, those before it.
    overlaps
        In words: which two sets share how many crystals, and some of them.
    """

    separation: Separation
    learnt: LearntCrystals
    overlaps: tuple[str, ...]


def check_separation(
    training: Crystals, calibration: Crystals, test: Crystals, start: Path | None = None, *, by_file: bool = True
) -> SeparationCheck:
    """Compare the crystals of training, calibration and test, and those that the first weights learnt from.

    Parameters
    ----------
    start
        Folder of the bundle that training starts from; None: random weights.
    by_file
        Whether the parts are files of their own: a bundle that records no crystals may have learnt from a part of one.
    """
    parts = {"training": training, "calibration": calibration, "test": test}
    overlaps: list[str] = []
    shared: set[str] = set()
    for (first, one), (second, other) in combinations(parts.items(), 2):
        both = one.shared_with(other)
        shared |= set(both)
        if both:
            overlaps.append(f"{first} and {second} share {_counted(both)}")
    libraries = {name for one in parts.values() for name in one.libraries}
    mixed = len(libraries) + any(one.relaxed for one in parts.values()) > 1
    unidentified = sum(len(one.unnamed) for one in parts.values()) if mixed else 0
    before = None if start is None else _before(start, [calibration, test], by_file=by_file)
    if before is not None and before.shared:
        overlaps.append(f"{start} learnt from {_counted(before.shared)} of calibration or test")
    return SeparationCheck(
        separation=Separation(
            training=len(training),
            calibration=len(calibration),
            test=len(test),
            shared=len(shared | set(before.shared if before is not None else ())),
            shared_outliers=len(training.outliers & test.outliers),
            unidentified=unidentified,
            started_from=None if start is None else f"{start.parent.name}/{start.name}",
            earlier_known=before is None or before.complete,
        ),
        learnt=_learnt(training, None if start is None else _said(start), random_start=start is None),
        overlaps=tuple(overlaps),
    )


def statement(separation: Separation) -> str:
    """Say in a card's sentence how the test crystals relate to those learnt from and calibrated on."""
    counts = f"{separation.training} learnt from, {separation.calibration} calibrated on"
    if separation.shared:
        return (
            f"WARNING: {separation.shared} crystals are shared between training, calibration and test ({counts}), so "
            "these scores are too good"
        )
    doubts: list[str] = []
    if separation.unidentified:
        doubts.append(
            f"{separation.unidentified} relaxed crystals can't be told apart, their shards being older than that record"
        )
    if not separation.earlier_known:
        doubts.append(f"what {separation.started_from} learnt from is not all known")
    if doubts:
        return f"no shared crystal was found ({counts}), but {' and '.join(doubts)}"
    before = f", by {separation.started_from} and before it included" if separation.started_from else ""
    return f"used nowhere else: compared by crystal, none is shared ({counts}{before})"


@dataclass(frozen=True, slots=True)
class _Before:
    shared: list[str]
    complete: bool


def _before(start: Path, parts: Sequence[Crystals], *, by_file: bool) -> _Before:
    """Find which crystals of some parts the bundle in a folder learnt from."""
    manifest = _said(start)
    learnt = manifest.provenance.learnt
    shared: set[str] = set()
    if learnt is not None:
        for part in parts:
            for seed, number in part.numbered:
                if any(low <= number <= high for low, high in learnt.numbers.get(str(seed), ())):
                    shared.add(f"{number} of seed {seed}")
            shared |= {f"relaxed {name}" for name in part.relaxed & set(learnt.relaxed)}
        return _Before(sorted(shared), learnt.complete and not any(part.unnamed for part in parts))
    # bundles from before that record name their shards alone: specification, first number, a hundred numbers at most
    if not by_file:
        return _Before([], complete=False)
    held = [found for name in manifest.provenance.training_sets if (found := _SHARD_NAME.fullmatch(name))]
    for part in parts:
        for digest, number in part.specified:
            if any(digest == one[1] and 0 <= number - int(one[2]) < SHARD_SIZE for one in held):
                shared.add(f"{number} of specification {digest}")
    return _Before(sorted(shared), complete=False)


def _said(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path} is no manifest of a bundle: {error.errors()[0]['msg']}") from error


def _learnt(training: Crystals, before: Manifest | None, *, random_start: bool) -> LearntCrystals:
    earlier = None if before is None else before.provenance.learnt
    numbered = set(training.numbered)
    relaxed = set(training.relaxed)
    if earlier is not None:
        numbered |= {
            (int(seed), number)
            for seed, ranges in earlier.numbers.items()
            for low, high in ranges
            for number in range(low, high + 1)
        }
        relaxed |= set(earlier.relaxed)
    by_seed: dict[int, list[int]] = {}
    for seed, number in sorted(numbered):
        by_seed.setdefault(seed, []).append(number)
    return LearntCrystals(
        numbers={str(seed): _ranges(numbers) for seed, numbers in by_seed.items()},
        relaxed=tuple(sorted(relaxed)),
        complete=not training.unnamed and (random_start or (earlier is not None and earlier.complete)),
    )


def _ranges(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)


def _counted(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} crystals ({', '.join(names[:_SHOWN])}{more})"
