"""Each lattice has the reflections, the perfect Burgers vectors and the slip systems that its textbooks give it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.sim.crystallography import fcc
from braggwatch.sim.crystallography.lattices import IDEAL_C_OVER_A, LATTICES, Lattice, SlipSystem, lattice_named
from braggwatch.sim.crystallography.miller import canonical
from braggwatch.sim.errors import InputError, UnknownNameError

index = st.integers(-9, 9)
hkls = st.tuples(index, index, index).filter(any)
lattices = st.sampled_from(sorted(LATTICES.values(), key=lambda lattice: lattice.name))

FAMILIES = {
    "fcc": {"½⟨110⟩": 6},
    "bcc": {"½⟨111⟩": 4, "⟨100⟩": 3},
    "diamond": {"½⟨110⟩": 6},
    "rocksalt": {"½⟨110⟩": 6},
    "perovskite": {"⟨100⟩": 3, "⟨110⟩": 6},
    "spinel": {"½⟨110⟩": 6},
    "hcp": {"⅓⟨11-20⟩": 3, "⟨0001⟩": 1, "⅓⟨11-23⟩": 6},
    "wurtzite": {"⅓⟨11-20⟩": 3, "⟨0001⟩": 1, "⅓⟨11-23⟩": 6},
}


def constants(lattice: Lattice) -> tuple[float, float | None]:
    return 0.4, None if lattice.system == "cubic" else 0.65


@given(lattices, hkls)
def test_a_translation_of_the_lattice_makes_gb_a_whole_number_at_every_reflection(lattice, hkl):
    if lattice.is_node(hkl):
        for burgers in lattice.burgers_directions:
            assert lattice.g_dot_b(hkl, burgers).is_integer(), (lattice.name, hkl, burgers.name)
    else:
        assert not lattice.is_allowed(hkl)


@given(lattices, hkls)
def test_gb_in_lattice_coordinates_is_the_cartesian_product(lattice, hkl):
    a, c = constants(lattice)
    g = np.asarray(hkl) @ lattice.reciprocal_basis(a, c)
    for burgers in lattice.burgers_directions:
        assert g @ lattice.burgers_vector(burgers, a, c) == pytest.approx(lattice.g_dot_b(hkl, burgers), abs=1e-9)


@given(lattices, hkls)
def test_a_whole_family_is_allowed_or_none_of_it_and_spaced_alike(lattice, hkl):
    members = lattice.family(hkl)
    assert hkl in members
    assert len({lattice.is_allowed(member) for member in members}) == 1
    assert len({lattice.family_name(member) for member in members}) == 1
    np.testing.assert_allclose(
        [lattice.d_spacing(member, *constants(lattice)) for member in members],
        lattice.d_spacing(hkl, *constants(lattice)),
    )


@given(lattices)
def test_every_slip_plane_contains_its_burgers_vector(lattice):
    a, c = constants(lattice)
    for system in lattice.slip_systems:
        normal = np.asarray(system.normal) @ lattice.reciprocal_basis(a, c)
        assert normal @ lattice.burgers_vector(system.burgers, a, c) == pytest.approx(0.0, abs=1e-12)
        assert system.burgers in lattice.burgers_directions
        assert canonical(system.normal) == system.normal
    assert len(set(lattice.slip_systems)) == len(lattice.slip_systems)
    assert {system.burgers for system in lattice.slip_systems} == set(lattice.burgers_directions)


@pytest.mark.parametrize("name", LATTICES)
def test_perfect_burgers_vectors_are_those_of_the_textbook(name):
    lattice = lattice_named(name)
    assert Counter(b.family for b in lattice.burgers_directions) == FAMILIES[name]
    a, c = constants(lattice)
    for family in FAMILIES[name]:
        lengths = [
            np.linalg.norm(lattice.burgers_vector(b, a, c)) for b in lattice.burgers_directions if b.family == family
        ]
        np.testing.assert_allclose(lengths, lengths[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fcc", {"½⟨110⟩{111}": 12}),
        ("bcc", {"½⟨111⟩{110}": 12, "½⟨111⟩{211}": 12, "⟨100⟩{110}": 6}),
        ("diamond", {"½⟨110⟩{111}": 12}),
        ("rocksalt", {"½⟨110⟩{110}": 6, "½⟨110⟩{100}": 6}),
        ("perovskite", {"⟨100⟩{110}": 6, "⟨100⟩{100}": 6, "⟨110⟩{110}": 6, "⟨110⟩{100}": 6}),
        ("spinel", {"½⟨110⟩{111}": 12, "½⟨110⟩{110}": 6}),
        (
            "hcp",
            {
                "⅓⟨11-20⟩{001}": 3,
                "⅓⟨11-20⟩{100}": 3,
                "⅓⟨11-20⟩{101}": 6,
                "⟨0001⟩{100}": 3,
                "⟨0001⟩{110}": 3,
                "⅓⟨11-23⟩{112}": 6,
                "⅓⟨11-23⟩{101}": 12,
            },
        ),
    ],
)
def test_slip_systems_are_as_many_as_the_textbook_counts(name, expected):
    lattice = lattice_named(name)
    assert Counter(s.burgers.family + lattice.family_name(s.normal) for s in lattice.slip_systems) == expected


@pytest.mark.parametrize(
    ("name", "allowed", "extinct"),
    [
        ("fcc", ["111", "200", "220", "311", "222"], ["100", "110", "210", "211"]),
        ("bcc", ["110", "200", "211", "220", "310", "222"], ["100", "111", "210", "300"]),
        ("diamond", ["111", "220", "311", "400", "331"], ["200", "222", "420", "110"]),
        ("rocksalt", ["111", "200", "220", "222"], ["100", "110"]),
        ("perovskite", ["100", "110", "111", "200", "210"], []),
        ("spinel", ["111", "220", "311", "222", "400", "331", "440"], ["200", "420", "100"]),
        ("hcp", ["100", "002", "101", "102", "110", "103", "112"], ["001", "003", "111"]),
        ("wurtzite", ["100", "002", "101", "102", "110", "103", "112", "004"], ["001", "003", "111"]),
    ],
)
def test_reflections_are_those_of_the_powder_diagram(name, allowed, extinct):
    lattice = lattice_named(name)
    found = {hkl: lattice.is_allowed((int(hkl[0]), int(hkl[1]), int(hkl[2]))) for hkl in (*allowed, *extinct)}
    assert found == dict.fromkeys(allowed, True) | dict.fromkeys(extinct, False)


def _structure_factor(sites: list[tuple[float, float, float]], hkl: tuple[int, int, int]) -> float:
    return abs(np.exp(2j * np.pi * (np.asarray(sites) @ np.asarray(hkl))).sum())


FACE = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
SITES: dict[str, list[tuple[float, float, float]]] = {
    "fcc": [(x, y, z) for x, y, z in FACE],
    "bcc": [(0, 0, 0), (0.5, 0.5, 0.5)],
    "diamond": [(x + s, y + s, z + s) for x, y, z in FACE for s in (0, 0.25)],
    "hcp": [(1 / 3, 2 / 3, 0.25), (2 / 3, 1 / 3, 0.75)],
}


@given(st.sampled_from(sorted(SITES)), hkls)
def test_what_is_extinct_is_what_the_atoms_cancel(name, hkl):
    assert lattice_named(name).is_allowed(hkl) == (_structure_factor(SITES[name], hkl) > 1e-6)


def test_why_a_reflection_is_none_is_said_with_forbidden_or_weak_where_only_the_basis_takes_it():
    assert LATTICES["bcc"].extinction((1, 1, 1)) == (
        "bcc has no 111 reflection: h + k + l must be even, and h, k, l not all zero"
    )
    assert LATTICES["diamond"].extinction((2, 2, 2)) == (
        "222 of diamond is forbidden or weak: even h, k, l need h + k + l = 4n"
    )
    assert LATTICES["hcp"].extinction((0, 0, 1)) == (
        "001 of hcp is forbidden or weak: odd l needs h - k that is no multiple of 3"
    )


def test_fcc_is_the_fcc_that_crystals_are_simulated_with():
    lattice = LATTICES["fcc"]
    assert {b.numerators for b in lattice.burgers_directions} == {canonical(b) for b in fcc.BURGERS}
    for system in lattice.slip_systems:
        assert system.normal in {canonical(n) for n in fcc.slip_planes(system.burgers.numerators)}
        assert lattice.g_dot_b((3, 1, 1), system.burgers) == fcc.g_dot_b((3, 1, 1), system.burgers.numerators)


def test_vectors_and_planes_are_named_as_they_are_written():
    assert [b.name for b in LATTICES["bcc"].burgers_directions] == [
        "½[111]", "½[11-1]", "½[1-11]", "½[1-1-1]", "[100]", "[010]", "[001]",
    ]  # fmt: skip
    assert [b.name for b in LATTICES["hcp"].burgers_directions] == [
        "⅓[2-1-10]", "⅓[1-210]", "⅓[11-20]", "[0001]",
        "⅓[2-1-13]", "⅓[2-1-1-3]", "⅓[1-213]", "⅓[1-21-3]", "⅓[11-23]", "⅓[11-2-3]",
    ]  # fmt: skip
    a = LATTICES["hcp"].burgers_directions[2]
    assert a.direction == "[11-20]"
    assert (-a).name == "⅓[-1-120]"
    assert SlipSystem(a, (0, 0, 1)).name == "⅓[11-20](0001)"
    assert SlipSystem(LATTICES["fcc"].burgers_directions[1], (1, 1, 1)).name == "½[1-10](111)"


def test_hexagonal_lattices_have_their_own_metric():
    zno = LATTICES["wurtzite"]
    assert zno.d_spacing((0, 0, 2), 3.2498, 5.2066) == pytest.approx(2.6033)
    assert zno.d_spacing((1, 0, 0), 3.2498, 5.2066) == pytest.approx(3.2498 * np.sqrt(3) / 2)
    assert zno.d_spacing((1, 0, 1), 3.2498, 5.2066) == pytest.approx(2.4759, abs=2e-4)  # JCPDS 36-1451
    assert zno.d_spacing((1, 1, 0), 3.0, 3.0 * IDEAL_C_OVER_A) == pytest.approx(1.5)


def test_lattice_constants_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="hcp is hexagonal: it needs its lattice constant c"):
        LATTICES["hcp"].direct_basis(0.3)
    with pytest.raises(InputError, match="fcc is cubic: it has no lattice constant c"):
        LATTICES["fcc"].d_spacing((1, 1, 1), 0.4, 0.4)
    with pytest.raises(InputError, match="lattice constant a must be positive"):
        LATTICES["fcc"].direct_basis(float("nan"))
    with pytest.raises(UnknownNameError, match="unknown lattice 'sc'; known are fcc, bcc"):
        lattice_named("sc")
