"""Detector corrections that are applied while the frames are read, never to a copy of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError
from braggwatch.sim.geometry.model import RockingGeometry

_MOST_OUTLIERS = 65536
_STATIC_HOT_FRAMES = 3
_FLAT_LOWEST = 0.2
_FLAT_HIGHEST = 5.0


@dataclass(frozen=True, slots=True)
class PixelCorrections:
    """What turns a raw count into a corrected one: ``(raw - dark) * gain * frame_scale``.

    Attributes
    ----------
    gain
        (R, C) float32 reciprocal of the flat field; zero where the pixel must not be used.
    dark
        (R, C) float32 counts a frame, or shape (0, 0) for none.
    frame_scale
        (N,) float64 normalisation by monitor and transmission, median 1.
    outlier_start, outlier_pixel
        Sparse rows: pixels ``r * C + c`` of frame n to leave out are ``outlier_pixel[start[n] : start[n + 1]]``.
    valid_from, valid_below
        Raw counts outside this half-open range are not measurements (negative or overflow markers, NaN).
    """

    gain: NDArray[np.float32]
    dark: NDArray[np.float32]
    frame_scale: NDArray[np.float64]
    outlier_start: NDArray[np.int64]
    outlier_pixel: NDArray[np.int64]
    valid_from: float
    valid_below: float


@dataclass(frozen=True, slots=True)
class FrameStatistics:
    """What one pass over the frames found.

    Attributes
    ----------
    total_image
        (R, C) float64 sum of the usable counts over the frames, not corrected.
    frame_totals
        (N,) float64.
    peak_index
        (frame, row, column) of the largest usable count.
    peak_counts
        The count there.
    saturated, invalid
        How many readings were at or above saturation, and how many were no measurement (negative, NaN, marker).
    outliers
        How many isolated hot readings were left out.
    hot_pixels
        How many pixels were hot in several frames and are masked.
    """

    total_image: NDArray[np.float64]
    frame_totals: NDArray[np.float64]
    peak_index: tuple[int, int, int]
    peak_counts: float
    saturated: int
    invalid: int
    outliers: int
    hot_pixels: int


def in_array_layout(
    image: NDArray[np.generic], geometry: RockingGeometry, crop_origin: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Bring a detector image (mask, flat, dark) to the layout of the frames at hand.

    Parameters
    ----------
    image
        In the chip's layout with ``geometry.chip_shape`` (ROI, binning by mean and transposition are then applied), or
        already in the delivered frame's layout, or in that of the array.
    geometry, crop_origin
        Where the array lies on the chip.
    shape
        (R, C) of the array.

    Raises
    ------
    InputError
        If the image has none of these shapes.
    """
    values = np.asarray(image, dtype=np.float64)
    if values.shape == geometry.chip_shape:
        rows, columns = geometry.frame_shape[::-1] if geometry.transposed else geometry.frame_shape
        b0, b1 = geometry.binning
        r0, c0 = geometry.roi_origin
        region = values[r0 : r0 + rows * b0, c0 : c0 + columns * b1]
        if region.shape != (rows * b0, columns * b1):
            raise InputError(f"region of interest exceeds the chip of shape {geometry.chip_shape}")
        values = region.reshape(rows, b0, columns, b1).mean(axis=(1, 3))
        if geometry.transposed:
            values = values.T
    if values.shape == geometry.frame_shape:
        values = values[crop_origin[0] : crop_origin[0] + shape[0], crop_origin[1] : crop_origin[1] + shape[1]]
    if values.shape != shape:
        raise InputError(
            f"detector image of shape {image.shape} is neither the chip {geometry.chip_shape}, "
            f"the frame {geometry.frame_shape} nor the array {shape}"
        )
    return values


def pixel_gain(
    shape: tuple[int, int], mask: NDArray[np.float64] | None, flat: NDArray[np.float64] | None
) -> NDArray[np.float32]:
    """Return the (R, C) gain, zero where ``mask`` is non-zero or the flat field is dead (< 0.2) or wild (> 5 medians).

    The flat field is normalised to its median over the usable pixels, so counts keep their size.
    """
    usable = np.ones(shape, dtype=bool) if mask is None else mask == 0
    gain = np.ones(shape)
    if flat is not None:
        sound = usable & np.isfinite(flat) & (flat > 0)
        middle = float(np.median(flat[sound])) if sound.any() else 1.0
        usable = sound & (flat >= _FLAT_LOWEST * middle) & (flat <= _FLAT_HIGHEST * middle)
        gain[usable] = middle / flat[usable]
    return np.where(usable, gain, 0.0).astype(np.float32)


def frame_normalisation(
    frames: int, monitor: NDArray[np.float64] | None, transmission: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], int]:
    """Return the (N,) scale ``median/reading`` of monitor and transmission, and how many readings were unusable.

    Unusable readings (not finite, not positive) leave their frame as it is. Dividing by the median keeps counts at
    their Poisson magnitude.
    """
    scale = np.ones(frames)
    unusable = 0
    for reading in (monitor, transmission):
        if reading is None or reading.shape != (frames,):
            continue
        good = np.isfinite(reading) & (reading > 0)
        unusable += int(frames - good.sum())
        if good.any():
            scale[good] *= np.median(reading[good]) / reading[good]
    return scale, unusable


def valid_range(dtype: np.dtype[np.generic]) -> tuple[float, float]:
    """Return the half-open range of raw values that are measurements.

    Integers: not negative, and below the largest value of 16 bits and more, which detectors use to mark gaps and dead
    pixels. Floats: anything finite (dark-subtracted frames go below zero).
    """
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype.str)
        return 0.0, float(info.max) + (1.0 if info.bits < 16 else 0.0)
    return -1e30, 1e30


def survey(
    frames: NDArray[np.generic],
    present: NDArray[np.bool_],
    gain: NDArray[np.float32],
    dark: NDArray[np.float32],
    frame_scale: NDArray[np.float64],
    saturation_counts: float | None,
    hot_ratio: float,
    hot_counts: float,
) -> tuple[PixelCorrections, FrameStatistics]:
    """Read the frames once: totals, peak, saturation, and the hot readings to leave out.

    Parameters
    ----------
    frames
        (N, R, C) raw counts, native byte order.
    present
        (N,) frames to read.
    gain, dark, frame_scale
        See `PixelCorrections`.
    saturation_counts
        Raw count at which the detector saturates, or None.
    hot_ratio, hot_counts
        A reading is hot where it is at least ``hot_counts`` and more than ``hot_ratio`` times the third largest of its
        eight neighbours: a Bragg peak that is sampled finely enough to use never looks so.
    """
    valid_from, valid_below = valid_range(frames.dtype)
    n, rows, columns = frames.shape
    image = np.zeros((rows, columns))
    totals = np.zeros(n)
    counts = np.zeros(3, dtype=np.int64)
    where = np.zeros(3, dtype=np.int64)
    hot = np.zeros((_MOST_OUTLIERS, 2), dtype=np.int64)
    usable = (gain > 0).astype(np.float64)
    saturation = np.inf if saturation_counts is None else saturation_counts
    peak = 0.0
    # Rows without a count of `hot_counts` are only summed; where that leaves no peak at all every row is looked at.
    for least in (hot_counts, 0.0):
        image[:], totals[:], counts[:] = 0.0, 0.0, 0
        limits = (valid_from, valid_below, saturation, hot_ratio, hot_counts, least)
        peak = _survey(frames, present, gain, usable, *limits, image, totals, counts, where, hot)
        if peak > 0:
            break
    found = hot[: counts[2]]
    per_pixel = np.bincount(found[:, 1], minlength=rows * columns)
    static = (per_pixel >= _STATIC_HOT_FRAMES).reshape(rows, columns)
    masked = np.where(static, np.float32(0), gain) if static.any() else gain
    starts = np.searchsorted(found[:, 0], np.arange(n + 1)).astype(np.int64)
    corrections = PixelCorrections(
        gain=np.ascontiguousarray(masked, dtype=np.float32),
        dark=dark,
        frame_scale=frame_scale,
        outlier_start=starts,
        outlier_pixel=np.ascontiguousarray(found[:, 1]),
        valid_from=valid_from,
        valid_below=valid_below,
    )
    statistics = FrameStatistics(
        total_image=image,
        frame_totals=totals,
        peak_index=(int(where[0]), int(where[1]), int(where[2])),
        peak_counts=float(peak),
        saturated=int(counts[0]),
        invalid=int(counts[1]),
        outliers=int(counts[2]),
        hot_pixels=int(static.sum()),
    )
    return corrections, statistics


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _survey(  # pragma: no cover - compiled
    frames: NDArray[np.generic],
    present: NDArray[np.bool_],
    gain: NDArray[np.float32],
    usable: NDArray[np.float64],
    valid_from: float,
    valid_below: float,
    saturation: float,
    hot_ratio: float,
    hot_counts: float,
    least: float,
    image: NDArray[np.float64],
    totals: NDArray[np.float64],
    counts: NDArray[np.int64],
    where: NDArray[np.int64],
    hot: NDArray[np.int64],
) -> float:
    n_frames, n_rows, n_columns = frames.shape
    peak = 0.0
    plain_below = min(valid_below, saturation, least)
    for n in range(n_frames):
        if not present[n]:
            continue
        frame_total = 0.0
        for r in range(n_rows):
            # Most rows hold background alone: no branch per pixel there. A NaN fails both comparisons.
            special = 0
            for c in range(n_columns):
                raw = frames[n, r, c]
                special += not (raw >= valid_from and raw < plain_below)
            if special == 0:
                row_total = 0.0
                for c in range(n_columns):
                    value = frames[n, r, c] * usable[r, c]
                    row_total += value
                    image[r, c] += value
                frame_total += row_total
                continue
            for c in range(n_columns):
                raw = frames[n, r, c]
                if raw == 0:
                    continue
                value = float(raw)
                if not (value >= valid_from and value < valid_below):
                    counts[1] += 1
                    continue
                if gain[r, c] <= 0.0:
                    continue
                if value >= saturation:
                    counts[0] += 1
                if value >= hot_counts:
                    first = 0.0
                    second = 0.0
                    third = 0.0
                    seen = 0
                    for rr in range(max(r - 1, 0), min(r + 2, n_rows)):
                        for cc in range(max(c - 1, 0), min(c + 2, n_columns)):
                            if (rr == r and cc == c) or gain[rr, cc] <= 0.0:
                                continue
                            other = float(frames[n, rr, cc])
                            if not (other >= valid_from and other < valid_below):
                                continue
                            seen += 1
                            if other > first:
                                third = second
                                second = first
                                first = other
                            elif other > second:
                                third = second
                                second = other
                            elif other > third:
                                third = other
                    if seen >= 3 and value > hot_ratio * max(third, 1.0):
                        if counts[2] < hot.shape[0]:
                            hot[counts[2], 0] = n
                            hot[counts[2], 1] = r * n_columns + c
                            counts[2] += 1
                        continue
                frame_total += value
                image[r, c] += value
                if value > peak:
                    peak = value
                    where[0] = n
                    where[1] = r
                    where[2] = c
        totals[n] = frame_total
    return peak
