"""Spots get the reflections they were made with; the ones of no class are kept apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gemmi", reason="needs the sadp extra")

from braggwatch.models.sadp.augmentation import MicroscopeSettings, measured_maps, undisturbed
from braggwatch.models.sadp.cells import cubic_cells, shows_cell
from braggwatch.models.sadp.groups import computed_table
from braggwatch.models.sadp.indexing import index_pattern
from braggwatch.models.sadp.lattice_map import REACH, Field
from braggwatch.models.sadp.lattice_search import find_lattices
from braggwatch.models.sadp.measured import MeasuredPattern, PatternQuality
from braggwatch.models.sadp.outliers import outlier_spots
from braggwatch.sim.sadp.labels import EFFECTIVE_GROUPS, allowed, zero_layer
from braggwatch.sim.sadp.model import ZONES
from support.lattices import find_lattice

TABLE, CLASSES = computed_table()
SCALE = 0.01
"""1/Å a pixel of the patterns below."""


def measured(group: str, zone: tuple[int, int, int], turn_deg: float = 33.0, mirror: bool = True) -> MeasuredPattern:
    """Allowed reflections of a 4 Å crystal, of even brightness that falls off, turned and mirrored."""
    points = zero_layer(group, zone)
    axis = np.arange(-12, 13)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int32)
    grid = grid[(grid @ np.array(zone) == 0) & grid.any(axis=1)]
    shortest = np.sqrt((grid[allowed(group, grid)] ** 2).sum(axis=1).min())
    turn = np.radians(turn_deg)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    positions = (points * [-1.0 if mirror else 1.0, 1.0]) @ matrix.T * shortest / 4.0 / SCALE
    length = np.hypot(*positions.T)
    none = np.full(len(positions), 0.1)
    far = float(length.max()) + 5
    return MeasuredPattern(
        positions_px=positions,
        intensity=np.exp(-length / length.mean()),
        intensity_sigma=none,
        position_sigma_px=none,
        spot_sigma_px=1.5,
        centre_px=(far, far),
        centre_sigma_px=0.1,
        field=Field(-far, far, -far, far),
        shape=(int(2 * far), int(2 * far)),
        inv_A_per_px=SCALE,
        quality=PatternQuality(len(positions), 1.0, 0.0, 0.0, 0, direct_beam_seen=True, hidden_share=0.0),
        problem=None,
    )


@pytest.mark.parametrize("group", EFFECTIVE_GROUPS)
def test_every_zone_is_indexed_without_rest(group: str) -> None:
    for zone in ZONES:
        pattern = measured(group, zone)
        lattice = pattern.lattice
        assert lattice is not None
        indexed = index_pattern(pattern, lattice, group, zone)
        assert indexed is not None, zone
        assert indexed.share_explained == pytest.approx(1.0), zone
        assert indexed.residual_px < 0.01
        assert indexed.distortion < 1e-3
        assert indexed.lattice_parameter_A == pytest.approx(4.0, rel=1e-3), zone
        assert (indexed.hkl @ np.array(zone) == 0).all()
        # lengths are those of the reflections
        length = np.linalg.norm(indexed.hkl, axis=1) / 4.0 / SCALE
        np.testing.assert_allclose(np.hypot(*pattern.positions_px.T), length, rtol=1e-3)


def test_every_zone_shows_its_own_cell_and_a_monoclinic_lattice_that_of_none() -> None:
    for group in EFFECTIVE_GROUPS:
        for zone in ZONES:
            assert shows_cell(measured(group, zone).lattices, cubic_cells([zone])), (group, zone)
    assert not shows_cell(measured("225", (0, 0, 1)).lattices, cubic_cells([(1, 1, 1)]))
    axes = np.array([[10.0, 0.0], [35.0 * np.cos(np.radians(84.9)), 35.0 * np.sin(np.radians(84.9))]])
    grid = np.stack(np.meshgrid(np.arange(-9, 10), np.arange(-2, 3)), axis=-1).reshape(-1, 2).astype(np.float64)
    lattices = find_lattices(grid[grid.any(axis=1)] @ axes, 0.8)
    assert not shows_cell(lattices, cubic_cells(ZONES))


def test_another_zone_does_not_fit() -> None:
    pattern = measured("225", (0, 0, 1))
    lattice = pattern.lattice
    assert lattice is not None
    assert index_pattern(pattern, lattice, "225", (1, 1, 1)) is None


def test_aliens_have_no_cubic_cell_and_are_drawn_by_their_seed() -> None:
    known = cubic_cells(TABLE.zones)
    # square, centred rectangle of fcc [011], hexagon
    for cell in ((1.0, 90.0), (1.1547, 54.736), (1.0, 60.0)):
        reduced = np.abs(known - cell).max(axis=1).min()
        assert reduced < 0.02 or cell == (1.1547, 54.736)
    spots = outlier_spots(20, 240, TABLE, seed=3)
    np.testing.assert_array_equal(spots, outlier_spots(20, 240, TABLE, seed=3))
    assert spots.shape == (20, 240, 3)
    assert spots[:, :, 2].max(axis=1) == pytest.approx(1.0)
    for one in spots:
        seen = one[one[:, 2] > 3e-3]
        lattice = find_lattice(seen[:, :2] * 128, 0.5)
        if lattice is None or lattice.unexplained > 0.1:
            continue
        away = np.maximum(
            np.abs(known[:, 0] / lattice.ratio - 1) / 0.012, np.abs(known[:, 1] - lattice.angle_deg) / 0.7
        )
        if len(seen) > 20:
            assert away.min() > 1.0 or lattice.ratio > 2.8


def padded(pattern: MeasuredPattern, half_side_px: float) -> np.ndarray:
    spots = np.zeros((1, 240, 3), dtype=np.float32)
    keep = np.abs(pattern.positions_px).max(axis=1) < half_side_px
    count = min(240, int(keep.sum()))
    spots[0, :count, :2] = pattern.positions_px[keep][:count] / half_side_px
    spots[0, :count, 2] = (pattern.intensity / pattern.intensity.max())[keep][:count]
    return spots


def test_what_is_shown_is_drawn_by_its_seed_and_stays_the_pattern() -> None:
    spots = padded(measured("225", (1, 1, 1)), 150.0)
    seeds = np.array([7])
    one = measured_maps(spots, seeds, MicroscopeSettings(), 8)
    np.testing.assert_array_equal(one, measured_maps(spots, seeds, MicroscopeSettings(), 8))
    assert not np.array_equal(one, measured_maps(spots, seeds + 1, MicroscopeSettings(), 8))
    (clean,) = measured_maps(spots, seeds, undisturbed(1e-3), 8)
    # six-fold: all bases of a hexagon of even brightness give one map, but for the corners of the picture
    assert np.abs(clean - clean[0])[:, :, 0:2, 7:10].max() < 1e-5
    near = clean[0, 0, 0:2, 7:10]
    shown = one[0, 0, 0, 0:2, 7:10]
    assert np.abs(near - shown)[shown > 0].mean() < 0.35


def test_too_few_spots_give_an_empty_map() -> None:
    spots = np.zeros((1, 240, 3), dtype=np.float32)
    spots[0, 0] = [0.2, 0.0, 1.0]
    assert not measured_maps(spots, np.array([0]), undisturbed(1e-3), 2).any()


def test_mates_are_made_alike_or_tilted_so_that_neither_tells_the_crystal() -> None:
    spots = padded(measured("225", (0, 0, 1)), 150.0)
    spots[0, ::2, 2] *= 0.5
    clean = undisturbed(1e-3)
    (aligned,) = measured_maps(spots, np.array([3]), replace(clean, aligned_share=1.0), 1)
    (tilted,) = measured_maps(spots, np.array([3]), replace(clean, lean=2.0), 1)
    # but for the number of spots, which stands for the direct beam
    aligned[0, 3, 0, REACH] = 0.0
    assert aligned[0, 3].max() < 1e-5
    assert tilted[0, 3, 1:].max() > 0.2
