"""What was said of a group of patterns: how often it was right, how often a user was told, how often told wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from braggwatch.models.cxdp.groups import GroupKey
from braggwatch.models.cxdp.predictions import Prediction
from braggwatch.models.cxdp.scores import Score, score_of
from braggwatch.models.cxdp.unclassed import PERFECT
from braggwatch.models.uncertainty.calibration import expected_calibration_error

CALIBRATION_BINS = 15
SURE = 0.9
"""A wrong class that is named with at least this probability counts as confidently wrong."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of some patterns, with a 95 % Wilson interval whose sample size is the number of their crystals."""

    patterns: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class GroupScore(Score):
    """Accuracy of the most probable class, and what a user was told.

    Attributes
    ----------
    named
        Share that was given a class, of all patterns of the group: those that no network saw, too. None in
        evaluations from before this was counted, as everything below.
    named_right
        Share of the named that are right; None where none was named.
    confidently_wrong
        Share of all patterns of the group that were given a wrong class with a probability of `SURE` or more.
    wrong_as
        Most probable classes of the patterns where that one is wrong, with their numbers.
    calibration_error
        Expected calibration error over 15 bins; in a small group chance alone makes it large.
    """

    named: Share | None = None
    named_right: Share | None = None
    confidently_wrong: Share | None = None
    wrong_as: dict[str, int] = field(default_factory=dict[str, int])
    calibration_error: float | None = None

    @property
    def patterns(self) -> str:
        """Their number; with those that no network saw, where there are any: ``40 of 42``."""
        everything = self.samples if self.named is None else self.named.patterns
        return str(self.samples) if everything == self.samples else f"{self.samples} of {everything}"

    @property
    def wrong_as_perfect(self) -> str:
        """How many of the wrong ones are called perfect: ``3 of 5``."""
        return f"{self.wrong_as.get(PERFECT, 0)} of {sum(self.wrong_as.values())}"


def is_right(one: Prediction, classes: Sequence[str]) -> bool:
    """Whether the most probable class is the true one; False where no network ran."""
    return most_probable(one, classes) == one.label


def most_probable(one: Prediction, classes: Sequence[str]) -> str | None:
    """Return the most probable class; None where no network ran."""
    if one.probabilities is None:
        return None
    return classes[max(range(len(classes)), key=one.probabilities.__getitem__)]


def confidence_of(one: Prediction) -> float:
    """Return the largest probability; 0 where no network ran."""
    return 0.0 if one.probabilities is None else max(one.probabilities)


def group_scores(key: GroupKey, predictions: Sequence[Prediction], classes: Sequence[str]) -> tuple[GroupScore, ...]:
    """Score each group in which a network saw a pattern, in the groups' order.

    Parameters
    ----------
    predictions
        Of labelled patterns, those that no network saw included.
    """
    groups: dict[tuple[float, str], list[Prediction]] = {}
    for one in predictions:
        place = key(one)
        if place is not None:
            groups.setdefault(place, []).append(one)
    return tuple(
        group_score(place[1], groups[place], classes)
        for place in sorted(groups)
        if any(one.probabilities is not None for one in groups[place])
    )


def group_score(group: str, members: Sequence[Prediction], classes: Sequence[str]) -> GroupScore:
    """Score one group.

    Raises
    ------
    ValueError
        If no network saw any of its patterns.
    """
    judged = [one for one in members if one.probabilities is not None]
    if not judged:
        raise ValueError(f"no network saw any pattern of the group {group!r}")
    right = [is_right(one, classes) for one in judged]
    score = score_of(group, judged, right)
    named = [one for one in members if one.named]
    wrong = Counter(most_probable(one, classes) for one, mark in zip(judged, right, strict=True) if not mark)
    sure = [one.named and not is_right(one, classes) and confidence_of(one) >= SURE for one in members]
    probabilities = np.array([one.probabilities for one in judged])
    truth = [classes.index(one.label) for one in judged]
    return GroupScore(
        group=group,
        samples=score.samples,
        configurations=score.configurations,
        accuracy=score.accuracy,
        low=score.low,
        high=score.high,
        named=_share(members, [one.named for one in members]),
        named_right=_share(named, [is_right(one, classes) for one in named]) if named else None,
        confidently_wrong=_share(members, sure),
        wrong_as={name: wrong[name] for name in classes if wrong[name]},
        calibration_error=expected_calibration_error(probabilities, truth, CALIBRATION_BINS),
    )


def _share(members: Sequence[Prediction], marks: Sequence[bool]) -> Share:
    score = score_of("", members, marks)
    return Share(score.samples, score.accuracy, score.low, score.high)
