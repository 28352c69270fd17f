"""Space groups from several patterns of a crystal, and the zone to visit next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("gemmi", reason="needs the sadp extra")

from braggwatch.models.sadp.crystal import combine, next_zones
from braggwatch.models.sadp.groups import GroupTable, ZoneMember, computed_table

TABLE, CLASSES = computed_table()


def class_of(group: str, zone: tuple[int, int, int]) -> int:
    return next(m.class_index for m in TABLE.members if m.group == group and m.zone == zone)


def sure_of(*classes: int) -> np.ndarray:
    return np.eye(len(CLASSES))[list(classes)]


def test_the_mean_is_the_published_rule() -> None:
    # Ra et al. 2021: [001] alone leaves four groups at 25 %; with [103] of 221, 62.5 and three times 12.5 %
    alone = combine(sure_of(class_of("221", (0, 0, 1))), TABLE)
    assert sorted(alone.mean) == pytest.approx([0, 0.25, 0.25, 0.25, 0.25])
    both = combine(sure_of(class_of("221", (0, 0, 1)), class_of("221", (0, 1, 3))), TABLE)
    assert sorted(both.mean) == pytest.approx([0, 0.125, 0.125, 0.125, 0.625])
    assert both.best("mean") == ("221", pytest.approx(0.625))


def test_the_product_decides_where_one_zone_names_the_group() -> None:
    patterns = sure_of(class_of("221", (0, 0, 1)), class_of("221", (0, 1, 3)))
    assert max(combine(patterns, TABLE, mistrust=0.0).product) == pytest.approx(1.0)
    assert combine(patterns, TABLE).best() == ("221", pytest.approx(0.98, abs=0.02))


def test_no_pattern_leaves_every_group() -> None:
    nothing = combine(np.zeros((0, len(CLASSES))), TABLE)
    assert nothing.patterns == 0
    assert nothing.product == pytest.approx(np.full(5, 0.2))


@given(st.lists(st.integers(0, len(CLASSES) - 1), min_size=1, max_size=16))
@settings(deadline=None)
def test_posteriors_are_probabilities_in_any_order(classes: list[int]) -> None:
    one, two = combine(sure_of(*classes), TABLE), combine(sure_of(*classes[::-1]), TABLE)
    for values in (one.mean, one.product):
        assert values.sum() == pytest.approx(1.0)
        assert values.min() >= 0
    np.testing.assert_allclose(one.product, two.product)


def test_after_001_the_next_zone_tells_the_groups_apart() -> None:
    after = combine(sure_of(class_of("225", (0, 0, 1))), TABLE)
    ranked = next_zones(after.product, TABLE, len(CLASSES), seen=[(0, 0, 1)])
    assert (0, 0, 1) not in [one.zone for one in ranked]
    assert ranked[0].expected_bits == pytest.approx(max(one.expected_bits for one in ranked))
    # four groups are left: two bits at most, and the paper's [103] gets them all
    assert ranked[0].expected_bits > 1.8
    (third,) = [one for one in ranked if one.zone == (0, 1, 3)]
    assert third.expected_bits > 1.8
    # along [001] itself nothing more is to be learnt about those four
    (same,) = [one for one in next_zones(after.product, TABLE, len(CLASSES)) if one.zone == (0, 0, 1)]
    assert same.expected_bits < 0.2


def test_a_known_crystal_needs_no_zone() -> None:
    ranked = next_zones(np.array([0, 0, 1.0, 0, 0]), TABLE, len(CLASSES))
    assert max(one.expected_bits for one in ranked) == pytest.approx(0.0, abs=1e-9)


def test_a_table_names_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match="229"):
        GroupTable(groups=("225",), members=(ZoneMember(class_index=0, group="229", zone=(0, 0, 1)),))
    small = GroupTable(groups=("225", "229"), members=(ZoneMember(class_index=0, group="229", zone=(0, 0, 1)),))
    with pytest.raises(ValueError, match="every group"):
        small.class_given_group((0, 0, 1), 1)
    assert GroupTable.model_validate_json(TABLE.model_dump_json()) == TABLE
