"""Spatial distribution maps: every way to count them gives the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import UNRANGED, LabelledIons
from braggwatch.sim.apt.picture import PICTURE_EDGE, paper_pictures
from braggwatch.sim.apt.scan import ScanSettings, box_sum, scan_blocks, scan_sdm
from braggwatch.sim.apt.sdm import FIVE_CHANNELS, PAPER, Z_ONLY, SdmWindow, kdtree_sdm, zx_sdm
from braggwatch.sim.apt.sdm_fft import fft_sdm

PAIRS = (("Al", "Al"), ("Li", "Al"), ("Li", "Li"))
ALL_DY = SdmWindow(half_y_nm=np.inf)


def random_ions(seed: int, size: tuple[float, float, float], count: int) -> LabelledIons:
    rng = np.random.default_rng(seed)
    positions = (rng.uniform(-1, 1, 3) * 50 + rng.random((count, 3)) * size).astype(np.float32)
    species = rng.choice([0, 1, UNRANGED], count, p=[0.7, 0.2, 0.1]).astype(np.uint8)
    return LabelledIons(positions, species, ("Al", "Li"))


def l1(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Sum of absolute differences of two maps, each divided by its sum."""
    return float(np.abs(a / max(a.sum(), 1) - b / max(b.sum(), 1)).sum())


@pytest.mark.parametrize("window", [FIVE_CHANNELS, Z_ONLY, ALL_DY, PAPER], ids=["five", "z", "all dy", "paper"])
@pytest.mark.parametrize("memory_MB", [256.0, 1.0])
def test_the_sliding_scan_equals_a_kdtree_count_of_each_cube(window: SdmWindow, memory_MB: float) -> None:
    ions = random_ions(0, (7.3, 6.2, 6.7), 4000)
    settings = ScanSettings(window=window, memory_MB=memory_MB)
    scanned = scan_sdm(ions, PAIRS, settings)
    assert scanned.maps.shape[:3] == scanned.ions.shape == scanned.grid.cubes(4)
    for i, j, k in [(0, 0, 0), (2, 1, 3), tuple(n - 1 for n in scanned.ions.shape)]:
        low = np.add(scanned.grid.origin_nm, (i, j, k))
        inside = ((ions.positions_nm >= low) & (ions.positions_nm < low + 4)).all(axis=1)
        assert scanned.ions[i, j, k] == inside.sum()
        for channel, (a, b) in enumerate(PAIRS):
            of_a, of_b = ions.species == ions.index(a), ions.species == ions.index(b)
            expected = kdtree_sdm(ions.positions_nm, window, centres=inside & of_a, neighbours=of_b)
            assert expected.sum() > 0
            assert l1(scanned.maps[i, j, k, channel], expected) < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 300),
    half=st.tuples(*[st.floats(0.1, 3.0)] * 3),
    bins=st.tuples(st.integers(1, 12), st.integers(1, 40)),
    ball=st.none() | st.floats(0.05, 3.0),
)
def test_brute_force_equals_the_kdtree_for_any_window(
    seed: int, count: int, half: tuple[float, float, float], bins: tuple[int, int], ball: float | None
) -> None:
    window = SdmWindow(*half, *bins, ball_nm=ball)
    ions = random_ions(seed, (4, 4, 4), count)
    chosen = {"centres": ions.species == 0, "neighbours": ions.species < 2}
    counted = zx_sdm(ions.positions_nm, window, **chosen)
    assert counted.shape == window.shape
    np.testing.assert_array_equal(counted, kdtree_sdm(ions.positions_nm, window, **chosen))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    voxel=st.floats(0.6, 1.6),
    cube=st.integers(1, 4),
    origin=st.floats(-1.0, 1.0),
    shape=st.tuples(*[st.integers(4, 6)] * 3),
)
def test_any_grid_may_be_scanned_and_ions_outside_it_are_neighbours(
    seed: int, voxel: float, cube: int, origin: float, shape: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(seed)
    positions = (rng.random((800, 3)) * 6 - 1).astype(np.float32)
    ions = LabelledIons(positions, np.zeros(800, dtype=np.uint8), ("Al",))
    grid = VoxelGrid((origin, origin, origin), shape, voxel)
    scanned = scan_sdm(ions, (("Al", "Al"),), ScanSettings(cube_voxels=cube), grid=grid)
    at = tuple(int(rng.integers(n)) for n in scanned.ions.shape)
    index = np.floor((positions.astype(np.float64) - origin) / voxel)
    inside = np.asarray(((index >= at) & (index < np.add(at, cube))).all(axis=1))
    # a position within rounding of a voxel's face may fall on either side of it
    faces = (positions.astype(np.float64) - origin) / voxel * 2
    if np.abs(faces - np.rint(faces)).min() > 1e-9:
        np.testing.assert_array_equal(scanned.maps[at][0], kdtree_sdm(positions, FIVE_CHANNELS, centres=inside))


def test_a_scan_in_blocks_gives_the_cubes_of_the_whole_scan_and_tells_its_progress() -> None:
    ions = random_ions(1, (7, 12, 6), 4000)
    whole = scan_sdm(ions, PAIRS)
    seen: list[tuple[int, int]] = []
    some = np.zeros_like(whole.maps)
    blocks = list(scan_blocks(ions, PAIRS, ScanSettings(memory_MB=0.1), lambda *done: seen.append(done)))
    for block in blocks:
        some[block.i, block.j : block.j + len(block.maps)] = block.maps
    np.testing.assert_array_equal(some, whole.maps)
    assert len(blocks) > whole.maps.shape[0]
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


def test_box_sums_are_sums_over_boxes() -> None:
    values = np.random.default_rng(0).integers(0, 9, (5, 6, 7)).astype(np.int32)
    summed = box_sum(values, 3)
    assert summed.shape == (3, 4, 5)
    assert summed[1, 2, 3] == values[1:4, 2:5, 3:6].sum()


def test_an_sdm_of_a_species_with_itself_is_symmetric_under_inversion() -> None:
    counted = zx_sdm(random_ions(2, (4, 4, 4), 900).positions_nm, ALL_DY)
    np.testing.assert_array_equal(counted, counted[::-1, ::-1])


@pytest.mark.parametrize("own", [True, False])
def test_the_fourier_way_is_exact_for_ions_on_its_grid(own: bool) -> None:
    rng = np.random.default_rng(3)
    step = np.array([2 * ALL_DY.half_x_nm / ALL_DY.bins_x, 0.3, 2 * ALL_DY.half_z_nm / ALL_DY.bins_z])
    positions = (rng.integers(0, [20, 12, 300], (1500, 3)) * step).astype(np.float32)
    first = rng.random(1500) < 0.3
    if own:
        np.testing.assert_array_equal(fft_sdm(positions, ALL_DY), kdtree_sdm(positions, ALL_DY))
    else:
        expected = kdtree_sdm(positions, ALL_DY, centres=first, neighbours=~first)
        got = fft_sdm(positions[first], ALL_DY, neighbours_nm=positions[~first])
        np.testing.assert_array_equal(got, expected)


def test_the_fourier_way_blurs_other_ions_by_a_bin_but_keeps_the_planes() -> None:
    rng = np.random.default_rng(4)
    positions = rng.random((2000, 3)) * 3
    positions[:, 2] = np.rint(positions[:, 2] / 0.143) * 0.143 + rng.normal(0, 0.03, 2000)
    window = SdmWindow(half_y_nm=np.inf, bins_x=47)
    exact = kdtree_sdm(positions.astype(np.float32), window).sum(axis=1)
    fast = fft_sdm(positions.astype(np.float32), window).sum(axis=1)
    blurred = np.convolve(exact, [1 / 6, 4 / 6, 1 / 6], mode="same")
    inner = slice(2, -2)
    assert fast.sum() == pytest.approx(exact.sum(), rel=0.01)
    assert np.abs(fast / blurred - 1)[inner].max() < 0.08
    assert l1(fast, exact) < 0.03 < l1(np.full_like(exact, exact.mean()), exact)


@pytest.mark.parametrize(
    ("window", "why"),
    [(FIVE_CHANNELS, "any dy"), (PAPER, "any dy"), (SdmWindow(half_y_nm=np.inf, bins_z=94), "odd")],
)
def test_the_fourier_way_refuses_windows_that_it_can_not_count(window: SdmWindow, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fft_sdm(np.zeros((3, 3), dtype=np.float32), window)


def test_what_can_not_be_scanned_is_refused_with_the_reason() -> None:
    ions = random_ions(5, (6, 6, 6), 100)
    with pytest.raises(ValueError, match="no ions of Sc"):
        scan_sdm(ions, (("Sc", "Al"),))
    with pytest.raises(ValueError, match="twice"):
        scan_sdm(ions, (("Al", "Al"), ("Al", "Al")))
    with pytest.raises(ValueError, match="no pair"):
        scan_sdm(ions, ())
    with pytest.raises(ValueError, match="no cube of 9 nm"):
        scan_sdm(ions, PAIRS, ScanSettings(cube_voxels=9))
    broken = ions.positions_nm.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        scan_sdm(LabelledIons(broken, ions.species, ions.names), PAIRS)
    with pytest.raises(ValueError, match="positions in nm"):
        VoxelGrid.around(np.array([[0, 0, 0], [1e9, 1, 1]], dtype=np.float32))
    with pytest.raises(ValueError, match="no ions"):
        VoxelGrid.around(np.empty((0, 3), dtype=np.float32))


def test_the_picture_is_scaled_by_its_own_largest_bin_and_shows_where_it_is() -> None:
    counts = np.zeros((2, 94, 94), dtype=np.float32)
    counts[0, 10, 70] = 7
    pictures = paper_pictures(counts)
    assert pictures.shape == (2, PICTURE_EDGE, PICTURE_EDGE)
    np.testing.assert_allclose(paper_pictures(counts * 30), pictures)
    row, column = np.unravel_index(int(pictures[0].argmax()), pictures[0].shape)
    assert (row, column) == (pytest.approx(10.5 * 150 / 94, abs=1.5), pytest.approx(70.5 * 150 / 94, abs=1.5))
    np.testing.assert_allclose(pictures[1], pictures[1, 0, 0], rtol=1e-6)


def test_the_picture_has_the_grey_of_viridis() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    ramp = np.linspace(0, 1, 150, dtype=np.float32)[:, None] * np.ones(150, dtype=np.float32)
    luma = matplotlib.colormaps["viridis"](ramp[:, 0])[:, :3] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(paper_pictures(ramp)[:, 75], luma, atol=0.004)
