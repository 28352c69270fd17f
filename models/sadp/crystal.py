"""One crystal from several patterns: its space group, and which zone would tell most about it next."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.sadp.groups import GroupTable, Zone

MISTRUST = 0.02
"""Share of even odds in each factor of the product: one wrong pattern must not rule a group out for ever."""


@dataclass(frozen=True, slots=True)
class NextZone:
    """A zone to tilt to, and the bits it is expected to add."""

    zone: Zone
    expected_bits: float


@dataclass(frozen=True, slots=True)
class CrystalPosterior:
    """P(space group) of one crystal after some patterns.

    Attributes
    ----------
    groups
        Space groups.
    mean
        (G,) arithmetic mean of the patterns' P(group), the rule of Ra et al.: one pattern is as good as another.
    product
        (G,) normalised product (Bayes with even prior): a pattern that names the group decides.
    patterns
        How many there were.
    """

    groups: tuple[str, ...]
    mean: NDArray[np.float64]
    product: NDArray[np.float64]
    patterns: int

    def best(self, rule: str = "product") -> tuple[str, float]:
        """Return the most probable group and its probability by 'product' or 'mean'."""
        values = self.product if rule == "product" else self.mean
        place = int(values.argmax())
        return self.groups[place], float(values[place])


def pattern_groups(class_probabilities: NDArray[np.floating], table: GroupTable) -> NDArray[np.float64]:
    """Return P(group) of each pattern, (N, G), from its class probabilities, (N, K) or (K,)."""
    probabilities = np.atleast_2d(np.asarray(class_probabilities, dtype=np.float64))
    return probabilities @ table.group_given_class(probabilities.shape[1])


def combine(
    class_probabilities: NDArray[np.floating], table: GroupTable, mistrust: float = MISTRUST
) -> CrystalPosterior:
    """Combine patterns of one crystal by both rules.

    Parameters
    ----------
    class_probabilities
        (N, K), rows sum to one; N may be 0: then every group is as likely.
    mistrust
        See `MISTRUST`; 0: the plain product.
    """
    count = len(table.groups)
    even = np.full(count, 1.0 / count)
    if not len(class_probabilities):
        return CrystalPosterior(table.groups, even, even, 0)
    each = pattern_groups(class_probabilities, table)
    logs = np.log(np.maximum((1.0 - mistrust) * each + mistrust / count, 1e-300)).sum(axis=0)
    product = np.exp(logs - logs.max())
    return CrystalPosterior(table.groups, each.mean(axis=0), product / product.sum(), len(each))


def next_zones(
    groups: NDArray[np.floating], table: GroupTable, classes: int, *, accuracy: float = 1.0, seen: Collection[Zone] = ()
) -> tuple[NextZone, ...]:
    """Rank zones by the information that a pattern along them is expected to add, best first.

    Parameters
    ----------
    groups
        (G,) P(group) so far.
    classes
        Number of classes.
    accuracy
        How often a pattern's class is told right: a wrong one is taken to add nothing.
    seen
        Zones not to propose again.
    """
    prior = np.asarray(groups, dtype=np.float64)
    prior = prior / prior.sum()
    ranked: list[NextZone] = []
    for zone in table.zones:
        if zone in seen:
            continue
        joint = prior[:, None] * table.class_given_group(zone, classes)
        outcome = joint.sum(axis=0)
        after = float(_entropy_bits(joint.ravel()) - _entropy_bits(outcome))
        ranked.append(NextZone(zone, accuracy * max(0.0, float(_entropy_bits(prior)) - after)))
    # of equal ones the shorter direction comes first: it is easier to reach and to recognise
    return tuple(sorted(ranked, key=lambda one: (-round(one.expected_bits, 6), sum(i * i for i in one.zone))))


def _entropy_bits(probabilities: NDArray[np.float64]) -> float:
    some = probabilities[probabilities > 0]
    return float(-(some * np.log2(some)).sum())
