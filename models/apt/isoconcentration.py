"""The usual way to find precipitates, beside which every result is shown: an isoconcentration surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.threshold import otsu
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons


def concentration(
    ions: LabelledIons, solute: str, grid: VoxelGrid, delocalisation_voxels: float = 1.0
) -> NDArray[np.float32]:
    """Return the part of each voxel's ranged ions that are solute, (nx, ny, nz) float32, NaN where there are none.

    Parameters
    ----------
    delocalisation_voxels
        Standard deviation of the Gaussian that counts are spread by before they are divided.
    """
    from scipy.ndimage import gaussian_filter

    ranged = ions.species < len(ions.names)
    total = grid.count(ions.positions_nm[ranged]).astype(np.float64)
    some = grid.count(ions.positions_nm[ions.species == ions.index(solute)]).astype(np.float64)
    spread = gaussian_filter(total, delocalisation_voxels, mode="constant")
    part = gaussian_filter(some, delocalisation_voxels, mode="constant") / np.maximum(spread, 1e-9)
    return np.where(total > 0, part, np.nan).astype(np.float32)


def isoconcentration_cuts(part: NDArray[np.float32], given: float | None) -> dict[str, float]:
    """Return the thresholds to show: Otsu's, and the one given, e.g. 0.08 for 8 at.% of solute."""
    cuts = {"otsu": otsu(part)[0]}
    if given is not None:
        cuts["given"] = given
    return cuts
