"""Where on the detector the Bragg peak is: the window kept of frames too large to keep whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_PX = 16
"""Edge of the blocks whose sums are compared: about a speckle, so that a dim peak beats a single bright pixel."""


@dataclass(frozen=True, slots=True)
class Region:
    """A window of a frame in delivered pixels, ``stop`` exclusive."""

    row_start: int
    row_stop: int
    column_start: int
    column_stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.row_stop - self.row_start, self.column_stop - self.column_start

    @property
    def origin(self) -> tuple[int, int]:
        """First row and column."""
        return self.row_start, self.column_start

    def cut(self, frame: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the window of a frame, or of the last two axes of a stack, as a view."""
        return frame[..., self.row_start : self.row_stop, self.column_start : self.column_stop]

    def holds_centrally(self, peak: tuple[int, int], frame_shape: tuple[int, int]) -> bool:
        """Tell whether ``peak`` lies in the middle half, or as near to it as the frame's edge allows."""
        best = centred_region(peak, self.shape, frame_shape)
        rows, columns = self.shape
        return (
            abs(best.row_start - self.row_start) <= rows // 4
            and abs(best.column_start - self.column_start) <= columns // 4
        )


def whole(frame_shape: tuple[int, int]) -> Region:
    """Return the region that is the whole frame."""
    return Region(0, frame_shape[0], 0, frame_shape[1])


def centred_region(peak: tuple[int, int], size: tuple[int, int], frame_shape: tuple[int, int]) -> Region:
    """Return a window of ``size`` about ``peak``, pushed back inside the frame where it would stick out."""
    rows, columns = min(size[0], frame_shape[0]), min(size[1], frame_shape[1])
    row = min(max(peak[0] - rows // 2, 0), frame_shape[0] - rows)
    column = min(max(peak[1] - columns // 2, 0), frame_shape[1] - columns)
    return Region(row, row + rows, column, column + columns)


def brightest_block(frame: NDArray[np.generic], saturation_counts: float | None) -> tuple[tuple[int, int], float]:
    """Find the brightest block of a frame, blind to hot pixels and dead modules.

    Pixels at the dtype's largest value (how Eiger and Merlin mark gaps; not for 8 bits), at or above
    ``saturation_counts``, negative or not finite count as zero. Each pixel then takes the minimum of its 2 × 2
    neighbourhood, which removes single hot pixels, before blocks of `BLOCK_PX` are summed.

    Parameters
    ----------
    frame
        (rows, columns), any real dtype.
    saturation_counts
        Counts at which a pixel says nothing any more; None where unknown.

    Returns
    -------
    tuple
        ``((row, column), sum)``: centre of the block in pixels and its sum of eroded counts, 0.0 for an empty frame.
    """
    counts = frame
    bad = np.zeros(frame.shape, bool)
    if frame.dtype.kind in "ui" and frame.dtype.itemsize > 1:
        bad |= frame == np.iinfo(frame.dtype.str).max
    elif frame.dtype.kind == "f":
        bad |= ~np.isfinite(frame)
    if frame.dtype.kind in "if":
        bad |= np.less(frame, 0, where=~bad, out=np.zeros(frame.shape, bool))
    if saturation_counts is not None:
        bad |= np.greater_equal(frame, saturation_counts, where=~bad, out=np.zeros(frame.shape, bool))
    if bad.any():
        counts = np.where(bad, np.zeros((), frame.dtype), frame)
    rows, columns = counts.shape
    if rows < 2 or columns < 2:
        return (rows // 2, columns // 2), float(counts.sum(dtype=np.float64))
    eroded = np.minimum(counts[1:], counts[:-1])
    eroded = np.minimum(eroded[:, 1:], eroded[:, :-1])
    row_edges = np.arange(0, eroded.shape[0], BLOCK_PX)
    column_edges = np.arange(0, eroded.shape[1], BLOCK_PX)
    sums = np.add.reduceat(eroded, row_edges, axis=0, dtype=np.float64)
    sums = np.add.reduceat(sums, column_edges, axis=1)
    best = np.unravel_index(int(np.argmax(sums)), sums.shape)
    row = min(int(best[0]) * BLOCK_PX + BLOCK_PX // 2, rows - 1)
    column = min(int(best[1]) * BLOCK_PX + BLOCK_PX // 2, columns - 1)
    return (row, column), float(sums[best])
