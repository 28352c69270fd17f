"""A lattice is known only where it is stated, or a space group or material tells it; it is never assumed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.sim.crystallography.lattices import LATTICES
from braggwatch.sim.crystallography.stated_lattice import MATERIALS, contradiction, stated_lattice


@pytest.mark.parametrize(
    ("stated", "names", "origin"),
    [
        ({"lattice": "bcc", "space_group": 229, "material": "Au"}, ("bcc",), "lattice"),
        ({"space_group": 229, "material": "Au"}, ("bcc",), "space_group"),
        ({"space_group": "Im-3m"}, ("bcc",), "space_group"),
        ({"space_group": "F d -3 m :2"}, ("diamond", "spinel"), "space_group"),
        ({"space_group": "P6_3mc"}, ("wurtzite",), "space_group"),
        ({"space_group": "194"}, ("hcp",), "space_group"),
        ({"space_group": 225}, ("fcc", "rocksalt"), "space_group"),
        ({"space_group": 225, "material": "MgO"}, ("rocksalt",), "space_group"),
        ({"space_group": 221, "material": "SrTiO3"}, ("perovskite",), "space_group"),
        ({"material": "W"}, ("bcc",), "material"),
        ({"material": " ZnO "}, ("wurtzite",), "material"),
        ({"material": "LNMO"}, ("spinel",), "material"),
    ],
)
def test_the_lattice_comes_from_the_first_that_tells_it(stated, names, origin):
    found = stated_lattice(**stated)
    assert (found.names, found.origin, found.problem) == (names, origin, None)


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({}, "neither lattice, space_group nor material is stated"),
        ({"material": "unobtainium"}, "no structure is tabulated for material 'unobtainium'"),
        ({"space_group": 62, "material": "Au"}, "space group 62 doesn't tell it"),
        ({"space_group": "Pnma"}, "space group Pnma doesn't tell it"),
        ({"space_group": 221}, "space group 221 may be a perovskite, CsCl or a simple cubic crystal"),
    ],
)
def test_what_tells_no_lattice_says_so_and_what_to_do(stated, why):
    found = stated_lattice(**stated)
    assert found.names == ()
    assert found.problem is not None
    assert found.problem.startswith(f"the crystal's lattice isn't known, as {why}")
    assert found.problem.endswith("state lattice in the preset")


@given(st.none() | st.text() | st.integers(), st.none() | st.text() | st.sampled_from(sorted(MATERIALS)))
def test_whatever_is_stated_the_lattices_it_may_be_have_the_same_burgers_vectors(space_group, material):
    found = stated_lattice(None, space_group, material)
    assert bool(found.names) == (found.problem is None)
    assert len({LATTICES[name].burgers_directions for name in found.names}) <= 1


def test_a_lattice_that_its_space_group_lacks_is_noticed():
    assert contradiction("fcc", 229) == "lattice 'fcc' contradicts space group 229 (Im-3m), which is bcc"
    assert contradiction("fcc", "Fm-3m") is None
    assert contradiction("fcc", 221) is None
    assert contradiction("fcc", 216) is None
