"""How far a crystal's points reach."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def aspect_ratio(positions_nm: NDArray[np.float64]) -> float:
    """Return the longest over the shortest extent of (N, 3) points, rms along their principal axes."""
    extents = np.linalg.eigvalsh(np.cov(positions_nm.T))
    return float(np.sqrt(extents[-1] / extents[0]))
