"""Lattice planes of a reconstruction: found, measured, levelled, or refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggwatch.callbacks.apt.level import fit_levelling
from braggwatch.callbacks.apt.planes import PlaneSearch, fit_planes, resolved_from
from braggwatch.callbacks.apt.pole import UnresolvedPlanesError, map_planes, require_planes

DENSITY = 22.0


def planes(
    size: tuple[float, float, float],
    spacing: float = 0.1432,
    tilt_deg: tuple[float, float] = (0.0, 0.0),
    sigma_z: float = 0.03,
    seed: int = 0,
    radius: float | None = None,
) -> np.ndarray:
    """Ions on blurred planes whose normal leans by the tilts, or on caps of a radius."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(size) * DENSITY)
    x, y = rng.uniform(0, size[0], n), rng.uniform(0, size[1], n)
    z = rng.integers(0, round(size[2] / spacing), n) * spacing
    tx, ty = np.tan(np.radians(tilt_deg))
    z = z * np.sqrt(1 + tx**2 + ty**2) - tx * x - ty * y + rng.normal(0, sigma_z, n)
    if radius is not None:
        z = z + ((x - size[0] / 2) ** 2 + (y - size[1] / 2) ** 2) / (2 * radius)
    return np.column_stack([x, y, z]).astype(np.float32)


@settings(max_examples=25)
@given(spacing=st.floats(0.135, 0.21), tilt_x=st.floats(-4, 4), tilt_y=st.floats(-4, 4), seed=st.integers(0, 10_000))
def test_spacing_and_tilt_are_measured(spacing: float, tilt_x: float, tilt_y: float, seed: int) -> None:
    fit = fit_planes(planes((6, 6, 6), spacing, (tilt_x, tilt_y), seed=seed))
    assert fit.signal > resolved_from()
    assert fit.spacing_nm == pytest.approx(spacing, rel=0.006)
    assert fit.tilt_x_deg == pytest.approx(tilt_x, abs=0.35)
    assert fit.tilt_y_deg == pytest.approx(tilt_y, abs=0.35)


def test_blur_lowers_the_signal_as_it_should() -> None:
    sharp, soft = (fit_planes(planes((8, 8, 8), sigma_z=s)).signal for s in (0.02, 0.035))
    expected = np.exp(-((2 * np.pi / 0.1432) ** 2) * (0.035**2 - 0.02**2))
    assert soft / sharp == pytest.approx(expected, rel=0.15)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_ions_without_planes_stay_below_the_limit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert fit_planes(rng.uniform(0, 6, (4000, 3)).astype(np.float32)).signal < resolved_from()


def test_a_region_too_small_to_say_is_an_error() -> None:
    with pytest.raises(ValueError, match="too few to detect planes"):
        fit_planes(np.zeros((10, 3), np.float32))
    with pytest.raises(ValueError, match=r"nm thick"):
        fit_planes(np.random.default_rng(0).uniform(0, 0.3, (500, 3)).astype(np.float32))
    with pytest.raises(ValueError, match="spacings"):
        PlaneSearch(spacing_nm=(0.3, 0.2))


def test_the_region_of_the_pole_is_where_planes_are_resolved() -> None:
    good = planes((12, 12, 24), seed=1)
    blurred = planes((12, 12, 24), sigma_z=0.3, seed=2) + np.array([12, 0, 0], np.float32)
    found = require_planes(map_planes(np.concatenate([good, blurred])))
    assert found.resolved[:2][found.seen[:2]].mean() > 0.9
    assert found.resolved[2:].mean() == 0.0
    assert found.contains(np.array([[3, 3, 3], [21, 3, 3], [999, 3, 3]], np.float32)).tolist() == [True, False, False]


def test_data_without_planes_are_refused_with_what_was_seen() -> None:
    with pytest.raises(UnresolvedPlanesError, match=r"resolved in 0% .* median signal .* Cut out the region"):
        require_planes(map_planes(planes((12, 12, 24), sigma_z=0.3)))
    with pytest.raises(UnresolvedPlanesError, match="too few to detect lattice planes"):
        require_planes(map_planes(np.random.default_rng(0).uniform(0, 20, (500, 3)).astype(np.float32)))
    with pytest.raises(UnresolvedPlanesError, match="in nanometres"):
        map_planes(np.random.default_rng(0).uniform(0, 1e4, (500, 3)).astype(np.float32))


def test_levelling_flattens_tilted_and_curved_planes() -> None:
    bent = planes((24, 24, 24), 0.150, (2.0, -1.5), radius=300.0)
    found = map_planes(bent)
    level = fit_levelling(found, 0.1432)
    again = map_planes(level.apply(bent))
    assert level.bend_per_nm[0] == pytest.approx(-1 / 300, rel=0.1)
    assert again.share >= found.share
    assert np.nanmedian(again.signal) > np.nanmedian(found.signal)
    assert again.median_spacing_nm == pytest.approx(0.1432, rel=0.003)
    for tilt in (again.tilt_x_deg, again.tilt_y_deg):
        assert np.abs(tilt[again.resolved]).max() < 1.0
    assert level.residual_deg < 0.5


def test_nothing_resolved_nothing_levelled() -> None:
    with pytest.raises(ValueError, match="no region with resolved planes"):
        fit_levelling(map_planes(planes((12, 12, 12), sigma_z=0.3)), 0.1432)
