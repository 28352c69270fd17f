"""Crystals hold what was put in, and reflections see what they should."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from braggwatch.sim.crystallography.fcc import family
from braggwatch.sim.cxdp.crystal import (
    BURGERS,
    METALS,
    NO_STRAIN,
    CrystalSpec,
    LineSpec,
    build_crystal,
    form_factor,
    g_dot_b,
    random_crystal_spec,
    slip_planes,
)
from braggwatch.sim.cxdp.crystal.dislocations import displacement, line_frame
from support.shapes import free_shape

FREE = free_shape(1.09, 1.18)
lines = st.builds(
    LineSpec,
    burgers=st.sampled_from(BURGERS),
    plane=st.sampled_from((0, 1)),
    character_deg=st.sampled_from((0.0, 30.0, 60.0, 90.0)),
    offset=st.just((0.0, 0.0)),
)


def spec(**changes: object) -> CrystalSpec:
    base = CrystalSpec(
        element="Au",
        size_nm=300,
        points_across=16,
        shape=FREE,
        line=None,
        strain=NO_STRAIN,
        hkl=(1, 1, 1),
        seed=3,
    )
    return base.model_copy(update=changes)


def test_each_burgers_vector_lies_in_two_slip_planes() -> None:
    for burgers in BURGERS:
        first, second = slip_planes(burgers)
        assert first != second
        assert np.dot(first, burgers) == np.dot(second, burgers) == 0


@given(lines)
def test_line_frame_is_right_handed_and_has_the_stated_character(line: LineSpec) -> None:
    frame = line_frame(line)
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame) == pytest.approx(1.0)
    b = np.asarray(line.burgers) / np.linalg.norm(line.burgers)
    assert abs(frame[2] @ b) == pytest.approx(np.cos(np.deg2rad(line.character_deg)), abs=1e-12)
    assert frame[1] @ b == pytest.approx(0.0, abs=1e-12)


@given(lines)
def test_a_closed_circuit_around_the_line_fails_to_close_by_one_burgers_vector(line: LineSpec) -> None:
    a = 0.4
    angles = np.linspace(-np.pi + 1e-9, np.pi - 1e-9, 1001)
    frame = line_frame(line)
    circuit = 10.0 * (np.outer(np.cos(angles), frame[0]) + np.outer(np.sin(angles), frame[1]))
    u = displacement(line, circuit, np.zeros(3), a, 0.3)
    np.testing.assert_allclose(u[-1] - u[0], np.asarray(line.burgers) * a / 2, atol=1e-6)
    assert max(np.linalg.norm(second - first) for first, second in pairwise(u)) < 0.01


def test_half_of_the_burgers_vectors_are_invisible_in_111() -> None:
    seen = [b for b in BURGERS if g_dot_b((1, 1, 1), b) != 0]
    assert len(seen) == 6
    assert g_dot_b((1, 1, 1), (1, -1, 0)) == 0
    assert abs(g_dot_b((2, 2, 0), (1, 1, 0))) == 2


def test_an_invisible_line_leaves_no_phase_and_a_visible_screw_line_leaves_a_vortex() -> None:
    line = LineSpec(burgers=(1, -1, 0), plane=0, character_deg=0.0, offset=(0.0, 0.0))
    hidden = build_crystal(spec(line=line))
    assert not hidden.visible
    np.testing.assert_allclose(hidden.phase_turns, 0.0, atol=1e-12)
    shown = build_crystal(spec(line=line, hkl=(2, 0, 0)))
    assert shown.visible
    assert abs(shown.g_dot_b) == 1
    assert np.ptp(shown.phase_turns) == pytest.approx(1.0, abs=0.01)


def test_volume_and_centre_are_as_stated() -> None:
    crystal = build_crystal(spec(points_across=24))
    # an fcc lattice of 24 cells across a unit volume has 4 * 24^3 points
    assert len(crystal.positions_nm) == pytest.approx(4 * 24**3, rel=0.02)
    np.testing.assert_allclose(crystal.positions_nm.mean(axis=0), 0.0, atol=1e-9)


def test_winterbottom_cut_takes_one_111_side_off() -> None:
    normal = (1, 1, 1)
    cut = build_crystal(spec(shape=FREE.model_copy(update={"interface": normal, "height_fraction": 0.7})))
    along = cut.positions_nm @ (np.asarray(normal) / np.sqrt(3))
    across = cut.positions_nm @ (np.asarray((1, -1, 0)) / np.sqrt(2))
    assert np.ptp(along) / np.ptp(across) < 0.75


def test_the_same_seed_gives_the_same_crystal() -> None:
    drawn = random_crystal_spec(np.random.default_rng(5), "edge")
    assert drawn == random_crystal_spec(np.random.default_rng(5), "edge")
    np.testing.assert_array_equal(build_crystal(drawn).phase_turns, build_crystal(drawn).phase_turns)


@given(st.integers(0, 10_000), st.sampled_from(("perfect", "screw", "edge", "mixed")))
def test_drawn_crystals_are_visible_and_labelled(seed: int, label: str) -> None:
    drawn = random_crystal_spec(np.random.default_rng(seed), label)  # type: ignore[arg-type]
    if drawn.line is None:
        assert label == "perfect"
    else:
        assert drawn.line.character == label
        assert g_dot_b(drawn.hkl, drawn.line.burgers) != 0


def test_a_forbidden_reflection_is_refused_with_the_rule() -> None:
    fields = spec().model_dump() | {"hkl": (1, 0, 0)}
    with pytest.raises(ValidationError, match="all even or all odd"):
        CrystalSpec.model_validate(fields)


def test_form_factors_start_at_the_atomic_number_and_match_the_reference_library() -> None:
    import xrayutilities as xu

    for symbol, z in (("Al", 13), ("Ag", 47), ("Au", 79), ("Pt", 78)):
        q = np.linspace(0.0, 12.0, 25)
        ours = form_factor(METALS[symbol], q)
        assert ours[0] == pytest.approx(z, abs=0.1)
        theirs = getattr(xu.materials.elements, symbol).f0(q * 2 * np.pi / 10)
        np.testing.assert_allclose(ours, theirs, rtol=5e-3)


def test_families_have_their_multiplicity() -> None:
    assert [len(family(f)) for f in ((1, 1, 1), (1, 0, 0), (1, 1, 0), (3, 1, 1))] == [8, 6, 12, 24]
