"""z-SDMs of each phase: the planes as the ions of one phase see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.sdm_input import PAIRS
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons
from braggwatch.sim.apt.scan import ScanSettings, scan_blocks
from braggwatch.sim.apt.sdm import Z_ONLY


@dataclass(frozen=True, slots=True)
class PhaseSdm:
    """z-SDM of one pair of species, centres in one phase, neighbours anywhere.

    Attributes
    ----------
    phase
        'ordered' or 'matrix'.
    pair
        (centre, neighbour): host or solute.
    z_nm
        (B,) offsets.
    counts
        (B,) pairs.
    """

    phase: str
    pair: tuple[str, str]
    z_nm: NDArray[np.float64]
    counts: NDArray[np.float64]


def phase_sdms(
    ions: LabelledIons, grid: VoxelGrid, ordered: NDArray[np.bool_], matrix: NDArray[np.bool_]
) -> tuple[PhaseSdm, ...]:
    """Count the z-SDMs of host and solute in both phases.

    Parameters
    ----------
    ions
        Named host and solute, levelled.
    ordered, matrix
        Voxels of each phase; those of neither count for neither.
    """
    phases = {"ordered": ordered, "matrix": matrix}
    sums = {name: np.zeros((len(PAIRS), Z_ONLY.bins_z)) for name in phases}
    for block in scan_blocks(ions, PAIRS, ScanSettings(Z_ONLY, grid.voxel_nm, 1), grid=grid):
        rows = slice(block.j, block.j + block.maps.shape[0])
        for name, mask in phases.items():
            sums[name] += block.maps[mask[block.i, rows]].sum(axis=(0, 3), dtype=np.float64)
    return tuple(
        PhaseSdm(name, pair, Z_ONLY.z_nm(), total[n]) for name, total in sums.items() for n, pair in enumerate(PAIRS)
    )
