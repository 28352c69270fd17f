"""Find the patterns that show enough of their zone to identify it."""

from __future__ import annotations

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.sadp.pattern_set import PatternSet

VISIBLE = 1e-3
"""Share of the brightest spot from which a spot counts."""
MIN_SPOTS = 8
"""Least number of visible spots in the zero layer; half as many must lie outside a single row."""


def shows_lattice(patterns: PatternSet, visible: float = VISIBLE) -> NDArray[np.bool_]:
    """Return which patterns show the plane lattice of their zone, (P,) bool.

    Along a high-index zone of a small cell in a thick foil, possibly only one row of spots and spots of higher-order
    Laue zones are visible: such a pattern doesn't identify its zone, and at a microscope one would tilt further.
    """
    return _shows(
        patterns.offsets, patterns.intensity, patterns.hkl.astype(np.int64), patterns.zone.astype(np.int64), visible
    )


@njit(cache=True, nogil=True)
def _shows(
    offsets: NDArray[np.int64],
    intensity: NDArray[np.float32],
    hkl: NDArray[np.int64],
    zone: NDArray[np.int64],
    visible: float,
) -> NDArray[np.bool_]:
    result = np.zeros(len(zone), dtype=np.bool_)
    for p in range(len(zone)):
        row = -1
        shortest = 0
        for n in range(offsets[p], offsets[p + 1]):
            if intensity[n] < visible or (hkl[n] * zone[p]).sum() != 0:
                continue
            size = (hkl[n] * hkl[n]).sum()
            if row < 0 or size < shortest:
                row, shortest = n, size
        if row < 0:
            continue
        visible_spots, outside_row = 0, 0
        for n in range(offsets[p], offsets[p + 1]):
            if intensity[n] < visible or (hkl[n] * zone[p]).sum() != 0:
                continue
            visible_spots += 1
            for i in range(3):
                j = (i + 1) % 3
                if hkl[row, i] * hkl[n, j] != hkl[row, j] * hkl[n, i]:
                    outside_row += 1
                    break
        result[p] = visible_spots >= MIN_SPOTS and 2 * outside_row >= MIN_SPOTS
    return result
