"""A bundle is asked whether it was trained for a crystal: by lattice and family, never by a guess."""

from __future__ import annotations

import pytest

from braggwatch.models.bundling.manifest import ValidDomain
from braggwatch.models.cxdp.training_domain import trained_for, trained_lattices
from braggwatch.sim.crystallography.stated_lattice import stated_lattice
from support.trained_manifest import FCC_METALS, manifest_for

OLD = manifest_for(**FCC_METALS)
MIXED = manifest_for(lattices=("fcc", "bcc"), reflections=("{111} of fcc", "{200}", "{110} of bcc"))


def test_bundles_that_state_elements_alone_were_trained_for_the_lattices_of_these():
    assert trained_lattices(ValidDomain(elements=("Ag", "Al", "Au", "Pt"))) == ("fcc",)
    assert trained_lattices(ValidDomain(elements=("Au", "W"))) == ("bcc", "fcc")
    assert trained_lattices(ValidDomain(elements=("Au",), lattices=("spinel",))) == ("spinel",)
    assert trained_lattices(ValidDomain(elements=("Au", "Xx"))) == ()
    assert trained_lattices(ValidDomain()) == ()


@pytest.mark.parametrize(
    ("manifest", "crystal", "hkl", "statement"),
    [
        (OLD, {"material": "Au"}, (1, -1, 1), "cxdp-test/1.0.0 was trained for {111} of fcc"),
        (OLD, {"material": "Ni"}, (3, 1, -1), "cxdp-test/1.0.0 was trained for {311} of fcc"),
        (MIXED, {"material": "W"}, (0, 1, 1), "cxdp-test/1.0.0 was trained for {110} of bcc"),
        (MIXED, {"material": "W"}, (2, 0, 0), "cxdp-test/1.0.0 was trained for {200} of bcc"),
    ],
)
def test_a_crystal_within_what_was_trained_is_said_to_be(manifest, crystal, hkl, statement):
    found = trained_for(manifest, stated_lattice(**crystal), hkl)
    assert (found.answer, found.statement) == ("yes", statement)


@pytest.mark.parametrize(
    ("manifest", "crystal", "hkl", "statement"),
    [
        (OLD, {"material": "W"}, (1, 1, 0), "the crystal is bcc, cxdp-test/1.0.0 was trained for fcc alone"),
        (OLD, {"material": "ZnO"}, None, "the crystal is wurtzite, cxdp-test/1.0.0 was trained for fcc alone"),
        (
            OLD,
            {"space_group": 227},
            (1, 1, 1),
            "the crystal is diamond or spinel, cxdp-test/1.0.0 was trained for fcc alone",
        ),
        (
            OLD,
            {"material": "Au"},
            (2, 2, 2),
            "the reflection 222 is {222} of fcc, cxdp-test/1.0.0 was trained for {111}, {200}, {220} and {311} alone",
        ),
        (
            MIXED,
            {"lattice": "bcc"},
            (2, 1, 1),
            "the reflection 211 is {211} of bcc, cxdp-test/1.0.0 was trained for {111} of fcc, {200} and {110} of bcc "
            "alone",
        ),
    ],
)
def test_a_crystal_outside_is_named_with_what_was_trained(manifest, crystal, hkl, statement):
    found = trained_for(manifest, stated_lattice(**crystal), hkl)
    assert (found.answer, found.statement) == ("no", statement)


@pytest.mark.parametrize(
    ("manifest", "crystal", "hkl", "why"),
    [
        (OLD, {}, (1, 1, 1), "neither lattice, space_group nor material is stated"),
        (OLD, {"material": "Au"}, None, "the reflection isn't known"),
        (OLD, {"space_group": 225}, (1, 1, 1), "the crystal is fcc or rocksalt, cxdp-test/1.0.0 was trained for fcc"),
        (manifest_for(), {"material": "W"}, (1, 1, 0), "cxdp-test/1.0.0 doesn't say for which lattices"),
        (manifest_for(lattices=("bcc",)), {"material": "W"}, (1, 1, 0), "doesn't say for which reflections"),
    ],
)
def test_where_something_is_not_known_so_is_the_answer(manifest, crystal, hkl, why):
    found = trained_for(manifest, stated_lattice(**crystal), hkl)
    assert found.answer == "unknown"
    assert found.statement.startswith("not known whether cxdp-test/1.0.0 was trained for this: ")
    assert why in found.statement
