"""Splits of the structures into training and validation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from braggwatch.sim.errors import InputError
from braggwatch.sim.sadp.pattern_set import StructureFacts
from braggwatch.sim.sadp.table import TabulatedStructure

SplitWord = Literal["structure", "prototype"]


def validation_structures(
    structures: Sequence[StructureFacts | TabulatedStructure],
    by: SplitWord = "structure",
    share: float = 0.15,
    seed: int = 1,
) -> frozenset[str]:
    """Choose the structures to validate on; the others train.

    Parameters
    ----------
    by
        'structure': each on its own, as in Ra et al. (8.5 to 1.5), so that the same arrangement with other elements
        may be on both sides. 'prototype': all structures of a prototype are on one side.
    share
        Of each space group's structures; by prototype as near to it as whole prototypes allow.

    Returns
    -------
    frozenset
        Ids. Each space group has some on both sides where it has two structures (prototypes) or more.

    Raises
    ------
    InputError
        If ``share`` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise InputError(f"a share of {share:g} leaves one side empty")
    groups: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in structures:
        groups[one.space_group][one.id if by == "structure" else one.prototype].append(one.id)
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for number in sorted(groups):
        units = groups[number]
        chosen |= _chosen([units[key] for key in sorted(units)], share, rng)
    return frozenset(chosen)


def _chosen(units: list[list[str]], share: float, rng: np.random.Generator) -> set[str]:
    if len(units) < 2:
        return set()
    wanted = share * sum(map(len, units))
    taken: set[str] = set()
    for place in rng.permutation(len(units)):
        unit = units[int(place)]
        # whole units: one that overshoots by more than is still lacking would make the share worse
        if abs(len(taken) + len(unit) - wanted) < abs(len(taken) - wanted):
            taken |= set(unit)
    return taken or set(min(units, key=len))
