"""Draw what `measure_visibility.py` found, and what a bundle finds: docs/images/visibility.png and a table.

python docs/draw_visibility.py runs/visibility.jsonl [--bundle cxdp-fcc/1.6.0]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry

mpl.use("svg")
from matplotlib import pyplot as plt

PICTURE = Path(__file__).parent / "images" / "visibility.png"
COUNTS = ("1000", "10000", "1e+06")


def main() -> None:
    """Draw, and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="File of measure_visibility.py.")
    parser.add_argument("--bundle", default="production", help="Bundle whose measured region is drawn beside it.")
    arguments = parser.parse_args()
    rows = [json.loads(text) for text in arguments.rows.read_text().splitlines()]
    rows = [row for row in rows if row["inside"]]
    distances = sorted({row["distance"] for row in rows})
    figure, (bounds, found) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for counts, shade in zip(COUNTS, ("C0", "C1", "C2"), strict=True):
        for blur, style in (("0", "-"), ("0.5", ":")):
            middle = [np.median([r["known"][blur][counts] for r in rows if r["distance"] == d]) for d in distances]
            label = f"crystal known, {float(counts):.0e} counts" if blur == "0" else None
            bounds.semilogy(distances, middle, style, color=shade, label=label)
        worst = [
            min(min(one[counts] for one in r["imitated"].values()) for r in rows if r["distance"] == d)
            for d in distances
        ]
        bounds.semilogy(distances, worst, "--", color=shade)
    bounds.axhline(4.6, color="0.5", linewidth=1)
    bounds.text(0.0, 5.2, "half a per cent of errors", fontsize=8, color="0.4")
    bounds.set(xlabel="line from the centre / ∛volume", ylabel="Bhattacharyya distance", title="What is in the pattern")
    bounds.legend(fontsize=8)
    region = Bundle.load(Registry(None).locate(arguments.bundle)).manifest.visible_region
    if region is not None:
        lines = np.sum([row.lines for row in region.rows], axis=0)
        shares = np.sum([row.found for row in region.rows], axis=0) / np.maximum(lines, 1)
        ends = [*region.distances[1:], 0.6]
        found.stairs(100 * shares, [*region.distances, ends[-1]], fill=True, alpha=0.5)
        found.set(
            xlabel="line from the centre / ∛volume",
            ylabel="lines not called perfect, %",
            title=arguments.bundle,
            ylim=(0, 102),
        )
    figure.savefig(PICTURE, dpi=110)
    table = [
        "| distance | crystal known | the same, blurred by half a fringe | strain imitates it best | least of all |",
        "|---|---|---|---|---|",
    ]
    for d in distances:
        here = [r for r in rows if r["distance"] == d]
        known = [np.median([r["known"]["0"][c] for r in here]) for c in ("1000", "10000")]
        blurred = [np.median([r["known"]["0.5"][c] for r in here]) for c in ("1000", "10000")]
        tried = [np.median([min(one[c] for one in r["imitated"].values()) for r in here]) for c in ("1000", "10000")]
        least = min(min(one["1000"] for one in r["imitated"].values()) for r in here)
        cells = [" / ".join(f"{value:,.0f}" for value in pair) for pair in (known, blurred, tried)]
        table.append(f"| {d:g} ({len(here)} crystals) | {' | '.join(cells)} | {least:,.0f} |")
    sys.stdout.write("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
