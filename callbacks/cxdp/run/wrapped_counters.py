"""Finds frames in which a counter began again at zero: behind its largest number comes a dark spot where the peak is.

Counts of neighbouring pixels that sample a fringe twice or more don't differ by three quarters of the peak; where a
counter wraps, those just below its largest number lie beside those just above zero. Under four pixels a fringe, a peak
has too few pixels to tell.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_COUNTERS: Final = (2**8, 2**12, 2**14, 2**16)
# A counter that wraps shows numbers near its largest one.
_FULL: Final = 0.9
_JUMP: Final = 0.75
_LIT: Final = 0.5
_SUPPORT: Final = 2
_FEWEST: Final = 3


def wrapped_frames(images: NDArray[np.float64]) -> list[int]:
    """Return which frames hold counts that wrapped.

    Parameters
    ----------
    images
        (n, rows, columns) usable raw counts in a window about the peak.
    """
    largest = float(images.max(initial=0.0))
    period = next((period for period in _COUNTERS if _FULL * period <= largest < period), None)
    if period is None:
        return []
    # A pixel that is dead, hot or in a gap is so in every frame.
    constant = images.max(axis=0) == images.min(axis=0)
    counts = np.where(constant, 0.0, images)
    firm = np.array([_firm(image, period) for image in counts])
    beside = np.pad(firm, 1)
    near = np.maximum.reduce(
        [
            beside[1:-1, :-2, 1:-1],
            beside[1:-1, 2:, 1:-1],
            beside[1:-1, 1:-1, :-2],
            beside[1:-1, 1:-1, 2:],
            beside[:-2, 1:-1, 1:-1],
            beside[2:, 1:-1, 1:-1],
        ]
    )
    edges = np.count_nonzero((counts > 0) & (near - counts > _JUMP * period), axis=(1, 2))
    if edges.sum() < _FEWEST:
        return []
    # Between frames that show it lie those whose counts wrapped, too, and happen not to.
    found = np.flatnonzero(edges)
    return list(range(int(found[0]), int(found[-1]) + 1))


def _firm(image: NDArray[np.float64], period: int) -> NDArray[np.float64]:
    """Return the counts of pixels with bright ones beside them, others as zero: a hot pixel stands alone."""
    padded = np.pad(image, 1)
    rows, columns = image.shape
    lit = np.zeros(image.shape, np.int64)
    for row in range(3):
        for column in range(3):
            lit += padded[row : row + rows, column : column + columns] > _LIT * period
    return np.where(lit - (image > _LIT * period) >= _SUPPORT, image, 0.0)
