"""Marks pixels without a reading in one way, whatever dtype the marks of a detector ended up in.

Eiger and Merlin mark gaps and dead pixels by the largest number of their counter, Pilatus by negative numbers. Once
such frames were widened, turned into floats or summed, the mark is no longer the largest number of the dtype.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_COUNTER_32: Final = 2**32 - 1
# float32 has no 2³² - 1; no pixel counts so far.
_COUNTER_32_FLOAT: Final = 2.0**32 - 256.0
_COUNTER_16: Final = 2**16 - 1
# A count that is exactly the largest of 16 bits, and of no pixel exceeded: several such pixels are no chance.
_FEWEST_16: Final = 8


def marked(frame: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return counts with every pixel that has no reading marked as its dtype does; unchanged if none lacks one.

    Marks: the largest number of an unsigned dtype, -1 of a signed one, NaN of floats. Found are 2³² - 1 in wider types
    and in floats, and 65535 in types wider than 16 bits, where it is the largest number and several pixels have it.
    """
    kind, size = frame.dtype.kind, frame.dtype.itemsize
    if kind not in "uif" or (kind != "f" and size <= 2):
        return frame
    lacking: NDArray[np.bool_] | None = None
    if kind == "f":
        lacking = np.greater_equal(frame, _COUNTER_32_FLOAT)
    elif size == 8:
        lacking = frame == _COUNTER_32
    narrow = frame == _COUNTER_16
    if np.count_nonzero(narrow) >= _FEWEST_16:
        above = np.greater(frame, _COUNTER_16)
        above &= ~without_reading(frame)
        if lacking is not None:
            above &= ~lacking
        if not above.any():
            lacking = narrow if lacking is None else narrow | lacking
    if lacking is None or not lacking.any():
        return frame
    result = frame.copy()
    result[lacking] = _mark(frame.dtype)
    return result


def without_reading(frame: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return which pixels are marked as having no reading, as their dtype does."""
    kind = frame.dtype.kind
    if kind == "f":
        return ~np.isfinite(frame)
    if kind not in "ui" or frame.dtype.itemsize == 1:
        return np.less(frame, 0) if kind == "i" else np.zeros(frame.shape, np.bool_)
    largest = frame == np.iinfo(frame.dtype.str).max
    return largest | np.less(frame, 0) if kind == "i" else largest


def one_frame(block: NDArray[np.generic], *, marks_gaps: bool) -> NDArray[np.generic]:
    """Return the frame (rows, columns) of one event; its exposures are summed (`stacked`).

    Axes of length one before the others, and after rows and columns, are left out.

    Parameters
    ----------
    block
        (rows, columns), (exposures, rows, columns), or these with more axes of length one.
    marks_gaps
        The detector marks pixels without a reading (`marked`); False: each number is a count.

    Raises
    ------
    ValueError
        If there are more axes, or none.
    """
    block = block.reshape(essential_shape(block.shape))
    if block.ndim not in (2, 3) or 0 in block.shape:
        raise ValueError(f"an event's frame has the shape {block.shape}")
    frame = block if block.ndim == 2 else stacked(block, marks_gaps=marks_gaps)
    return marked(frame) if marks_gaps else frame


def essential_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a frame's shape without axes of length one before exposures, rows and columns, and after these."""
    while len(shape) > 2 and shape[-1] == 1 and shape[-2] > 1:
        shape = shape[:-1]
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    return shape


def stacked(block: NDArray[np.generic], *, marks_gaps: bool) -> NDArray[np.generic]:
    """Return the sum over axis 0 of the exposures of one event; a single exposure is returned unchanged.

    Sums of integers widen to 64 bits of the same signedness, so that no count is lost; a pixel saturated in one
    exposure stays at or above the saturation level. With ``marks_gaps``, a pixel without a reading in one exposure has
    none in the sum.
    """
    if block.shape[0] == 1:
        return block[0]
    if marks_gaps:
        block = marked(block)
    if block.dtype.kind == "f":
        return block.sum(axis=0, dtype=np.float64)
    wide = np.dtype(np.uint64 if block.dtype.kind in "ub" else np.int64)
    total = block.sum(axis=0, dtype=wide)
    lacking = without_reading(block).any(axis=0) if marks_gaps else None
    if lacking is not None and lacking.any():
        total[lacking] = _mark(wide)
    return total


def _mark(dtype: np.dtype[np.generic]) -> float | int:
    if dtype.kind == "f":
        return float("nan")
    return -1 if dtype.kind == "i" else int(np.iinfo(dtype.str).max)
