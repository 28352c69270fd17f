"""Classes of patterns that look alike, and the paper's statements about them (Ra et al. 2021)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

gemmi = pytest.importorskip("gemmi", reason="electron diffraction needs the extra [sadp]")

from braggwatch.sim.sadp.labels import (  # noqa: E402 - after the skip
    EFFECTIVE_GROUPS,
    allowed,
    canonical,
    class_of,
    classes,
    effective_group,
    mesh,
    space_group_given_class,
    zero_layer,
)
from braggwatch.sim.sadp.model import SPACE_GROUPS, ZONES  # noqa: E402
from braggwatch.sim.sadp.table import SETTINGS, structure_named, structures  # noqa: E402


def test_seven_groups_and_sixteen_zones_make_fifty_six_classes():
    members = [member for one in classes() for member in one.members]
    assert len(members) == len(set(members)) == 7 * 16 == len(EFFECTIVE_GROUPS) * len(ZONES)
    assert len(classes()) == 56
    assert len({one.name for one in classes()}) == 56
    assert [one.number for one in classes()] == list(range(56))


def test_001_merges_four_space_groups_and_103_separates_all_five():
    def numbers(zone: tuple[int, int, int]) -> dict[int, set[int]]:
        return {g: {class_of(e, zone) for e in EFFECTIVE_GROUPS if e.startswith(str(g))} for g in SPACE_GROUPS}

    along_001 = numbers((0, 0, 1))
    assert along_001[221] == along_001[225] == along_001[227] == along_001[229] != along_001[213]
    along_103 = numbers((0, 1, 3))
    assert all(not along_103[a] & along_103[b] for a in SPACE_GROUPS for b in SPACE_GROUPS if a < b)


def test_papers_example_of_two_patterns():
    table = space_group_given_class()
    first, second = table[class_of("221", (0, 0, 1))], table[class_of("221", (0, 1, 3))]
    assert first[1:] == pytest.approx([0.25] * 4)
    assert ((first + second) / 2)[1:] == pytest.approx([0.625, 0.125, 0.125, 0.125])
    product = first * second
    assert (product / product.sum())[1:] == pytest.approx([1, 0, 0, 0])


@pytest.mark.parametrize("group", ["213", "221", "225", "229", "227c"])
def test_absences_are_those_of_the_space_group(group: str):
    operations = gemmi.find_spacegroup_by_name(SETTINGS[int(group[:3])]).operations()
    axis = np.arange(-6, 7, dtype=np.int32)
    hkl = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    expected = np.array([not operations.is_systematically_absent([int(i) for i in h]) for h in hkl])
    assert (allowed(group, hkl) == expected).all()


def test_effective_groups_of_227_by_their_structure_factors():
    assert effective_group(structure_named("Si").build()) == "227a"
    laves = next(row for row in structures() if row.prototype == "227:a_d")
    assert effective_group(laves.build()) == "227b"
    assert {effective_group(row.build()) for row in structures() if row.space_group == 227} == {"227a", "227b", "227c"}


@given(
    group=st.sampled_from(EFFECTIVE_GROUPS),
    zone=st.sampled_from(ZONES),
    turn_deg=st.floats(0, 360),
    mirrored=st.booleans(),
)
def test_class_does_not_depend_on_rotation_or_mirror(
    group: str, zone: tuple[int, int, int], turn_deg: float, mirrored: bool
):
    points = zero_layer(group, zone)
    turn = np.deg2rad(turn_deg)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned = (points * np.array([-1.0 if mirrored else 1.0, 1.0])) @ matrix.T
    there, here = (np.frombuffer(canonical(p)).reshape(-1, 2) for p in (points, turned))
    assert here.shape == there.shape
    # rounding may fall either way: the sets agree to the rounding, whatever their order
    apart = np.linalg.norm(here[:, None] - there[None], axis=-1)
    assert max(apart.min(axis=0).max(), apart.min(axis=1).max()) < 3e-4


@pytest.mark.parametrize(
    ("group", "zone", "category", "angle"),
    [
        ("225", (0, 0, 1), "A", 45.0),
        ("225", (1, 1, 1), "C", 60.0),
        ("229", (0, 1, 1), "B", 54.7),
        ("225", (0, 1, 1), "D", 70.5),
    ],
)
def test_category_and_angle_of_known_patterns(group: str, zone: tuple[int, int, int], category: str, angle: float):
    found, angles = mesh(zero_layer(group, zone))
    assert found == category
    assert angles[0] == pytest.approx(angle, abs=0.05)


def test_unknown_group_or_zone_is_refused():
    with pytest.raises(ValueError, match="no effective group"):
        allowed("230", np.zeros((1, 3), np.int32))
    with pytest.raises(ValueError, match="no class"):
        class_of("225", (5, 5, 7))
