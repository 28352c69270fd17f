"""Crystals whose defect is none of the classes, e.g. lines between screw and edge: neither right nor wrong as named.

What can be said of them is whether a defect was seen, and as which class it came out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from braggwatch.models.cxdp.predictions import Prediction
from braggwatch.models.cxdp.scores import Score, score_of
from braggwatch.models.verdict import Outcome

UNCLASSED_LABELS = ("mixed",)
"""Labels of good crystals that bundles may have no class for."""
PERFECT = "perfect"


@dataclass(frozen=True, slots=True)
class UnclassedScore:
    """What was said of one kind of crystal without a class.

    Attributes
    ----------
    kind
        Label, with the line's character where it is known, e.g. 'mixed, 30°'.
    samples, configurations
        Patterns, and different crystals.
    said
        Most probable class: patterns; of those that a network saw.
    defect
        Share of these whose most probable class is a defect; None where there is no class 'perfect', or no such
        pattern.
    named
        Class that was told to a user: patterns.
    set_aside
        Patterns that got no class, by whatever check.
    """

    kind: str
    samples: int
    configurations: int
    said: dict[str, int]
    defect: Score | None
    named: dict[str, int]
    set_aside: int


def is_unclassed(label: str, classes: Sequence[str]) -> bool:
    """Whether a label is of good crystals that these classes leave out."""
    return label in UNCLASSED_LABELS and label not in classes


def score_unclassed(predictions: Sequence[Prediction], classes: Sequence[str]) -> tuple[UnclassedScore, ...]:
    """Score those predictions, of whatever labels, that are of crystals without a class; by label and character."""
    kinds: dict[str, list[Prediction]] = {}
    for one in predictions:
        if is_unclassed(one.label, classes):
            kinds.setdefault(_kind(one), []).append(one)
    return tuple(_score(kind, kinds[kind], classes) for kind in sorted(kinds))


def _kind(one: Prediction) -> str:
    return one.label if one.character_deg is None else f"{one.label}, {one.character_deg:g}°"


def _score(kind: str, members: Sequence[Prediction], classes: Sequence[str]) -> UnclassedScore:
    judged: list[Prediction] = []
    said: list[str] = []
    named: Counter[str] = Counter()
    for one in members:
        if one.probabilities is None:
            continue
        best = classes[max(range(len(classes)), key=one.probabilities.__getitem__)]
        judged.append(one)
        said.append(best)
        if one.outcome is Outcome.CLASSIFIED:
            named[best] += 1
    return UnclassedScore(
        kind=kind,
        samples=len(members),
        configurations=len({one.configuration for one in members}),
        said=_in_order(Counter(said), classes),
        defect=score_of("a defect", judged, [best != PERFECT for best in said])
        if judged and PERFECT in classes
        else None,
        named=_in_order(named, classes),
        set_aside=len(members) - named.total(),
    )


def _in_order(counts: Counter[str], classes: Sequence[str]) -> dict[str, int]:
    return {name: counts[name] for name in classes if counts[name]}
