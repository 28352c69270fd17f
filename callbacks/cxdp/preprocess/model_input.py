"""From surveyed frames to the model input: where the peak is, how large its voxels are, what to say of it.

The decisions are made here once, whatever reads the frames; reading them is behind `SurveyedFrames`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.corrections import FrameStatistics
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import (
    CENTRE,
    IndexPolynomial,
    QGrid,
    fit_index,
    subsamples,
    zoom,
)
from braggwatch.callbacks.cxdp.preprocess.preprocessing_settings import PreprocessingSettings
from braggwatch.callbacks.cxdp.preprocess.quality import assess
from braggwatch.callbacks.cxdp.preprocess.scale import SizeEstimate, estimate_size, voxel_size
from braggwatch.callbacks.cxdp.preprocess.scan_plan import InvalidDataError, ScanPlan
from braggwatch.callbacks.cxdp.records import ModelInput
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.geometry.q import RockingMap

_PATCH = 128
_SIZE_MARGIN = 1.15
_SCALE_ROUNDS = 3
# Within this range of assumed over true size the estimate doesn't depend on the grid (to 0.5 %).
_SIZE_BAND = (0.8, 1.7)
_NEAR_PEAK_VOXELS = 5.0


class GatheredCube(Protocol):
    """A peak on an orthonormal grid, wherever it lies."""

    @property
    def intensity(self) -> NDArray[np.float32]:
        """(64, 64, 64) float32 corrected counts."""
        ...

    @property
    def coverage(self) -> NDArray[np.float32]:
        """(64, 64, 64) float32 measured fraction of each voxel, 0 to 1."""
        ...

    def size(self, voxel_size_inv_A: float) -> SizeEstimate | None:
        """See `braggwatch.callbacks.cxdp.preprocess.scale.estimate_size`."""
        ...

    def centre(self, window_voxels: float) -> NDArray[np.float64]:
        """See `braggwatch.callbacks.cxdp.preprocess.peak_centre.peak_centre`."""
        ...


class SurveyedFrames(Protocol):
    """Frames of one scan that were read once, wherever they lie."""

    @property
    def plan(self) -> ScanPlan:
        """Order, geometry and corrections."""
        ...

    @property
    def statistics(self) -> FrameStatistics:
        """What the pass over the frames found."""
        ...

    def image(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        """Return a window of the frames' sum: usable counts, not corrected."""
        ...

    def gather(self, polynomial: IndexPolynomial, samples: tuple[int, int, int]) -> GatheredCube:
        """Pull a cube out of the frames, see `braggwatch.callbacks.cxdp.preprocess.orthonormalise.gather`."""
        ...


def make_model_input(
    frames: SurveyedFrames, geometry: RockingGeometry, settings: PreprocessingSettings, run_uid: str
) -> ModelInput:
    """Find scale and centre, gather the cube and judge it.

    Raises
    ------
    InvalidDataError
        Where there is no peak, or no grid that the scan could have measured.
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
        # The window holds two true fringes, also on a grid that is not yet at the right scale.
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
    quality = assess(
        intensity=cube.intensity,
        coverage=cube.coverage,
        grid=grid,
        statistics=statistics,
        geometry=geometry,
        size_nm=None if estimate is None else estimate.size_nm,
        scale_doubts=doubts,
        flags=plan.flags,
        max_d_deviation=settings.max_d_deviation,
        min_coverage=settings.min_coverage,
        find_facets=settings.facets,
    )
    return ModelInput(
        run_uid=run_uid, intensity=cube.intensity, basis=grid.basis, centre_inv_A=grid.centre_inv_A, quality=quality
    )


def _require_signal(frames: SurveyedFrames) -> None:
    statistics, plan = frames.statistics, frames.plan
    readings = plan.order.frames.size * plan.images.gain.size
    if statistics.saturated > 0.5 * readings:
        raise InvalidDataError("more than half of all readings are saturated")
    mean = float(statistics.frame_totals.sum()) / readings
    # Ten standard deviations of Poisson noise: the largest of 1e8 background readings stays below six.
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
    """Guess L from the frames' sum: its transform is a central section of the autocorrelation. Errs to the large."""
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
    """Keep the voxel between a fifth of a pixel and sixteen pixels, outside which no fringe was resolved."""
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
