"""Which patterns show the plane lattice of their zone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gemmi", reason="electron diffraction needs the extra [sadp]")

from braggwatch.sim.sadp.dataset import PatternSpec, facts_of, patterns_of
from braggwatch.sim.sadp.model import SpotPattern
from braggwatch.sim.sadp.pattern_set import PatternSet, pack
from braggwatch.sim.sadp.table import structure_named
from braggwatch.sim.sadp.visibility import MIN_SPOTS, shows_lattice


def altered(patterns: PatternSet, keep: np.ndarray) -> PatternSet:
    """The one pattern, without the spots that are not kept."""
    spots, facts = patterns.pattern(0), patterns.facts(0)
    fewer = SpotPattern(spots.g_inv_A[keep], spots.intensity[keep], spots.hkl[keep])
    return pack(patterns.structures, [(fewer, facts)])


@pytest.fixture(scope="module")
def gold() -> PatternSet:
    made = structure_named("Au").build()
    spec = PatternSpec(zones=((0, 0, 1),), per_zone=1, thickness_A=(60.0, 61.0))
    return pack([facts_of(made)], list(patterns_of(made, spec)))


def test_a_net_of_spots_is_a_lattice_and_one_row_is_none(gold: PatternSet):
    hkl = gold.pattern(0).hkl
    assert shows_lattice(gold)[0]
    row = (hkl[:, 1] == 0) & (hkl[:, 2] == 0)
    assert row.sum() >= 2
    assert not shows_lattice(altered(gold, row))[0]


def test_spots_too_weak_to_see_or_of_higher_layers_do_not_count(gold: PatternSet):
    spots = gold.pattern(0)
    assert not shows_lattice(gold, visible=2.0)[0]
    few = np.argsort(-spots.intensity)[: MIN_SPOTS - 1]
    assert not shows_lattice(altered(gold, few))[0]
    lifted = SpotPattern(spots.g_inv_A, spots.intensity, spots.hkl + np.array([0, 0, 1], dtype=np.int32))
    assert not shows_lattice(pack(gold.structures, [(lifted, gold.facts(0))]))[0]


def test_an_empty_set_and_an_empty_pattern(gold: PatternSet):
    assert shows_lattice(pack(gold.structures, [])).shape == (0,)
    assert not shows_lattice(altered(gold, np.zeros(len(gold.pattern(0).hkl), dtype=bool)))[0]
