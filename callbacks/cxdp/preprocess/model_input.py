"""From surveyed frames to the model input: peak position, voxel size and quality.

The decisions are made here, independent of the device; `SurveyedFrames` reads the frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.geometry_check.checking import check_geometry
from braggwatch.callbacks.cxdp.geometry_check.rereading import Rereader
from braggwatch.callbacks.cxdp.preprocess.corrections import FrameStatistics
from braggwatch.callbacks.cxdp.preprocess.facets import facet_streaks
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import (
    CENTRE,
    QGrid,
    fit_index,
    subsamples,
    zoom,
)
from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.quality import assess, stated_crystal
from braggwatch.callbacks.cxdp.preprocess.scale import SizeEstimate, estimate_size, voxel_size
from braggwatch.callbacks.cxdp.preprocess.scan_plan import InvalidDataError
from braggwatch.callbacks.cxdp.preprocess.surveyed_frames import GatheredCube, SurveyedFrames
from braggwatch.callbacks.cxdp.records import ModelInput
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.geometry.q import RockingMap

_PATCH = 128
_SIZE_MARGIN = 1.15
_SCALE_ROUNDS = 3
# Within this range of assumed over true size the estimate doesn't depend on the grid (to 0.5 %).
_SIZE_BAND = (0.8, 1.7)
_NEAR_PEAK_VOXELS = 5.0


def make_model_input(
    frames: SurveyedFrames, geometry: RockingGeometry, settings: PreprocessingSettings, run_uid: str
) -> ModelInput:
    """Find scale and centre, gather the cube and assess its quality.

    Raises
    ------
    InvalidDataError
        If there is no peak, or no grid that the scan could have measured.
    """
    _require_signal(frames)
    plan, statistics = frames.plan, frames.statistics
    frame, row, column = statistics.peak_index
    near = float(plan.order.angles_deg[int(np.flatnonzero(plan.order.frames == frame)[0])])
    centre = plan.mapping.q(near, row, column)
    pixel = _pixel_step(plan.mapping, near, row, column)
    size = _first_size(frames, (row, column), pixel, settings)
    estimate: SizeEstimate | None = None
    for _ in range(_SCALE_ROUNDS):
        step = _limited(voxel_size(size, settings.fringe_period_voxels), pixel)
        grid, cube = _gathered(frames, centre, step, near, single=True)
        estimate = cube.size(step)
        # The window covers two fringes, also on a grid that doesn't have the right scale yet.
        true_size = size if estimate is None else estimate.size_nm
        centre = grid.q(cube.centre(min(4.0 * np.pi / (10.0 * true_size * step), CENTRE / 2)))
        if estimate is not None and _SIZE_BAND[0] <= size / estimate.size_nm <= _SIZE_BAND[1]:
            break
        size = 1.5 * size if estimate is None else _SIZE_MARGIN * estimate.size_nm
    doubts = _scale_doubts(estimate, statistics)
    if estimate is not None and not doubts:
        size = estimate.size_nm
    elif settings.previous_size_nm is not None:
        size = settings.previous_size_nm
    elif estimate is not None:
        size = estimate.size_nm
    step = _limited(voxel_size(size, settings.fringe_period_voxels), pixel)
    grid, cube = _gathered(frames, centre, step, near, single=False)
    if estimate is not None and _near_peak_coverage(cube.coverage) < 0.98:
        doubts = (*doubts, "part of the peak was not measured")
        if settings.previous_size_nm is not None and size != settings.previous_size_nm:
            size = settings.previous_size_nm
            step = _limited(voxel_size(size, settings.fringe_period_voxels), pixel)
            grid, cube = _gathered(frames, centre, step, near, single=False)
    intensity, coverage = cube.intensity, cube.coverage
    streaks = facet_streaks(intensity, coverage) if settings.facets else None
    check = None
    if streaks is not None and float(intensity.max()) > 0:
        reader = Rereader(frames, grid, near)
        check = check_geometry(geometry, stated_crystal(geometry, settings.max_d_deviation), streaks, reader)
        if check.tried:
            # a device holds one cube: that of the last geometry tried
            _gathered(frames, centre, step, near, single=False)
    quality = assess(
        intensity=intensity,
        coverage=coverage,
        grid=grid,
        statistics=statistics,
        geometry=geometry,
        size_nm=None if estimate is None else estimate.size_nm,
        scale_doubts=doubts,
        flags=plan.flags,
        max_d_deviation=settings.max_d_deviation,
        min_coverage=settings.min_coverage,
        streaks=streaks,
        check=check,
    )
    return ModelInput(
        run_uid=run_uid, intensity=intensity, basis=grid.basis, centre_inv_A=grid.centre_inv_A, quality=quality
    )


def _require_signal(frames: SurveyedFrames) -> None:
    statistics, plan = frames.statistics, frames.plan
    readings = plan.order.frames.size * plan.images.gain.size
    if statistics.saturated > 0.5 * readings:
        raise InvalidDataError("more than half of all readings are saturated")
    mean = float(statistics.frame_totals.sum()) / readings
    # Ten standard deviations of Poisson noise; the largest of 1e8 background readings is below six.
    if statistics.peak_counts < mean + 10.0 * np.sqrt(mean) + 10.0:
        raise InvalidDataError(f"no peak above the noise (largest count {statistics.peak_counts:.0f}, mean {mean:.3g})")


def _gathered(
    frames: SurveyedFrames, centre: NDArray[np.float64], step: float, near: float, *, single: bool
) -> tuple[QGrid, GatheredCube]:
    grid = QGrid.around(centre, step)
    try:
        polynomial = fit_index(grid, frames.plan.mapping, near)
    except ValueError as error:
        raise InvalidDataError(str(error)) from error
    return grid, frames.gather(polynomial, (1, 1, 1) if single else subsamples(zoom(polynomial, frames.plan.order)))


def _pixel_step(mapping: RockingMap, angle_deg: float, row: int, column: int) -> float:
    """Return the mean step of Q between neighbouring pixels, 1/angstrom."""
    corners = mapping.q(angle_deg, np.array([row, row + 1, row]), np.array([column, column, column + 1]))
    steps = np.linalg.norm(corners[1:] - corners[0], axis=1)
    return float(np.sqrt(steps[0] * steps[1]))


def _first_size(frames: SurveyedFrames, peak: tuple[int, int], pixel: float, settings: PreprocessingSettings) -> float:
    """Estimate L from the frames' sum (its transform is a section of the autocorrelation); errs on the large side."""
    half = _PATCH // 2
    shape = frames.plan.images.gain.shape
    patch = np.zeros((_PATCH, _PATCH), dtype=np.float32)
    low = [max(p - half, 0) for p in peak]
    high = [min(p + half, n) for p, n in zip(peak, shape, strict=True)]
    piece = frames.image(slice(low[0], high[0]), slice(low[1], high[1]))
    patch[low[0] - peak[0] + half : high[0] - peak[0] + half, low[1] - peak[1] + half : high[1] - peak[1] + half] = (
        np.maximum(piece - np.percentile(piece, 20), 0.0)
    )
    guess = estimate_size(patch, pixel)
    if guess is not None:
        return guess.size_nm * _SIZE_MARGIN
    if settings.previous_size_nm is not None:
        return settings.previous_size_nm
    return 2.0 * np.pi / (settings.fringe_period_voxels * pixel) / 10.0


def _limited(step: float, pixel: float) -> float:
    """Limit the voxel to between a fifth of a pixel and sixteen pixels; outside, no fringe was resolved."""
    return float(np.clip(step, 0.2 * pixel, 16.0 * pixel))


def _scale_doubts(estimate: SizeEstimate | None, statistics: FrameStatistics) -> tuple[str, ...]:
    doubts: list[str] = []
    if estimate is None:
        doubts.append("no size could be found")
    elif not estimate.trusted:
        doubts.append(estimate.doubt)
    if statistics.saturated >= 10:
        doubts.append("the peak is saturated")
    return tuple(doubts)


def _near_peak_coverage(coverage: NDArray[np.float32]) -> float:
    reach = int(_NEAR_PEAK_VOXELS)
    around = slice(CENTRE - reach, CENTRE + reach + 1)
    return float(coverage[around, around, around].mean())
