"""The one lattice that bare positions show."""

from __future__ import annotations

import numpy as np

from braggwatch.models.sadp.lattice_search import best_lattice, find_lattices
from braggwatch.models.sadp.plane_lattice import PlaneLattice


def find_lattice(positions: np.ndarray, tolerance: float) -> PlaneLattice | None:
    """Find lattices of spots that are all alike, none of them hidden, and choose one."""
    return best_lattice(find_lattices(positions, tolerance), np.ones(len(positions)), tolerance)
