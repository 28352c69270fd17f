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
    """Choose the validation structures; the others are for training.

    Parameters
    ----------
    by
        'structure': each independently, as in Ra et al. (8.5 to 1.5), so that the same arrangement with other elements
        may be on both sides. 'prototype': all structures of a prototype are on the same side.
    share
        Share of each space group's structures; by prototype as close as whole prototypes allow.

    Returns
    -------
    frozenset
        Ids. Each space group with at least two structures (prototypes) has some on both sides.

    Raises
    ------
    InputError
        If ``share`` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise InputError(f"a share of {share:g} leaves one side empty")
    groups: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for facts in structures:
        groups[facts.space_group][facts.id if by == "structure" else facts.prototype].append(facts.id)
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for number in sorted(groups):
        units = groups[number]
        chosen |= _chosen([units[key] for key in sorted(units)], share, rng)
    return frozenset(chosen)


def _chosen(units: list[list[str]], share: float, rng: np.random.Generator) -> set[str]:
    if len(units) < 2:
        return set()
    target = share * sum(map(len, units))
    chosen: set[str] = set()
    for index in rng.permutation(len(units)):
        unit = units[int(index)]
        # units are indivisible: add one only if that brings the share closer to its target
        if abs(len(chosen) + len(unit) - target) < abs(len(chosen) - target):
            chosen |= set(unit)
    return chosen or set(min(units, key=len))
