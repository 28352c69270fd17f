"""Which Burgers directions a reflection sees: the same count for a whole family, never both of a pair told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.sim.crystallography.fcc import BURGERS, family, g_dot_b, is_allowed
from braggwatch.sim.crystallography.visibility import BURGERS_DIRECTIONS, canonical, directions, indices, visibility

index = st.integers(-9, 9)
allowed = st.tuples(index, index, index).filter(is_allowed)


def test_the_six_directions_stand_for_all_twelve_burgers_vectors():
    assert BURGERS_DIRECTIONS == ((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1))
    assert {canonical(b) for b in BURGERS} == set(BURGERS_DIRECTIONS)


@given(allowed)
def test_every_direction_is_either_seen_or_not_as_its_burgers_vectors_are(hkl):
    found = visibility(hkl)
    assert sorted((*found.seen, *found.blind)) == sorted(BURGERS_DIRECTIONS)
    for burgers in BURGERS:
        assert (canonical(burgers) in found.seen) == (g_dot_b(hkl, burgers) != 0)


@given(allowed)
def test_friedel_mates_see_the_same_and_a_family_sees_equally_many(hkl):
    found = visibility(hkl)
    h, k, l = hkl  # noqa: E741 the indices' names
    opposite = visibility((-h, -k, -l))
    assert (found.seen, found.blind) == (opposite.seen, opposite.blind)
    assert {len(visibility(member).blind) for member in family(hkl)} == {len(found.blind)}


@pytest.mark.parametrize(
    ("hkl", "blind"),
    [
        ((1, 1, 1), "[1-10] [10-1] [01-1]"),
        ((1, 1, -1), "[1-10] [101] [011]"),
        ((2, 0, 0), "[011] [01-1]"),
        ((2, 2, 0), "[1-10]"),
        ((3, 1, 1), "[01-1]"),
        ((5, 3, 1), ""),
    ],
)
def test_reflections_in_use_are_blind_as_the_textbook_has_it(hkl, blind):
    assert directions(visibility(hkl).blind) == blind


@given(allowed)
def test_the_words_name_every_direction_and_say_how_many_stay_unseen(hkl):
    found = visibility(hkl)
    for burgers in BURGERS_DIRECTIONS:
        assert f"½[{indices(burgers)}]" in found.sentence
    assert indices(hkl) in found.short
    assert (f"blind to {len(found.blind)} of 6" in found.short) == bool(found.blind)


def test_every_list_of_directions_fits_a_forty_character_string():
    assert len(directions(BURGERS_DIRECTIONS)) < 40


@given(st.tuples(index, index, index).filter(lambda hkl: not is_allowed(hkl)))
def test_a_reflection_that_fcc_lacks_is_refused_by_name(hkl):
    with pytest.raises(ValueError, match=f"fcc has no {indices(hkl)} reflection"):
        visibility(hkl)


def test_indices_from_ten_on_are_kept_apart():
    assert indices((1, -1, 1)) == "1-11"
    assert indices((11, -1, 1)) == "11 -1 1"
