"""Accuracy of groups of patterns, with intervals that count crystals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from braggwatch.models.cxdp.groups import GroupKey
from braggwatch.models.cxdp.predictions import Prediction


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
