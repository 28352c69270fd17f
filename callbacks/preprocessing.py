"""From a rocking curve to the model input: correct, gather, scale, centre, judge."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.callbacks.centre import peak_centre
from braggwatch.callbacks.corrections import (
    FrameStatistics,
    PixelCorrections,
    frame_normalisation,
    in_array_layout,
    pixel_gain,
    survey,
)
from braggwatch.callbacks.orthonormalise import (
    CENTRE,
    CUBE,
    FrameOrder,
    QGrid,
    fit_index,
    gather,
    order_frames,
    subsamples,
    zoom,
)
from braggwatch.callbacks.quality import assess, invalid_quality
from braggwatch.callbacks.records import ModelInput, RockingCurve
from braggwatch.callbacks.scale import SizeEstimate, estimate_size, voxel_size
from braggwatch.callbacks.warm_up import artificial_curve
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.geometry.q import RockingMap, rocking_map

logger = logging.getLogger(__name__)

_PATCH = 128
_SIZE_MARGIN = 1.15
_SCALE_ROUNDS = 3
# Within this range of assumed over true size the estimate doesn't depend on the grid (to 0.5 %).
_SIZE_BAND = (0.8, 1.7)
_NEAR_PEAK_VOXELS = 5.0


class PreprocessingSettings(BaseModel):
    """What a beamline may tune. Arrays are in the chip's layout or the delivered frame's, see `in_array_layout`."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    mask: NDArray[np.generic] | None = Field(default=None, description="Non-zero where a pixel must not be used.")
    flat: NDArray[np.generic] | None = Field(default=None, description="White field, any normalisation.")
    dark: NDArray[np.generic] | None = Field(default=None, description="Counts of one dark frame, subtracted.")
    hot_ratio: float = Field(default=10.0, gt=1, description="Hot: this many times its third largest neighbour.")
    hot_counts: float = Field(default=20.0, gt=0, description="Fewer raw counts than this are never called hot.")
    saturation_counts: float | None = Field(default=None, gt=0, description="Raw counts at which a pixel saturates.")
    fringe_period_voxels: float = Field(default=3.5, ge=2, le=16, description="Target period of the fringes, voxels.")
    previous_size_nm: float | None = Field(default=None, gt=0, description="Scale to fall back to.")
    min_completeness: float = Field(default=0.5, ge=0, le=1, description="Fraction of frames needed for a class.")
    min_frames: int = Field(default=8, ge=2, description="Frames needed for a class.")
    min_coverage: float = Field(default=0.25, ge=0, le=1, description="Covered fraction needed for a class.")
    max_d_deviation: float = Field(default=0.02, gt=0, description="Relative d-spacing deviation that is flagged.")
    facets: bool = Field(default=True, description="Look for facet streaks and check their angles.")


class Preprocessor(Protocol):
    """Turns a rocking curve into what the network sees."""

    def __call__(self, curve: RockingCurve) -> ModelInput:
        """Preprocess one curve; bad data set ``quality.invalid_reason``, nothing is raised for them."""
        ...


class CpuPreprocessor:
    """Preprocess on one core with compiled kernels."""

    def __init__(self, settings: PreprocessingSettings) -> None:
        self.settings = settings

    def __call__(self, curve: RockingCurve) -> ModelInput:
        """Preprocess one curve; see `preprocess_arrays`."""
        return preprocess_arrays(
            curve.frames,
            curve.angles_deg,
            curve.present,
            curve.geometry,
            self.settings,
            crop_origin=curve.crop_origin,
            monitor=curve.monitor,
            transmission=curve.transmission,
            run_uid=curve.run_uid,
        )


class InvalidDataError(ValueError):
    """The data can't give a model input; the message says why, for an operator."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """A curve that passed its checks, with everything the gather needs."""

    frames: NDArray[np.generic]
    order: FrameOrder
    corrections: PixelCorrections
    statistics: FrameStatistics
    mapping: RockingMap
    flags: tuple[str, ...]


def preprocess_arrays(
    frames: NDArray[np.generic],
    angles_deg: NDArray[np.float64],
    present: NDArray[np.bool_],
    geometry: RockingGeometry,
    settings: PreprocessingSettings,
    crop_origin: tuple[int, int] = (0, 0),
    monitor: NDArray[np.float64] | None = None,
    transmission: NDArray[np.float64] | None = None,
    run_uid: str = "",
) -> ModelInput:
    """Preprocess one rocking curve given as arrays: the numeric entry, single-threaded and free of documents.

    Parameters
    ----------
    frames
        (N, R, C) counts in scan order, any real dtype; read in place, never written.
    angles_deg
        (N,) readings of the scanned circle in degrees, without the geometry's offset.
    present
        (N,) bool, which frames arrived.
    geometry
        Geometry of the delivered frames.
    settings
        Corrections and limits.
    crop_origin
        First (row, column) of ``frames`` within the delivered frame.
    monitor, transmission
        (N,) readings or None.
    run_uid
        Copied to the result.

    Returns
    -------
    ModelInput
        Where no class may be given, ``quality.invalid_reason`` says why and the intensity is all zero (or what there
        is of it). Nothing is raised for bad data.
    """
    try:
        scan = _checked_scan(frames, angles_deg, present, geometry, settings, crop_origin, monitor, transmission)
        return _model_input(scan, geometry, settings, run_uid)
    except InvalidDataError as error:
        logger.warning("run %s can't be preprocessed: %s", run_uid or "(no uid)", error)
        return ModelInput(
            run_uid=run_uid,
            intensity=np.zeros((CUBE, CUBE, CUBE), dtype=np.float32),
            basis=np.eye(3),
            center_inv_A=np.zeros(3),
            quality=invalid_quality(str(error)),
        )


def _checked_scan(
    frames: NDArray[np.generic],
    angles_deg: NDArray[np.float64],
    present: NDArray[np.bool_],
    geometry: RockingGeometry,
    settings: PreprocessingSettings,
    crop_origin: tuple[int, int],
    monitor: NDArray[np.float64] | None,
    transmission: NDArray[np.float64] | None,
) -> _Scan:
    cube = _readable(frames)
    count, rows, columns = cube.shape
    angles = np.asarray(angles_deg, dtype=np.float64)
    here = np.asarray(present, dtype=np.bool_)
    if angles.shape != (count,) or here.shape != (count,):
        raise InvalidDataError(f"{count} frames, but angles of shape {angles.shape} and presence of {here.shape}")
    if (
        min(crop_origin) < 0
        or crop_origin[0] + rows > geometry.frame_shape[0]
        or crop_origin[1] + columns > geometry.frame_shape[1]
    ):
        raise InvalidDataError(
            f"frames of {rows} x {columns} at {crop_origin} don't fit the geometry's frame of {geometry.frame_shape}"
        )
    flags: list[str] = []
    usable = here & np.isfinite(angles)
    lost_angles = int(here.sum() - usable.sum())
    if lost_angles:
        flags.append(f"{lost_angles} frames have no finite angle and are left out")
    if int(usable.sum()) < settings.min_frames:
        raise InvalidDataError(
            f"only {int(usable.sum())} frames can be used, {settings.min_frames} are needed"
            + (f" ({lost_angles} have no finite angle)" if lost_angles else "")
        )
    if usable.mean() < settings.min_completeness:
        raise InvalidDataError(f"only {usable.mean():.0%} of the frames can be used")
    try:
        order = order_frames(angles, usable)
        mapping = rocking_map(geometry, crop_origin)
        shape = (rows, columns)
        mask, flat, dark = (
            None if image is None else in_array_layout(image, geometry, crop_origin, shape)
            for image in (settings.mask, settings.flat, settings.dark)
        )
    except ValueError as error:
        raise InvalidDataError(str(error)) from error
    scale, unusable = frame_normalisation(count, monitor, transmission)
    if unusable:
        flags.append(f"{unusable} monitor or transmission readings are unusable")
    corrections, statistics = survey(
        cube,
        usable,
        pixel_gain(shape, mask, flat),
        np.zeros((0, 0), dtype=np.float32) if dark is None else np.nan_to_num(dark).astype(np.float32),
        scale,
        settings.saturation_counts,
        settings.hot_ratio,
        settings.hot_counts,
    )
    return _Scan(cube, order, corrections, statistics, mapping, tuple(flags))


def _readable(frames: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the cube in a dtype the kernels read, copied only where byte order or layout ask for it."""
    if frames.ndim != 3 or 0 in frames.shape or min(frames.shape[1:]) < 2:
        raise InvalidDataError(f"frames of shape {frames.shape} are no rocking curve")
    if frames.dtype.kind == "b":
        return frames.view(np.uint8)
    if frames.dtype.kind not in "iuf":
        raise InvalidDataError(f"frames of dtype {frames.dtype} are no counts")
    if frames.dtype == np.float16:
        return frames.astype(np.float32)
    if not frames.dtype.isnative:
        return frames.astype(frames.dtype.newbyteorder("="))
    return np.ascontiguousarray(frames)


def _model_input(scan: _Scan, geometry: RockingGeometry, settings: PreprocessingSettings, run_uid: str) -> ModelInput:
    _require_signal(scan)
    statistics = scan.statistics
    frame, row, column = statistics.peak_index
    near = float(scan.order.angles_deg[int(np.flatnonzero(scan.order.frames == frame)[0])])
    center = scan.mapping.q(near, row, column)
    pixel = _pixel_step(scan.mapping, near, row, column)
    size = _first_size(statistics.total_image, (row, column), pixel, settings)
    estimate: SizeEstimate | None = None
    for _ in range(_SCALE_ROUNDS):
        step = _limited(voxel_size(size, settings.fringe_period_voxels), pixel)
        grid, cube, _ = _gathered(scan, center, step, near, single=True)
        estimate = estimate_size(cube, step)
        # The window holds two true fringes, also on a grid that is not yet at the right scale.
        true_size = size if estimate is None else estimate.size_nm
        center = grid.q(peak_centre(cube, min(4.0 * np.pi / (10.0 * true_size * step), CENTRE / 2)))
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
    grid, cube, coverage = _gathered(scan, center, step, near, single=False)
    if estimate is not None and _near_peak_coverage(coverage) < 0.98:
        doubts = (*doubts, "part of the peak was not measured")
        if settings.previous_size_nm is not None and size != settings.previous_size_nm:
            size = settings.previous_size_nm
            step = _limited(voxel_size(size, settings.fringe_period_voxels), pixel)
            grid, cube, coverage = _gathered(scan, center, step, near, single=False)
    quality = assess(
        intensity=cube,
        coverage=coverage,
        grid=grid,
        statistics=statistics,
        geometry=geometry,
        size_nm=None if estimate is None else estimate.size_nm,
        scale_doubts=doubts,
        flags=scan.flags,
        max_d_deviation=settings.max_d_deviation,
        min_coverage=settings.min_coverage,
        find_facets=settings.facets,
    )
    return ModelInput(
        run_uid=run_uid, intensity=cube, basis=grid.basis, center_inv_A=grid.center_inv_A, quality=quality
    )


def _require_signal(scan: _Scan) -> None:
    statistics = scan.statistics
    readings = scan.order.frames.size * scan.corrections.gain.size
    if statistics.saturated > 0.5 * readings:
        raise InvalidDataError("more than half of all readings are saturated")
    mean = float(statistics.total_image.sum()) / readings
    # Ten standard deviations of Poisson noise: the largest of 1e8 background readings stays below six.
    if statistics.peak_counts < mean + 10.0 * np.sqrt(mean) + 10.0:
        raise InvalidDataError(f"no peak above the noise (largest count {statistics.peak_counts:.0f}, mean {mean:.3g})")


def _gathered(
    scan: _Scan, center: NDArray[np.float64], step: float, near: float, *, single: bool
) -> tuple[QGrid, NDArray[np.float32], NDArray[np.float32]]:
    grid = QGrid.around(center, step)
    try:
        polynomial = fit_index(grid, scan.mapping, near)
    except ValueError as error:
        raise InvalidDataError(str(error)) from error
    samples = (1, 1, 1) if single else subsamples(zoom(polynomial, scan.order))
    cube, coverage = gather(scan.frames, scan.order, scan.corrections, polynomial, samples)
    return grid, cube, coverage


def _pixel_step(mapping: RockingMap, angle_deg: float, row: int, column: int) -> float:
    """Return the mean step of Q between neighbouring pixels, 1/angstrom."""
    corners = mapping.q(angle_deg, np.array([row, row + 1, row]), np.array([column, column, column + 1]))
    steps = np.linalg.norm(corners[1:] - corners[0], axis=1)
    return float(np.sqrt(steps[0] * steps[1]))


def _first_size(
    image: NDArray[np.float64], peak: tuple[int, int], pixel: float, settings: PreprocessingSettings
) -> float:
    """Guess L from the frames' sum: its transform is a central section of the autocorrelation. Errs to the large."""
    half = _PATCH // 2
    patch = np.zeros((_PATCH, _PATCH), dtype=np.float32)
    low = [max(p - half, 0) for p in peak]
    high = [min(p + half, n) for p, n in zip(peak, image.shape, strict=True)]
    piece = image[low[0] : high[0], low[1] : high[1]]
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


def warm_up(preprocessor: Preprocessor) -> None:
    """Compile the kernels for the dtypes detectors deliver, by preprocessing a tiny artificial curve of each.

    Takes seconds the first time on a machine, then milliseconds from the cache on disk.
    """
    for dtype in (np.uint16, np.int32, np.uint32, np.float32):
        curve = artificial_curve(np.dtype(dtype))
        preprocessor(curve)
        curve.frames.flags.writeable = False  # read-only arrays have kernels of their own
        preprocessor(curve)
