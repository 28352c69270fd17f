"""Where a simulated pattern lies on the model's grid, and how large its voxels are: by the estimators of live data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.peak_centre import peak_centre
from braggwatch.callbacks.cxdp.preprocess.scale import estimate_size


class LiveFraming:
    """Scale and centre by the estimators of live data (see `sim.cxdp.grid_patterns.Framing`)."""

    def size_nm(self, intensity: NDArray[np.float32], step_inv_nm: float) -> float | None:
        """Estimate L from the autocorrelation."""
        estimate = estimate_size(intensity, 2 * np.pi * step_inv_nm / 10.0)
        return None if estimate is None else estimate.size_nm

    def centre(self, intensity: NDArray[np.float32], fringe_voxels: float) -> NDArray[np.float64]:
        """Return the windowed centre of mass; the window covers two fringes."""
        return peak_centre(intensity, min(2.0 * fringe_voxels, 16.0))
