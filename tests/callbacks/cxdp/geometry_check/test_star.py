"""The directions of a cubic crystal's facets fit themselves, at any azimuth, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.geometry_check.star import fit_star, star_lines
from braggwatch.callbacks.cxdp.preprocess.facets import NO_STREAKS, Streaks


def seen_along(hkl: tuple[int, int, int], azimuth_deg: float) -> NDArray[np.float64]:
    """(13, 3) directions of the facets with the reflection along axis 0."""
    along = np.asarray(hkl, dtype=np.float64) / np.linalg.norm(hkl)
    beside = np.cross(along, [0.31, -0.52, 0.8])
    beside /= np.linalg.norm(beside)
    axes = np.stack([along, beside, np.cross(along, beside)])
    lines = np.asarray(star_lines(), dtype=np.float64)
    turn = np.radians(azimuth_deg)
    about = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    return (lines / np.linalg.norm(lines, axis=1, keepdims=True)) @ axes.T @ about.T


def streaks(directions: NDArray[np.float64]) -> Streaks:
    return Streaks(directions, np.full(len(directions), 10.0))


def test_there_are_thirteen_lines() -> None:
    assert len(star_lines()) == 13
    assert [sum(index != 0 for index in line) for line in star_lines()] == [3] * 4 + [1] * 3 + [2] * 6


@pytest.mark.parametrize("hkl", [(1, 1, 1), (-1, 1, -1), (0, 0, 2), (-2, 0, 2), (3, -1, 1), (1, 2, 3)])
@pytest.mark.parametrize("azimuth_deg", [0.0, 17.4, 211.0])
def test_it_fits_its_own_facets(hkl: tuple[int, int, int], azimuth_deg: float) -> None:
    lines = seen_along(hkl, azimuth_deg)
    fit = fit_star(streaks(lines[[0, 1, 4, 5, 9]]), hkl)
    assert fit.streaks == 5
    assert fit.misfit_deg < 0.6
    assert np.abs(fit.directions @ lines.T).max(axis=0) == pytest.approx(1.0, abs=2e-4)


def test_a_mirror_image_fits_as_well() -> None:
    lines = seen_along((1, 1, 1), 40.0) * [1.0, -1.0, 1.0]
    assert fit_star(streaks(lines[:6]), (1, 1, 1)).misfit_deg < 0.6


def test_other_directions_dont_fit() -> None:
    rng = np.random.default_rng(5)
    misfits: list[float] = []
    for _ in range(200):
        drawn = rng.normal(size=(5, 3))
        misfits.append(fit_star(streaks(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)), (1, 1, 1)).misfit_deg)
    assert 8.0 < float(np.median(misfits)) < 12.0
    assert np.quantile(misfits, 0.01) > 3.5


def test_sheared_facets_dont_fit() -> None:
    shear = np.array([[1.0, 0.0, 0.7], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    sheared = seen_along((1, 1, 1), 10.0)[:5] @ shear.T
    assert fit_star(streaks(sheared / np.linalg.norm(sheared, axis=1, keepdims=True)), (1, 1, 1)).misfit_deg > 6.0


def test_nothing_found_is_no_misfit() -> None:
    assert fit_star(NO_STREAKS, (1, 1, 1)).streaks == 0
