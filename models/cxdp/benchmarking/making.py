"""Choose the test set's patterns from shards: balanced, by crystal, and the same ones for the same shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.cxdp.benchmarking.patterns import (
    CARD_FILE,
    FACTS_FILE,
    SPLITS,
    PatternFacts,
    Split,
    store_volumes,
    write_sums,
)
from braggwatch.models.cxdp.groups import family
from braggwatch.sim.cxdp.datasets import SampleInfo, read_shard, shard_facts
from braggwatch.sim.cxdp.labels import CLASSES

DEV_EVERY = 3
"""One crystal of so many goes to public-dev, the others to test."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pattern that may be chosen: its facts, and where its volume is."""

    path: Path
    place: int
    info: SampleInfo
    source: str

    @property
    def configuration(self) -> str:
        """Identify the crystal: the specification and the library are in the file's name."""
        return f"{self.source}/{self.path.stem.rpartition('-')[0]}/{self.info.config}"


Cell = Callable[[Candidate], tuple[str, ...]]
"""What a pattern is balanced over."""


def candidates(folder: Path, source: str) -> list[Candidate]:
    """List the patterns of a folder of shards: one of every crystal first, then the second of each, and so on."""
    found: list[tuple[int, Candidate]] = []
    seen: Counter[str] = Counter()
    for path in sorted(folder.glob("outlier-*.h5" if source == "outlier" else "cxdp-*.h5")):
        for place, info in enumerate(shard_facts(path).infos):
            one = Candidate(path, place, info, source)
            found.append((seen[one.configuration], one))
            seen[one.configuration] += 1
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def cell_of(one: Candidate) -> tuple[str, ...]:
    """Balance simulated crystals over class, family of reflections and decade of counts, everything else by label."""
    if one.source == "continuum":
        decade = min(floor(log10(one.info.peak_counts)), 5)
        return one.source, one.info.label, family(one.info.hkl), f"1e{decade}"
    return one.source, one.info.label


def choose(found: Iterable[Candidate], each: int, cell: Cell = cell_of) -> list[list[Candidate]]:
    """Take the first ``each`` patterns of every cell; a cell with fewer gives all that it has."""
    cells: dict[tuple[str, ...], list[Candidate]] = {}
    for one in found:
        members = cells.setdefault(cell(one), [])
        if len(members) < each:
            members.append(one)
    return [cells[name] for name in sorted(cells)]


def divide(cells: Sequence[Sequence[Candidate]]) -> dict[Split, list[Candidate]]:
    """Divide by crystal: of the crystals of each cell, in their order, every third goes to public-dev."""
    split_of: dict[str, Split] = {}
    divided: dict[Split, list[Candidate]] = {split: [] for split in SPLITS}
    for members in cells:
        crystals = dict.fromkeys(one.configuration for one in members)
        for number, crystal in enumerate(crystals):
            split_of.setdefault(crystal, "public-dev" if number % DEV_EVERY == 0 else "test")
        for one in members:
            divided[split_of[one.configuration]].append(one)
    return divided


def write_benchmark(folder: Path, cells: Sequence[Sequence[Candidate]], card: str) -> None:
    """Write volumes, facts, card and hashes of the chosen patterns."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    opened: dict[Path, NDArray[np.float16]] = {}
    for split, members in divide(cells).items():
        volumes: list[NDArray[np.float32]] = []
        for index, one in enumerate(members):
            if one.path not in opened:
                opened[one.path] = read_shard(one.path)[0]
            volumes.append(np.expm1(opened[one.path][one.place].astype(np.float32)))
            lines.append(facts_of(one, split, index).model_dump_json() + "\n")
        store_volumes(folder, split, volumes)
    (folder / FACTS_FILE).write_text("".join(lines), encoding="utf-8")
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    write_sums(folder)


def facts_of(one: Candidate, split: Split, index: int) -> PatternFacts:
    """State what is known of a chosen pattern."""
    info = one.info
    return PatternFacts(
        split=split,
        index=index,
        label=info.label,
        configuration=one.configuration,
        source=one.source,
        element=info.element,
        hkl=info.hkl,
        g_dot_b=info.g_dot_b,
        line_distance=info.line_distance if info.label in CLASSES and info.line_distance >= 0.0 else None,
        peak_counts=info.peak_counts,
        size_nm=info.size_nm,
        completeness=info.completeness,
    )
