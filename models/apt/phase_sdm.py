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

_MOST_VOXELS = 40_000


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

    Of a large grid, in the slices across x that hold most of the ordered voxels, about 40 000 voxels in all: more pairs
    show nothing more.

    Parameters
    ----------
    ions
        Named host and solute, levelled.
    ordered, matrix
        Voxels of each phase; those of neither count for neither.
    """
    phases = {"ordered": ordered, "matrix": matrix}
    sums = {name: np.zeros((len(PAIRS), Z_ONLY.bins_z)) for name in phases}
    settings = ScanSettings(Z_ONLY, grid.voxel_nm, 1)
    _, ny, nz = grid.shape
    most_ordered = np.argsort(-ordered.sum(axis=(1, 2)), kind="stable")
    for i in most_ordered[: max(1, _MOST_VOXELS // (ny * nz))].tolist():
        x = grid.origin_nm[0] + i * grid.voxel_nm
        slab = VoxelGrid((x, *grid.origin_nm[1:]), (1, ny, nz), grid.voxel_nm)
        off = ions.positions_nm[:, 0] - np.float32(x)
        near = (off > -Z_ONLY.half_x_nm) & (off < grid.voxel_nm + Z_ONLY.half_x_nm)
        local = LabelledIons(ions.positions_nm[near], ions.species[near], ions.names)
        for block in scan_blocks(local, PAIRS, settings, grid=slab):
            rows = slice(block.j, block.j + block.maps.shape[0])
            for name, mask in phases.items():
                sums[name] += block.maps[mask[i, rows]].sum(axis=(0, 3), dtype=np.float64)
    return tuple(
        PhaseSdm(name, pair, Z_ONLY.z_nm(), total[n]) for name, total in sums.items() for n, pair in enumerate(PAIRS)
    )
