"""Every cube of a reconstruction through an order network: what scoring voxels and calling cubes have in common."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.order_bundle import sdm_input_of
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.runtimes.base import Runtime, RuntimeOutput
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons
from braggwatch.sim.apt.scan import scan_blocks


class CubeScan:
    """Counts the maps of cubes and runs an order bundle on them.

    Parameters
    ----------
    bundle
        Of task ``apt-order``.
    runtime
        What runs it.

    Raises
    ------
    BundleError
        If the bundle isn't one of spatial distribution maps.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        self.sdm = sdm_input_of(bundle)
        """What the network looks at."""
        self._runtime = runtime

    def run(
        self,
        ions: LabelledIons,
        grid: VoxelGrid,
        judge: Callable[[RuntimeOutput, NDArray[np.float32]], NDArray[np.floating]],
        progress: Callable[[int, int], None] | None = None,
        *,
        fields: int,
        least_ions: float,
        batch: int,
    ) -> NDArray[np.float32]:
        """Judge all cubes that lie in a grid, at a stride of one voxel.

        Parameters
        ----------
        ions
            Named host and solute (`braggwatch.models.apt.channels`), levelled.
        judge
            From the network's output and its (B, pairs, bins_z, bins_x) maps to (fields, B) numbers.
        progress
            Called with (slabs done, all).
        fields
            Numbers of a cube.
        least_ions
            A cube with fewer ions isn't judged, nor is an empty one.
        batch
            Maps that go through the network at once.

        Returns
        -------
        (fields, nx - k + 1, ny - k + 1, nz - k + 1) float32, k voxels a cube's side; NaN where it wasn't judged.

        Raises
        ------
        ValueError
            If no cube fits into the grid.
        """
        cubes = grid.cubes(self.sdm.cube_voxels)
        found = np.full((fields, *cubes), np.nan, dtype=np.float32)
        for block in scan_blocks(ions, self.sdm.pairs, self.sdm.scan_settings(), progress, grid=grid):
            maps = block.maps.reshape(-1, *self.sdm.shape)
            chosen = np.flatnonzero(block.ions.ravel() >= max(1.0, least_ions))
            values = np.full((fields, len(maps)), np.nan, dtype=np.float32)
            for at in range(0, len(chosen), batch):
                some = chosen[at : at + batch]
                counts = np.ascontiguousarray(maps[some])
                values[:, some] = judge(self._runtime.run(counts), counts)
            rows = block.maps.shape[0]
            found[:, block.i, block.j : block.j + rows] = values.reshape(fields, rows, cubes[2])
        return found
