"""Checks whether a frame can hold a pattern, and bins large frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.sadp.records import SetAside

SMALLEST_SIDE = 16
LARGEST_SATURATED_SHARE = 0.05
"""More saturated pixels than a bright direct beam with blooming has."""
LARGEST_NOT_FINITE_SHARE = 0.05
"""Dead pixels are masked; with more of them, spots would be missed without notice."""


def unfit(frame: NDArray[np.generic], saturation_counts: float | None) -> tuple[SetAside, str] | None:
    """Say why a frame can't be a diffraction pattern, None where it may be one.

    Parameters
    ----------
    frame
        (rows, columns) of real numbers.
    saturation_counts
        Counts of a saturated pixel; None: the largest number of an integer dtype, and no limit for floats.
    """
    if min(frame.shape) < SMALLEST_SIDE:
        return SetAside.SHAPE, f"the frame has {frame.shape[0]} x {frame.shape[1]} pixels, at least 16 x 16 are needed"
    finite = np.isfinite(frame) if frame.dtype.kind == "f" else None
    if finite is not None and not finite.all():
        share = 1.0 - float(finite.mean())
        if share > LARGEST_NOT_FINITE_SHARE:
            return SetAside.NOT_FINITE, f"{share:.0%} of the pixels are not finite numbers"
    counts = np.asarray(frame if finite is None else frame[finite], dtype=np.float64)
    lowest, highest = float(counts.min()), float(counts.max())
    limit = saturation_counts
    if limit is None and frame.dtype.kind in "ui":
        limit = float(np.iinfo(frame.dtype.str).max)
    if limit is not None and highest >= limit:
        share = float((counts >= limit).mean())
        if share > LARGEST_SATURATED_SHARE:
            return SetAside.SATURATED, f"saturated: {share:.0%} of the pixels are at {limit:g} counts or above"
    if lowest == highest:
        return SetAside.BLANK, f"blank: every pixel holds {lowest:g}"
    return None


def binned(frame: NDArray[np.generic], largest_side_px: int | None) -> tuple[NDArray[np.generic], int]:
    """Average a frame over squares of pixels until no side is longer than a limit.

    Returns
    -------
    (frame, side of the squares in pixels)
        float32 where the squares have more than one pixel; rows and columns that fill no square are left out.
    """
    side = 1 if largest_side_px is None else max(1, -(-max(frame.shape) // largest_side_px))
    if side == 1:
        return frame, 1
    rows, columns = (length // side for length in frame.shape)
    squares = frame[: rows * side, : columns * side].astype(np.float32).reshape(rows, side, columns, side)
    return squares.mean(axis=(1, 3)), side
