"""Spots and centre are found in pictures as microscopes take them; what is no zone-axis pattern is said to be none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggwatch.callbacks.sadp.annotations import find_annotations, find_beam_stop
from braggwatch.callbacks.sadp.pattern import PatternSettings, measure_pattern
from braggwatch.callbacks.sadp.spots import find_spots
from braggwatch.sim.sadp.render import draw_gaussians


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it: centre (x, y) px, spots (N, 2) px in the picture, relative intensities (N,)."""

    picture: np.ndarray
    centre: np.ndarray
    spots: np.ndarray
    intensity: np.ndarray


def scene(
    *,
    spacing: float = 25.0,
    ratio: float = 1.3,
    angle_deg: float = 80.0,
    turn_deg: float = 17.0,
    size: int = 256,
    sigma: float = 1.5,
    shift: tuple[float, float] = (3.3, -5.1),
    direct_beam: float = 6e5,
    halo: float = 1000.0,
    peak: float = 4e4,
    missing: float = 0.0,
    extra: int = 0,
    depth: type[np.generic] = np.uint16,
    seed: int = 0,
) -> Scene:
    rng = np.random.default_rng(seed)
    scale = size / 256
    one, two = np.radians(turn_deg), np.radians(turn_deg + angle_deg)
    cell = spacing * np.array([[np.cos(one), np.sin(one)], [ratio * np.cos(two), ratio * np.sin(two)]])
    grid = np.stack(np.meshgrid(np.arange(-12, 13), np.arange(-12, 13)), axis=-1).reshape(-1, 2)
    grid = grid[(grid != 0).any(axis=1)]
    points = grid @ cell
    length = np.hypot(*points.T)
    h, k = np.abs(grid.T)
    intensity = np.exp(-((length / 60) ** 2)) * 10 ** (-1.2 * np.abs(np.sin(1 + 2 * h + 3 * k + (grid.prod(1) > 0))))
    keep = (length < 125) & (rng.random(len(grid)) >= missing)
    centre = (size - 1) / 2 + scale * np.array(shift)
    spots, intensity = scale * points[keep] + centre, intensity[keep]
    image = np.zeros((size, size), dtype=np.float32)
    draw_gaussians(image, spots, peak * intensity, sigma)
    draw_gaussians(image, centre[None], np.array([direct_beam]), 1.5 * sigma)
    draw_gaussians(image, rng.uniform(0.1, 0.9, size=(extra, 2)) * size, np.full(extra, 0.02 * peak), sigma)
    rows, columns = np.mgrid[:size, :size]
    image += 20 + halo * np.exp(-np.hypot(columns - centre[0], rows - centre[1]) / (20 * scale))
    counts = rng.poisson(np.maximum(image, 0))
    if depth is np.uint8:
        counts = counts * 255 / peak
    top = np.iinfo(depth).max if issubclass(depth, np.integer) else np.inf
    return Scene(np.minimum(counts, top).astype(depth), centre, spots, intensity)


@given(
    spacing=st.floats(15.0, 40.0),
    ratio=st.floats(1.0, 1.7),
    angle=st.floats(72.0, 90.0),
    turn=st.floats(0.0, 360.0),
    shift=st.tuples(st.floats(-15.0, 15.0), st.floats(-15.0, 15.0)),
    halo=st.floats(0.0, 2000.0),
    hidden_beam=st.booleans(),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=25, deadline=None)
def test_the_centre_is_found_by_friedel_pairs_whatever_the_pattern(
    spacing: float,
    ratio: float,
    angle: float,
    turn: float,
    shift: tuple[float, float],
    halo: float,
    hidden_beam: bool,
    seed: int,
) -> None:
    made = scene(
        spacing=spacing,
        ratio=ratio,
        angle_deg=angle,
        turn_deg=turn,
        shift=shift,
        halo=halo,
        direct_beam=0.0 if hidden_beam else 6e5,
        missing=0.05,
        extra=3,
        seed=seed,
    )
    measured = measure_pattern(made.picture)
    assert np.hypot(*(np.array(measured.centre_px) - made.centre)) < 0.8
    assert measured.problem is None


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize(("size", "sigma"), [(160, 1.2), (256, 1.5), (512, 3.0), (1024, 5.0)])
def test_positions_and_intensities_of_any_size_and_depth(depth: type[np.generic], size: int, sigma: float) -> None:
    made = scene(size=size, sigma=sigma, depth=depth, halo=100.0)
    found = find_spots(made.picture)
    assert found.spot_sigma_px == pytest.approx(sigma, rel=0.25)
    strong = made.intensity > 0.03
    apart = np.hypot(*(made.spots[strong, None] - found.positions_px[None]).transpose(2, 0, 1))
    assert apart.min(axis=1).max() < 1.0 * sigma
    assert np.median(apart.min(axis=1)) < 0.15 * sigma
    told = found.intensity[apart.argmin(axis=1)]
    unsaturated = ~found.saturated[apart.argmin(axis=1)]
    relative = told / made.intensity[strong]
    assert np.std(np.log(relative[unsaturated])) < 0.15


def test_nothing_is_found_in_noise() -> None:
    for seed in range(5):
        noise = np.random.default_rng(seed).poisson(50.0, size=(256, 256)).astype(np.uint16)
        assert len(find_spots(noise)) <= 2
        assert measure_pattern(noise).problem is not None


def with_stop(made: Scene, angle_deg: float) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[: made.picture.shape[0], : made.picture.shape[1]]
    x, y = columns - made.centre[0], rows - made.centre[1]
    turn = np.radians(angle_deg)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    stop = ((along > 0) & (np.abs(across) < 8)) | (np.hypot(x, y) < 12)
    noise = np.random.default_rng(1).poisson(1.0, size=made.picture.shape)
    return np.where(stop, noise, made.picture).astype(made.picture.dtype), stop


@pytest.mark.parametrize("angle", [0.0, 77.0, 200.0])
def test_a_beam_stop_is_seen_and_hides_only_what_it_hides(angle: float) -> None:
    made = scene(halo=1000.0)
    picture, stop = with_stop(made, angle)
    mask = find_beam_stop(picture, made.centre[0], made.centre[1], 1.5)
    rows, columns = np.mgrid[: stop.shape[0], : stop.shape[1]]
    near = np.hypot(columns - made.centre[0], rows - made.centre[1]) < 60
    assert (mask & stop & near).sum() > 0.8 * (stop & near).sum()
    assert (mask & ~stop).mean() < 0.05
    measured = measure_pattern(picture)
    assert np.hypot(*(np.array(measured.centre_px) - made.centre)) < 0.5
    assert measured.problem is None
    lattice = measured.lattice
    assert lattice is not None
    assert lattice.ratio == pytest.approx(1.3, rel=0.02)


def test_a_picture_without_beam_stop_has_none() -> None:
    for halo in (0.0, 100.0, 2000.0):
        made = scene(halo=halo)
        assert not find_beam_stop(made.picture, made.centre[0], made.centre[1], 1.5).any()


def test_a_scale_bar_and_its_lettering_are_no_spots() -> None:
    made = scene()
    picture = np.minimum(made.picture, 60000)
    assert not find_annotations(picture).any()
    picture[238:243, 20:80] = 65535
    for left in (30, 40, 50):
        picture[226:234, left : left + 2] = 65535
        picture[226:228, left : left + 6] = 65535
    marked = find_annotations(picture)
    assert marked[238:243, 20:80].all()
    assert marked[226:234, 30].all()
    assert marked.mean() < 0.02
    found = measure_pattern(picture)
    in_picture = found.positions_px + np.array(found.centre_px)
    assert not ((in_picture[:, 1] > 222) & (in_picture[:, 0] > 15) & (in_picture[:, 0] < 85)).any()
    assert np.hypot(*(np.array(found.centre_px) - made.centre)) < 0.5


def ring_picture(seed: int, grains: int | None) -> np.ndarray:
    """Rings of an fcc powder; with a number of grains, each ring is that many spots."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:256, :256]
    radius = np.hypot(columns - 128, rows - 126)
    image = 20 + 400 * np.exp(-radius / 20)
    for order, height in ((3, 1.0), (4, 0.6), (8, 0.5), (11, 0.4), (12, 0.15)):
        if grains is None:
            image = image + 300 * height * np.exp(-0.5 * ((radius - 28 * np.sqrt(order)) / 1.6) ** 2)
        else:
            turn = rng.uniform(0, 2 * np.pi, size=grains)
            spots = np.array([128.0, 126.0]) + 28 * np.sqrt(order) * np.stack([np.cos(turn), np.sin(turn)], axis=1)
            canvas = np.zeros((256, 256), dtype=np.float32)
            draw_gaussians(canvas, spots, 2000 * height * rng.uniform(0.2, 1, size=grains), 1.5)
            image = image + canvas
    return rng.poisson(image).astype(np.uint16)


@pytest.mark.parametrize("grains", [None, 300, 40])
def test_rings_and_many_grains_are_not_judged(grains: int | None) -> None:
    for seed in range(3):
        measured = measure_pattern(ring_picture(seed, grains))
        lattice = measured.lattice
        # many grains have no ring, but no lattice either
        assert measured.problem is not None or lattice is None or lattice.unexplained > 0.25


def test_an_amorphous_halo_has_too_few_spots() -> None:
    rows, columns = np.mgrid[:256, :256]
    radius = np.hypot(columns - 128, rows - 128)
    image = 100 + 3000 * np.exp(-radius / 15) + 500 * np.exp(-0.5 * ((radius - 60) / 10) ** 2)
    problem = measure_pattern(np.random.default_rng(0).poisson(image)).problem
    assert problem is not None
    assert "too few spots" in problem or "rings" in problem


def test_one_half_of_a_pattern_has_no_friedel_symmetry() -> None:
    made = scene(halo=0.0, direct_beam=0.0)
    half = made.picture.copy()
    turn = np.radians(30)
    rows, columns = np.mgrid[:256, :256]
    side = (columns - made.centre[0]) * np.cos(turn) + (rows - made.centre[1]) * np.sin(turn)
    half[side < 5] = 20
    measured = measure_pattern(half, PatternSettings(centre_px=None, beam_stop=False))
    assert measured.problem is not None or np.hypot(*(np.array(measured.centre_px) - made.centre)) > 20


def test_uniform_and_broken_pictures_are_said_to_be_none() -> None:
    assert "no picture" in (measure_pattern(np.zeros((64, 64))).problem or "")
    assert measure_pattern(np.full((64, 64), np.nan)).problem is not None
    with pytest.raises(ValueError, match="one picture"):
        measure_pattern(np.zeros((4, 64, 64)))
    with pytest.raises(ValueError, match="mask"):
        find_spots(np.zeros((64, 64)), np.zeros((32, 32), dtype=bool))


def test_a_stated_centre_is_taken() -> None:
    made = scene()
    measured = measure_pattern(made.picture, PatternSettings(centre_px=(100.0, 101.0)))
    assert measured.centre_px == (100.0, 101.0)
