"""P(space group) of one crystal, kept up to date pattern by pattern, each zone visit with one vote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.sadp.records import CrystalSoFar
from braggwatch.models.sadp.crystal import MISTRUST, next_zones
from braggwatch.models.sadp.groups import GroupTable, Zone

Place = tuple[str, int]
"""Stream and sequence number of a pattern."""

_PROPOSED = 5


@dataclass(slots=True)
class _Visit:
    total: NDArray[np.float64]
    patterns: int


class RunningCrystal:
    """The odds of one crystal; an update costs the same however many patterns came before.

    Patterns of one stated visit are averaged first: thirty frames a second of one zone are one piece of evidence, not
    thirty. A pattern without a stated visit is a visit of its own. With one pattern a visit the result is that of
    `braggwatch.models.sadp.crystal.combine`.

    Parameters
    ----------
    table
        The model's groups and zones.
    accuracy
        How often a pattern's class is told right, 0 to 1.
    """

    def __init__(self, table: GroupTable, accuracy: float) -> None:
        self._table = table
        self._accuracy = accuracy
        self._visits: dict[object, _Visit] = {}
        self._patterns: dict[Place, tuple[object, NDArray[np.float64]]] = {}
        count = len(table.groups)
        self._even = np.full(count, 1.0 / count)
        self._classes = 1 + max(member.class_index for member in table.members)
        self._logs = np.zeros(count)
        self._means = np.zeros(count)

    def put(self, place: Place, visit: str | None, groups: Mapping[str, float]) -> None:
        """Take a usable pattern's P(space group); a place that comes again (a rewound plan) replaces what it said."""
        self.withdraw(place)
        key: object = visit if visit is not None else place
        row = np.array([groups[name] for name in self._table.groups], dtype=np.float64)
        self._change(key, row, 1)
        self._patterns[place] = (key, row)

    def withdraw(self, place: Place) -> None:
        """Forget what a pattern said, if it said anything."""
        known = self._patterns.pop(place, None)
        if known is not None:
            key, row = known
            self._change(key, -row, -1)

    def so_far(self) -> CrystalSoFar:
        """Return the odds as they are now."""
        product, mean = self._odds()
        names = self._table.groups
        return CrystalSoFar(
            patterns=len(self._patterns),
            visits=len(self._visits),
            product={name: float(p) for name, p in zip(names, product, strict=True)},
            mean={name: float(p) for name, p in zip(names, mean, strict=True)},
        )

    def next_zones(self, seen: tuple[Zone, ...]) -> tuple[tuple[Zone, float], ...]:
        """Rank the zones that would tell most, best first, without those seen."""
        product, _ = self._odds()
        ranked = next_zones(
            product,
            self._table,
            self._classes,
            accuracy=self._accuracy,
            seen=seen,
        )
        return tuple((proposal.zone, float(proposal.expected_bits)) for proposal in ranked[:_PROPOSED])

    def _change(self, key: object, row: NDArray[np.float64], patterns: int) -> None:
        """Add a row to a visit, or take it away, and bring the sums over the visits up to date."""
        visit = self._visits.setdefault(key, _Visit(np.zeros(len(row)), 0))
        self._count(visit, -1.0)
        visit.total += row
        visit.patterns += patterns
        self._count(visit, 1.0)
        if not visit.patterns:
            del self._visits[key]

    def _count(self, visit: _Visit, sign: float) -> None:
        if visit.patterns:
            mean = visit.total / visit.patterns
            self._means += sign * mean
            self._logs += sign * np.log(np.maximum((1.0 - MISTRUST) * mean + MISTRUST * self._even, 1e-300))

    def _odds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not self._visits:
            return self._even, self._even
        product = np.exp(self._logs - self._logs.max())
        mean = np.maximum(self._means, 0.0)
        return product / product.sum(), mean / mean.sum()
