"""Which Burgers directions a reflection sees: the same count for a whole family, never both of a pair told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.sim.crystallography.fcc import BURGERS, family, g_dot_b, is_allowed
from braggwatch.sim.crystallography.lattices import LATTICES, LatticeName
from braggwatch.sim.crystallography.miller import Miller, canonical, indices
from braggwatch.sim.crystallography.visibility import Visibility, directions
from braggwatch.sim.crystallography.visibility import visibility as visibility_of

SIX = LATTICES["fcc"].burgers_directions
BURGERS_DIRECTIONS = tuple(b.numerators for b in SIX)


def visibility(hkl: Miller, lattice: LatticeName = "fcc") -> Visibility:
    return visibility_of(hkl, lattice)


index = st.integers(-9, 9)
allowed = st.tuples(index, index, index).filter(is_allowed)


def test_the_six_directions_stand_for_all_twelve_burgers_vectors():
    assert BURGERS_DIRECTIONS == ((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1))
    assert {canonical(b) for b in BURGERS} == set(BURGERS_DIRECTIONS)


@given(allowed)
def test_every_direction_is_either_seen_or_not_as_its_burgers_vectors_are(hkl):
    found = visibility(hkl)
    seen = [b.numerators for b in found.seen]
    assert sorted((*seen, *(b.numerators for b in found.blind))) == sorted(BURGERS_DIRECTIONS)
    for burgers in BURGERS:
        assert (canonical(burgers) in seen) == (g_dot_b(hkl, burgers) != 0)


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
    assert len(directions(SIX)) < 40


@given(st.tuples(index, index, index).filter(lambda hkl: not is_allowed(hkl)))
def test_a_reflection_that_fcc_lacks_is_refused_by_name(hkl):
    with pytest.raises(ValueError, match=f"fcc has no {indices(hkl)} reflection"):
        visibility(hkl)


def test_indices_from_ten_on_are_kept_apart():
    assert indices((1, -1, 1)) == "1-11"
    assert indices((11, -1, 1)) == "11 -1 1"


@pytest.mark.parametrize(
    ("lattice", "hkl", "short", "sentence"),
    [
        (
            "bcc",
            (2, 0, 0),
            "as far as 200 sees: blind to 2 of 7 Burgers directions",
            "at 200 a line with b = ½[111], ½[11-1], ½[1-11], ½[1-1-1] or [100] would show; "
            "this reflection can't see b = [010] or [001] (g·b = 0)",
        ),
        (
            "bcc",
            (1, 1, 0),
            "as far as 110 sees: blind to 3 of 7 Burgers directions",
            "at 110 a line with b = ½[111], ½[11-1], [100] or [010] would show; "
            "this reflection can't see b = ½[1-11], ½[1-1-1] or [001] (g·b = 0)",
        ),
        (
            "bcc",
            (4, 1, 1),
            "and 411 sees all 7 Burgers directions",
            "at 411 a line with b = ½[111], ½[11-1], ½[1-11], ½[1-1-1], [100], [010] or [001] would show: "
            "these are all seven directions of ½⟨111⟩ and ⟨100⟩",
        ),
        (
            "spinel",
            (1, 1, 1),
            "as far as 111 sees: blind to 3 of 6 Burgers directions",
            "at 111 a line with b = ½[110], ½[101] or ½[011] would show; "
            "this reflection can't see b = ½[1-10], ½[10-1] or ½[01-1] (g·b = 0)",
        ),
        (
            "wurtzite",
            (0, 0, 2),
            "as far as 002 sees: blind to 3 of 10 Burgers directions",
            "at 002 a line with b = [0001], ⅓[2-1-13], ⅓[2-1-1-3], ⅓[1-213], ⅓[1-21-3], ⅓[11-23] or ⅓[11-2-3] would "
            "show; this reflection can't see b = ⅓[2-1-10], ⅓[1-210] or ⅓[11-20] (g·b = 0)",
        ),
        (
            "perovskite",
            (1, 0, 0),
            "as far as 100 sees: blind to 4 of 9 Burgers directions",
            "at 100 a line with b = [100], [110], [1-10], [101] or [10-1] would show; "
            "this reflection can't see b = [010], [001], [011] or [01-1] (g·b = 0)",
        ),
    ],
)
def test_each_lattice_is_spoken_of_in_its_own_burgers_vectors(lattice, hkl, short, sentence):
    found = visibility(hkl, lattice)
    assert found.short == short
    assert found.sentence == sentence
    assert ("½⟨110⟩" in found.sentence) is False


def test_a_reflection_that_only_the_basis_takes_away_is_refused_as_forbidden_or_weak():
    with pytest.raises(ValueError, match="222 of diamond is forbidden or weak"):
        visibility((2, 2, 2), "diamond")
