"""Checks of the positions and the shell that all engines share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError

COINCIDENCE_A = 0.1
"""Atoms closer than this (Å) are treated as one atom placed twice."""


def checked_positions(positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, 3) positions as float64 in C order.

    Raises
    ------
    ValueError
        If they have another shape or aren't finite.
    """
    positions = np.ascontiguousarray(positions_A, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) == 0:
        raise ValueError(f"positions have shape {positions.shape}, not (N, 3) with N > 0")
    if not np.isfinite(positions).all():
        raise InputError("positions contain values that aren't finite")
    return positions


def checked_shell(shell: NDArray[np.bool_] | None, atoms: int) -> NDArray[np.bool_]:
    """Return the shell, (N,) bool: True for atoms to hold.

    Raises
    ------
    ValueError
        If there is no shell, its length isn't the number of atoms, or it contains all of them.
    """
    if shell is None:
        raise ValueError("the 'clamped' protocol needs the shell of atoms to hold")
    held = np.asarray(shell)
    if held.shape != (atoms,) or held.dtype != np.bool_:
        raise ValueError(f"the shell is {held.dtype} of shape {held.shape}, not bool of ({atoms},)")
    if held.all():
        raise InputError("the shell contains every atom: the crystal is too small for this depth")
    return held
