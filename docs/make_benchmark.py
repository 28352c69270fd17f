"""Choose the open test set's patterns from shards and write it: volumes, facts, card, hashes.

``CARD.md`` of the set says which shards it was chosen from and how they are made. The card is written by hand and kept.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from braggwatch.models.cxdp.benchmarking.making import Candidate, candidates, choose, write_benchmark
from braggwatch.models.cxdp.benchmarking.patterns import CARD_FILE, Benchmark, default_folder

_EACH = {"continuum": 6, "relaxed": 22, "relaxed-paper": 10, "outlier": 4}


def main(
    shards: Annotated[
        list[str], typer.Argument(metavar="SOURCE=FOLDER", help="continuum, relaxed, relaxed-paper or outlier.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the set, with its card.")] = None,
) -> None:
    """Choose patterns of each source; where one is given twice, the second folder fills what the first left short."""
    place = default_folder() if out is None else out
    card = (place / CARD_FILE).read_text(encoding="utf-8")
    found: dict[str, list[Candidate]] = {source: [] for source in _EACH}
    for word in shards:
        source, _, folder = word.partition("=")
        found[source] += candidates(Path(folder), source)
    cells = [cell for source, each in _EACH.items() for cell in choose(found[source], each)]
    write_benchmark(place, cells, card)
    made = Benchmark.load(place)
    for (split, source, label), count in sorted(Counter((f.split, f.source, f.label) for f in made.facts).items()):
        typer.echo(f"| {split} | {source} | {label} | {count} |")


if __name__ == "__main__":
    typer.run(main)
