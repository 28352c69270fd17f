"""How right a bundle is of lines anywhere in a crystal, whatever lines the test set holds.

A line has no reason to run near the centre: drawn uniformly over a cross-section, most lie near the rim, where they
hardly mark the pattern. A test set whose lines crowd the centre flatters; here each ring counts as much as its area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import floor, pi

from braggwatch.models.cxdp.group_scores import GroupScore, is_right
from braggwatch.models.cxdp.groups import LINE_OFFSET_EDGES, band_name, by_line_offset
from braggwatch.models.cxdp.predictions import Prediction
from braggwatch.models.cxdp.scores import Score, wilson_interval
from braggwatch.models.cxdp.unclassed import PERFECT

FAR = 0.3
"""Lines from here on, in cube roots of the crystal's volume, are far from the centre."""
ENOUGH_FAR_LINES = 100
_CROWDED = 0.05
"""More lines than this beyond the share of the area within some radius: they crowd the centre."""
_RIM = (3 / (4 * pi)) ** (1 / 3)
"""Radius of a sphere in cube roots of its volume."""

RING_AREAS: tuple[float, ...] = tuple(
    (min(high, _RIM) ** 2 - min(low, _RIM) ** 2) / _RIM**2 for low, high in pairwise(LINE_OFFSET_EDGES)
)
"""Share of a sphere's cross-section in each bin of the distance: 0.03, 0.08, 0.13, 0.18, 0.23, 0.35."""
_RINGS = tuple(band_name(low, high) for low, high in pairwise(LINE_OFFSET_EDGES))
FAR_AREA = 1.0 - (FAR / _RIM) ** 2


@dataclass(frozen=True, slots=True)
class LinesAnywhere:
    """Where the lines of a test set lie, and the accuracy that counts each ring by its area.

    Attributes
    ----------
    lines, far
        Patterns with a line at a known distance that a network saw, and how many of these lie beyond `FAR`.
    by_area
        Whether rings are counted by their area; else the lines crowd the centre no more than in a cross-section, and
        each counts once.
    accuracy
        Of the most probable class, every class counting the same and the lines' own in this way; its interval's sample
        size is the number of crystals that weights so unequal are worth (Kish, Survey Sampling, 1965). None where rings
        hold no line: `empty`.
    empty
        Rings without a line, where they are counted by area.
    """

    lines: int
    far: int
    by_area: bool
    accuracy: Score | None
    empty: tuple[str, ...] = ()

    @property
    def far_share(self) -> float:
        """Share of the lines beyond `FAR`."""
        return self.far / self.lines

    @property
    def warning(self) -> str | None:
        """Why the scores say little of lines far from the centre; None where there are enough of these."""
        if self.far >= ENOUGH_FAR_LINES:
            return None
        where = f"beyond {FAR:g} of the particle's size, where {FAR_AREA:.0%} of a cross-section is"
        if self.by_area:
            seen = "no test line lies" if self.far == 0 else f"only {self.far} of {self.lines} test lines lie"
            return f"{seen} {where}: scores that count every pattern once hold for lines near the centre"
        return f"only {self.far} test lines lie {where}: too few to say how well lines there are seen"


def score_lines_anywhere(
    predictions: Sequence[Prediction], classes: Sequence[str], rings: Sequence[GroupScore]
) -> LinesAnywhere | None:
    """Score the lines; None where no line's distance is known.

    Parameters
    ----------
    predictions
        Of labelled patterns.
    rings
        `by_line_offset` groups of the same predictions.
    """
    lines = [one for one in predictions if one.probabilities is not None and by_line_offset(one) is not None]
    if not lines:
        return None
    far = sum(abs(one.line_offset or 0.0) >= FAR for one in lines)
    by_name = {ring.group: ring for ring in rings}
    ordered = [by_name.get(name) for name in _RINGS]
    shares = [0.0 if ring is None else ring.samples / len(lines) for ring in ordered]
    # one-sided: where lines lie farther out than in a sphere, as in flat crystals, weights would only flatter
    by_area = max(a - b for a, b in zip(accumulate(shares), accumulate(RING_AREAS), strict=True)) > _CROWDED
    weights = RING_AREAS if by_area else shares
    empty = tuple(
        name for name, ring, weight in zip(_RINGS, ordered, weights, strict=True) if ring is None and weight > 0.0
    )
    if empty:
        return LinesAnywhere(len(lines), far, by_area, None, empty)
    of_lines = 1.0
    parts: list[tuple[float, float, int, int]] = []  # weight, accuracy, crystals, patterns
    if PERFECT in classes:
        perfect = [one for one in predictions if one.label == PERFECT and one.probabilities is not None]
        if not perfect:
            return LinesAnywhere(len(lines), far, by_area, None)
        of_lines = 1.0 - 1.0 / len(classes)
        right = sum(is_right(one, classes) for one in perfect) / len(perfect)
        parts.append((1.0 - of_lines, right, len({one.configuration for one in perfect}), len(perfect)))
    parts += [
        (of_lines * weight, ring.accuracy, ring.configurations, ring.samples)
        for ring, weight in zip(ordered, weights, strict=True)
        if ring is not None
    ]
    accuracy = min(1.0, sum(weight * right for weight, right, _, _ in parts))
    crystals = max(1, floor(1.0 / sum(weight**2 / number for weight, _, number, _ in parts)))
    low, high = wilson_interval(accuracy * crystals, crystals)
    samples = sum(patterns for _, _, _, patterns in parts)
    return LinesAnywhere(len(lines), far, by_area, Score("lines anywhere", samples, crystals, accuracy, low, high))
