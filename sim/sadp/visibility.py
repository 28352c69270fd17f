"""Which patterns show enough of their zone to tell it."""

from __future__ import annotations

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.sadp.pattern_set import PatternSet

VISIBLE = 1e-3
"""Share of the brightest spot from which on a spot counts."""
MIN_SPOTS = 8
"""Visible spots of the zero layer; half as many of them beside one row."""


def shows_lattice(patterns: PatternSet, visible: float = VISIBLE) -> NDArray[np.bool_]:
    """Say which patterns show the plane lattice of their zone, (P,).

    Along a zone of high indices of a small cell, in a thick foil, no more than one row of spots may be in sight, and
    others of higher layers: such a picture tells no zone to anybody, and at a microscope one would tilt on.
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
        there, beside = 0, 0
        for n in range(offsets[p], offsets[p + 1]):
            if intensity[n] < visible or (hkl[n] * zone[p]).sum() != 0:
                continue
            there += 1
            for i in range(3):
                j = (i + 1) % 3
                if hkl[row, i] * hkl[n, j] != hkl[row, j] * hkl[n, i]:
                    beside += 1
                    break
        result[p] = there >= MIN_SPOTS and 2 * beside >= MIN_SPOTS
    return result
