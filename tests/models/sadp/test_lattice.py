"""Whatever turns, mirrors or scales a pattern, the network sees the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from braggwatch.models.sadp.lattice_map import CHANNELS, FRAMES, MAP_SHAPE, REACH, SINGLE_SHAPE, Field, lattice_maps
from braggwatch.models.sadp.lattice_search import find_lattices
from braggwatch.models.sadp.plane_lattice import PlaneLattice, equivalent_bases
from support.lattices import find_lattice

SIDE = 120.0
FIELD = Field(-SIDE, SIDE, -SIDE, SIDE)


def lattice_spots(ratio: float, angle_deg: float, shortest: float = 25.0) -> tuple[np.ndarray, np.ndarray]:
    """Spots in a disc, (N, 2), with intensities that differ from index to index but not within Friedel pairs."""
    turn = np.radians(angle_deg)
    cell = shortest * np.array([[1.0, 0.0], [ratio * np.cos(turn), ratio * np.sin(turn)]])
    grid = np.stack(np.meshgrid(np.arange(-12, 13), np.arange(-12, 13)), axis=-1).reshape(-1, 2)
    points = grid @ cell
    length = np.hypot(*points.T)
    keep = (length > 0) & (length < SIDE - 5)
    h, k = np.abs(grid[keep].T)
    strength = np.exp(-length[keep] / 60.0) * (1.0 + 0.5 * np.cos(1.0 + 2 * h + 3 * k + (grid[keep].prod(axis=1) > 0)))
    return points[keep], strength


def turned(points: np.ndarray, angle_deg: float, mirror: bool) -> np.ndarray:
    turn = np.radians(angle_deg)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (points * [-1.0 if mirror else 1.0, 1.0]) @ matrix.T


def found(points: np.ndarray, tolerance: float = 0.8) -> PlaneLattice:
    lattice = find_lattice(points, tolerance)
    assert lattice is not None
    return lattice


@given(
    ratio=st.floats(1.0, 2.2),
    angle=st.floats(60.0, 90.0),
    turn=st.floats(0.0, 360.0),
    mirror=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_the_cell_is_found_with_noise_extra_and_missing_spots(
    ratio: float, angle: float, turn: float, mirror: bool, seed: int
) -> None:
    # a reduced cell has no shorter diagonal
    assume(np.cos(np.radians(angle)) * ratio <= 0.5)
    rng = np.random.default_rng(seed)
    points, _ = lattice_spots(ratio, angle)
    points = turned(points, turn, mirror)
    points = points[rng.random(len(points)) > 0.2] if len(points) > 20 else points
    points = points + rng.normal(scale=0.25, size=points.shape)
    extra = rng.uniform(-100, 100, size=(max(1, len(points) // 15), 2))
    lattice = found(np.concatenate([points, extra[np.hypot(*extra.T) > 15]]))
    assert lattice.ratio == pytest.approx(ratio, rel=0.03)
    assert lattice.angle_deg == pytest.approx(angle, abs=2.0)
    assert lattice.explained[: len(points)].mean() > 0.9
    assert lattice.residual < 0.8


@pytest.mark.parametrize(
    ("ratio", "angle", "bases"), [(1.0, 90.0, 4), (1.0, 60.0, 6), (1.5, 90.0, 2), (1.0, 75.0, 2), (1.4, 80.0, 1)]
)
def test_each_plane_lattice_has_as_many_bases_as_its_symmetry(ratio: float, angle: float, bases: int) -> None:
    lattice = found(lattice_spots(ratio, angle)[0])
    assert len(equivalent_bases(lattice.cell, 0.03, 0.035)) == bases


@pytest.mark.parametrize(("ratio", "angle"), [(1.0, 90.0), (1.0, 60.0), (1.5, 90.0), (1.0, 75.0), (1.4, 80.0)])
@pytest.mark.parametrize(("turn", "mirror", "scale"), [(17.0, False, 1.0), (140.0, True, 0.6), (301.0, True, 1.7)])
def test_turn_mirror_and_scale_leave_the_set_of_maps(
    ratio: float, angle: float, turn: float, mirror: bool, scale: float
) -> None:
    points, strength = lattice_spots(ratio, angle)
    wide = Field(-1e4, 1e4, -1e4, 1e4)
    expected = lattice_maps([found(points)], points, strength, wide, 12)
    moved = scale * turned(points, turn, mirror)
    maps = lattice_maps([found(moved, 0.5)], moved, 7.0 * strength, wide, 12)
    assert maps.shape == (12, *MAP_SHAPE)
    # the cell's size, which stands for the direct beam, is what scale changes
    beam = (slice(None), slice(None), 0, REACH)
    expected[beam] = maps[beam] = 0.0
    for one in maps:
        assert min(float(np.abs(one - other).max()) for other in expected) < 1e-3


def test_a_map_tells_dark_from_out_of_sight() -> None:
    points, strength = lattice_spots(1.0, 90.0)
    dark = (np.abs(np.abs(points[:, 0]) - 50.0) < 1) & (np.abs(points[:, 1]) < 1)
    lattice = found(points[~dark])
    (open_map,) = lattice_maps([lattice], points[~dark], strength[~dark], FIELD, 1)
    stopped = Field(-SIDE, SIDE, -SIDE, SIDE, stop_radius=60.0)
    (stop_map,) = lattice_maps([lattice], points[~dark], strength[~dark], stopped, 1)
    # which of the two axes became a is left to chance
    places = [(0, REACH + 2), (2, REACH)]
    assert sorted(float(open_map[0][place]) for place in places)[0] == 0.0
    assert all(open_map[1][place] == 1.0 and stop_map[1][place] == 0.0 for place in places)


def test_a_mate_behind_the_beam_stop_is_made_up_for() -> None:
    points, strength = lattice_spots(1.2, 90.0)
    arm = Field(-SIDE, SIDE, -SIDE, SIDE, stop_angle_deg=0.0, stop_width=20.0)
    behind = (points[:, 0] > 0) & (np.abs(points[:, 1]) < 10)
    (whole,) = lattice_maps([found(points)], points, strength, FIELD, 1)
    (half,) = lattice_maps([found(points[~behind])], points[~behind], strength[~behind], arm, 1)
    beam = (np.arange(CHANNELS), 0, REACH)
    whole[beam] = half[beam] = 0.0
    np.testing.assert_allclose(half, whole, atol=1e-4)


def test_spots_without_mates_and_weak_ones_do_not_make_the_net_finer() -> None:
    # as spots of a higher Laue zone: half-way between those of the zero layer, weak, and on one side alone
    points, strength = lattice_spots(1.3, 80.0)
    between = points + 0.5 * points[np.argmin(np.hypot(*points.T))]
    between = between[(between[:, 0] > 0) & (np.hypot(*between.T) > 40) & (np.abs(between) < SIDE - 5).all(axis=1)]
    everything = np.concatenate([points, between])
    intensities = np.concatenate([strength, np.full(len(between), 0.02 * strength.max())])
    plain = found(points)
    first = find_lattices(everything, 0.8, intensities, FIELD)[0]
    assert first is not None
    assert first.ratio == pytest.approx(plain.ratio, rel=0.01)
    assert abs(np.linalg.det(first.cell)) == pytest.approx(abs(np.linalg.det(plain.cell)), rel=0.02)


def test_a_net_of_strong_spots_and_the_finer_one_of_all_are_both_offered() -> None:
    points, strength = lattice_spots(1.0, 90.0, 28.0)
    index = np.rint(points / 28.0)
    weak = index.sum(axis=1) % 2 != 0
    intensities = np.where(weak, 2e-3, 1.0) * strength
    areas = [abs(np.linalg.det(one.cell)) for one in find_lattices(points, 0.8, intensities, FIELD) if one is not None]
    assert areas == pytest.approx([28.0**2, 2 * 28.0**2], rel=0.02)


def test_an_absent_lattice_leaves_its_part_empty_and_older_bundles_get_the_first() -> None:
    points, strength = lattice_spots(1.4, 80.0)
    lattice = found(points)
    (maps,) = lattice_maps([lattice, None, lattice], points, strength, FIELD, 1)
    parts = maps.reshape(FRAMES, CHANNELS, *MAP_SHAPE[1:])
    assert not parts[1].any()
    np.testing.assert_array_equal(parts[0], parts[2])
    (single,) = lattice_maps([lattice, None, None], points, strength, FIELD, 1, SINGLE_SHAPE)
    parts[0, :, 0, REACH] = 0.0
    np.testing.assert_array_equal(single, parts[0, :3])


def test_a_single_row_is_no_lattice() -> None:
    row = np.arange(1, 8)[:, None] * np.array([[10.0, 3.0]])
    assert find_lattice(np.concatenate([row, -row]), 0.5) is None
    assert find_lattice(np.zeros((0, 2)), 0.5) is None


@pytest.mark.parametrize(("positions", "tolerance"), [(np.zeros((3, 3)), 1.0), (np.zeros((3, 2)), 0.0)])
def test_bad_arguments_are_named(positions: np.ndarray, tolerance: float) -> None:
    with pytest.raises(ValueError, match=r"positions|tolerance"):
        find_lattice(positions, tolerance)
