"""Accuracy of groups of patterns, with intervals that count crystals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor, inf, log10, sqrt

from braggwatch.models.cxdp.predictions import Prediction

_LINE_OFFSET_EDGES = (0.0, 0.1, 0.3, 0.6, inf)
_COMPLETENESS_EDGES = (0.0, 0.5, 0.8, 0.95, 1.0, inf)
_STRAIN_EDGES = (0.0, 0.5, 1.0, 2.0, inf)

GroupKey = Callable[[Prediction], tuple[float, str] | None]
"""Place in the order and name of a pattern's group; None: in no group."""


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy with a 95 % Wilson interval whose sample size is the number of independent crystals.

    That is on the careful side: it takes all patterns of a crystal for one.
    """

    group: str
    samples: int
    configurations: int
    accuracy: float
    low: float
    high: float


def wilson_interval(successes: float, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, J. Am. Stat. Assoc. 22, 209, 1927); ``successes`` may be fractional."""
    if trials < 1 or not 0.0 <= successes <= trials:
        raise ValueError(f"need 0 ≤ successes ≤ trials and a trial, got {successes} of {trials}")
    z = 1.959964
    p = successes / trials
    middle = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p))


def score_of(group: str, members: Sequence[Prediction], right: Sequence[bool]) -> Score:
    """Score a group that isn't empty; ``right`` says for each member whether it counts as right."""
    crystals = len({one.configuration for one in members})
    accuracy = sum(right) / len(right)
    low, high = wilson_interval(accuracy * crystals, crystals)
    return Score(group, len(members), crystals, accuracy, low, high)


def scores_by(key: GroupKey, members: Sequence[Prediction], right: Sequence[bool]) -> tuple[Score, ...]:
    """Score each group that there is, in the groups' order."""
    groups: dict[tuple[float, str], tuple[list[Prediction], list[bool]]] = {}
    for one, correct in zip(members, right, strict=True):
        place = key(one)
        if place is not None:
            those, marks = groups.setdefault(place, ([], []))
            those.append(one)
            marks.append(correct)
    return tuple(score_of(place[1], *groups[place]) for place in sorted(groups))


def by_counts(one: Prediction) -> tuple[float, str] | None:
    """Group by decade of the largest voxel."""
    if one.peak_counts <= 0.0:
        return None
    decade = floor(log10(one.peak_counts))
    return float(decade), f"1e{decade} to 1e{decade + 1}"


def by_element(one: Prediction) -> tuple[float, str] | None:
    """Group by chemical symbol."""
    return None if one.element is None else (0.0, one.element)


def by_reflection(one: Prediction) -> tuple[float, str] | None:
    """Group by the family of reflections."""
    if one.hkl is None:
        return None
    return float(sum(index * index for index in one.hkl)), family(one.hkl)


def by_visibility(one: Prediction) -> tuple[float, str] | None:
    """Group by the size of g·b: how many fringes the line's displacement moves the phase by."""
    if one.g_dot_b is None:
        return None
    size = round(abs(one.g_dot_b), 2)
    return size, f"{size:g}"


def by_line_offset(one: Prediction) -> tuple[float, str] | None:
    """Group by distance of the line from the centre."""
    return _band(one.line_offset, _LINE_OFFSET_EDGES)


def by_completeness(one: Prediction) -> tuple[float, str] | None:
    """Group by the share of the rocking curve's frames that arrived."""
    return _band(one.completeness, _COMPLETENESS_EDGES)


def by_strain(one: Prediction) -> tuple[float, str] | None:
    """Group by smooth strain, as the phase that it makes in rad."""
    return _band(one.strain_rad, _STRAIN_EDGES)


def by_source(one: Prediction) -> tuple[float, str] | None:
    """Group by where the crystal came from."""
    return None if one.source is None else (0.0, one.source)


def family(hkl: tuple[int, int, int]) -> str:
    """Name of a cubic family of reflections, e.g. '{311}'."""
    return "{" + "".join(str(index) for index in sorted((abs(i) for i in hkl), reverse=True)) + "}"


def _band(value: float | None, edges: Sequence[float]) -> tuple[float, str] | None:
    if value is None:
        return None
    size = abs(value)
    for low, high in pairwise(edges):
        if low <= size < high:
            return low, f"{low:g} to {high:g}" if high < inf else f"from {low:g}"
    return None
