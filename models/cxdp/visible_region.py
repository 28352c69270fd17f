"""How far off a crystal's centre a bundle finds dislocations, and what ``perfect`` may say because of it.

A line near the rim changes the pattern little, so a network that misses it is as sure as of a perfect crystal. How far
out lines are found is measured on calibration crystals, by peak counts and fringe contrast, and a verdict of
``perfect`` states that distance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from braggwatch.models.bundling.manifest import VisibleRegion, VisibleRegionRow
from braggwatch.models.verdict import PerfectRegion
from braggwatch.sim.errors import InputError

COUNTS_FROM = (0.0, 1e4, 1e5)
CONTRAST_FROM = (0.0, 0.5)
DISTANCES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def seen_radius(region: VisibleRegion, row: VisibleRegionRow) -> float:
    """Return the largest distance up to which every range of distances counts as seen, in cube roots of the volume.

    A range counts where at least `VisibleRegion.fewest_lines` were tested and the plain share found is no less than
    `VisibleRegion.share`. The last range has no end, so nothing beyond its beginning is ever claimed.
    """
    ends = region.distances[1:]
    radius = 0.0
    for end, lines, found in zip(ends, row.lines, row.found, strict=False):
        if lines < region.fewest_lines or found < region.share * lines:
            break
        radius = end
    return radius


def row_for(region: VisibleRegion, peak_counts: float, fringe_contrast: float) -> VisibleRegionRow | None:
    """Return the row of a pattern: that of the highest counts, then of the highest contrast, that it reaches."""
    reached = [
        row
        for row in region.rows
        if row.peak_counts_from <= peak_counts and row.fringe_contrast_from <= fringe_contrast
    ]
    if not reached:
        return None
    return max(reached, key=lambda row: (row.peak_counts_from, row.fringe_contrast_from))


def perfect_region(region: VisibleRegion, peak_counts: float, fringe_contrast: float) -> PerfectRegion | None:
    """Return where ``perfect`` excludes visible lines in such a pattern; None where it excludes them nowhere."""
    row = row_for(region, peak_counts, fringe_contrast)
    radius = 0.0 if row is None else seen_radius(region, row)
    return PerfectRegion(radius=radius, share=region.share) if radius > 0.0 else None


def fit_visible_region(
    distance: ArrayLike,
    peak_counts: ArrayLike,
    fringe_contrast: ArrayLike,
    found: ArrayLike,
    *,
    share: float = 0.95,
    fewest_lines: int = 20,
    distances: Sequence[float] = DISTANCES,
    counts_from: Sequence[float] = COUNTS_FROM,
    contrast_from: Sequence[float] = CONTRAST_FROM,
) -> VisibleRegion:
    """Count the visible lines that were found, by distance from the centre, peak counts and fringe contrast.

    Parameters
    ----------
    distance
        (N,) distance of each line from the centre over the cube root of the particle's volume. Only lines that the
        reflection sees (g·b ≠ 0), of crystals that training never saw.
    peak_counts
        (N,) largest voxel of each pattern, counts.
    fringe_contrast
        (N,) of each pattern, see `braggwatch.models.cxdp.volume.peak_checks.PeakMeasures`.
    found
        (N,) bool, False where the verdict was ``perfect``.
    share, fewest_lines
        What counts as seen, see `seen_radius`. The plain share is used, not a confidence bound: with few lines a bound
        says more of the test than of the network, so ranges with fewer lines than ``fewest_lines`` count as unseen.
    distances, counts_from, contrast_from
        Where each range begins, ascending; the last has no end. Ranges of counts with too few lines are merged with
        their neighbours, within one range of contrast.

    Raises
    ------
    InputError
        If there is no line, the arrays' lengths differ, or a number isn't finite or is negative.
    """
    columns = [np.asarray(values, dtype=np.float64) for values in (distance, peak_counts, fringe_contrast)]
    seen = np.asarray(found, dtype=bool)
    if seen.ndim != 1 or seen.size == 0 or any(column.shape != seen.shape for column in columns):
        shapes = [column.shape for column in columns]
        raise InputError(f"expected as many distances, counts and contrasts as lines, at least one, got {shapes}")
    if not all(np.isfinite(column).all() and column.min() >= 0.0 for column in columns):
        raise InputError("distances, counts and contrasts must be finite and not negative")
    places = [
        np.searchsorted(np.asarray(edges, dtype=np.float64), column, side="right") - 1
        for edges, column in zip((distances, counts_from, contrast_from), columns, strict=True)
    ]
    rows: list[VisibleRegionRow] = []
    for j, contrast in enumerate(contrast_from):
        of_contrast: list[VisibleRegionRow] = []
        for i, counts in enumerate(counts_from):
            here = (places[1] == i) & (places[2] == j)
            of_contrast.append(
                VisibleRegionRow(
                    peak_counts_from=counts,
                    fringe_contrast_from=contrast,
                    lines=tuple(int(np.sum(here & (places[0] == k))) for k in range(len(distances))),
                    found=tuple(int(np.sum(here & seen & (places[0] == k))) for k in range(len(distances))),
                )
            )
        rows += _merged(of_contrast, fewest_lines)
    rows.sort(key=lambda row: (row.peak_counts_from, row.fringe_contrast_from))
    return VisibleRegion(share=share, fewest_lines=fewest_lines, distances=tuple(distances), rows=tuple(rows))


def _merged(rows: list[VisibleRegionRow], fewest_lines: int) -> list[VisibleRegionRow]:
    """Merge neighbouring ranges of counts until each has enough lines at every distance but the farthest."""
    kept = list(rows)
    while len(kept) > 1:
        poorest = min(range(len(kept)), key=lambda at: min(kept[at].lines[:-1]))
        if min(kept[poorest].lines[:-1]) >= fewest_lines:
            break
        lower = max(poorest - 1, 0)
        first, second = kept[lower], kept[lower + 1]
        both = first.model_copy(
            update={
                "lines": tuple(a + b for a, b in zip(first.lines, second.lines, strict=True)),
                "found": tuple(a + b for a, b in zip(first.found, second.found, strict=True)),
            }
        )
        kept[lower : lower + 2] = [both]
    return kept
