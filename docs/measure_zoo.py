"""Ask the shipped bundle about crystals that hold other defects than it has learnt, and write the table of the answers.

``python docs/measure_zoo.py [PATTERNS]`` fills the table in docs/explanation/defects.md; 30 patterns a kind take some
ten minutes on a core.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np

from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.verdict import Outcome
from braggwatch.services.cxdp.training.shard_making import live_preprocessing
from braggwatch.sim.cxdp.crystal import Crystal, build_crystal, random_crystal_spec
from braggwatch.sim.cxdp.crystal.zoo import ZOO_KINDS, ZooKind, random_zoo_spec
from braggwatch.sim.cxdp.datasets import DatasetSpec, make_sample

PAGE = Path(__file__).resolve().parent / "explanation" / "defects.md"
TABLE = re.compile(r"(<!-- table: measure_zoo.py -->\n).*?(<!-- end of table -->)", re.DOTALL)
COLUMNS = ("perfect", "screw", "edge", "unsure", "out_of_distribution", "invalid", "refused")
SEED = 20211
Kind = ZooKind | Literal["perfect", "screw", "edge", "invisible_line"]
KINDS: tuple[Kind, ...] = ("perfect", "screw", "edge", "invisible_line", *ZOO_KINDS)


@dataclass(frozen=True, slots=True)
class ZooSource:
    """Crystals of one kind, as a source of `sim.datasets.make_sample`."""

    kind: Kind

    @property
    def name(self) -> str:
        """Of the source."""
        return f"zoo/{self.kind}"

    def configuration(self, number: int) -> int:
        """Every sample is another crystal."""
        return number

    def draw(self, rng: np.random.Generator, config: int) -> Crystal:  # noqa: ARG002 - the generator decides
        """Draw one crystal, its defect visible unless the kind says otherwise."""
        if self.kind in ("perfect", "screw", "edge"):
            return build_crystal(random_crystal_spec(rng, self.kind))
        if self.kind == "invisible_line":
            return build_crystal(random_crystal_spec(rng, "screw" if rng.random() < 0.5 else "edge", visible=False))
        return build_crystal(random_zoo_spec(rng, self.kind))


@cache
def classifier() -> BundleClassifier:
    """Load the bundle that serves."""
    return BundleClassifier.load(Registry().resolve("production"), threads=1)


def answer(kind: Kind, number: int) -> str:
    """Simulate, measure, preprocess and judge one pattern; returns one of ``COLUMNS``."""
    # a copy isn't validated: the classes of data sets are those of networks, and the zoo's labels are none of them
    labels = ("perfect", "screw", "edge", "two_lines", "loop", *ZOO_KINDS)
    spec = DatasetSpec(seed=SEED + KINDS.index(kind)).model_copy(update={"classes": labels})
    sample = make_sample(spec, number, live_preprocessing, ZooSource(kind))
    if isinstance(sample, str):
        return "refused"
    verdict = classifier().classify(sample.intensity)
    if verdict.outcome is Outcome.CLASSIFIED and verdict.label is not None:
        return verdict.label
    return verdict.outcome.value


def main() -> None:
    """Measure every kind and rewrite the table."""
    patterns = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    rows: list[str] = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for kind in KINDS:
            counts = Counter(pool.map(partial(answer, kind), range(patterns)))
            cells = " | ".join(str(counts[column] or "") for column in COLUMNS)
            rows.append(f"| {kind.replace('_', ' ')} | {cells} |")
            sys.stderr.write(rows[-1] + "\n")
    head = " | ".join(column.replace("_", " ") for column in COLUMNS)
    lines = (
        f"Of {patterns} patterns a kind, `{classifier().identity.id}`:",
        "",
        f"| crystal | {head} |",
        "|---" * (len(COLUMNS) + 1) + "|",
        *rows,
    )
    table = "\n".join(lines)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
