"""Pair lists with a skin (Verlet), from a grid of cells sorted by counting; Warp kernels, float64, CPU and CUDA.

Several crystals share the arrays, each with its own grid: atoms of different crystals are never neighbours. Warp's own
HashGrid works in float32, which misjudges distances next to the cutoff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import warp as wp
from numpy.typing import NDArray

from braggwatch.sim.cxdp.relaxation.engines import cell_kernels as kernels
from braggwatch.sim.cxdp.relaxation.engines.checks import COINCIDENCE_A
from braggwatch.sim.cxdp.relaxation.engines.eam_kernels import PairList
from braggwatch.sim.errors import InputError
from braggwatch.sim.warp.warp_arrays import WarpArray, WarpStruct, ints, vectors, zeros

_MOST_SLOTS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class GridLayout:
    """Grids of several crystals: lower corners (B, 3) in Å, cells (B, 3) and first cells (B + 1,), edge in Å."""

    lower_A: NDArray[np.float64]
    shape: NDArray[np.int32]
    first_cell: NDArray[np.int32]
    edge_A: float


def lay_out_grids(positions_A: Sequence[NDArray[np.float64]], edge_A: float) -> GridLayout:
    """Lay one grid around each crystal; a flat or single-atom crystal gets at least one cell along each axis."""
    lower = np.asarray([p.min(axis=0) for p in positions_A])
    upper = np.asarray([p.max(axis=0) for p in positions_A])
    cells = np.maximum(np.floor((upper - lower) / edge_A) + 1, 1)
    first = np.concatenate([[0.0], np.cumsum(cells.prod(axis=1))])
    if first[-1] > _MOST_SLOTS:
        raise InputError("the atoms are too far apart: their grid of cells doesn't fit into memory")
    return GridLayout(lower, cells.astype(np.int32), first.astype(np.int32), edge_A)


def spatial_order(positions_A: NDArray[np.float64], edge_A: float) -> NDArray[np.int64]:
    """Return the order (N,) of atoms cell by cell, so that neighbours are close in memory."""
    cells = np.floor((positions_A - positions_A.min(axis=0)) / edge_A).astype(np.int64)
    return np.lexsort((cells[:, 2], cells[:, 1], cells[:, 0]))


class NeighbourList:
    """Pairs of atoms within ``cutoff + skin`` at the positions where they were last listed."""

    def __init__(
        self,
        layout: GridLayout,
        crystal: WarpArray,
        reach_A: float,
        expected_neighbours: int,
        *,
        half: bool,
        interleaved: bool,
        device: wp.Device,
    ) -> None:
        """Allocate.

        Parameters
        ----------
        layout
            Grids whose cells are at least ``reach_A`` wide.
        crystal
            (N,) int32, which crystal each atom belongs to.
        expected_neighbours
            Approximate number of neighbours of an atom (full list); grows if too small.
        half, interleaved
            Kind of list and order of its slots, see `braggwatch.sim.cxdp.relaxation.engines.eam_kernels`.
        """
        self._device = device
        self._crystal = crystal
        self._atoms = int(crystal.shape[0])
        self._reach2 = reach_A**2
        self._interleaved = interleaved
        cells = int(layout.first_cell[-1])
        self._grids: WarpStruct = kernels.Grids()
        self._grids.lower = vectors(layout.lower_A, device)
        self._grids.shape = wp.array(layout.shape, dtype=cast(Any, wp.vec3i), device=device)
        self._grids.first_cell = ints(layout.first_cell, device)
        self._grids.inverse_edge = 1.0 / layout.edge_A
        self._cell = zeros(self._atoms, wp.int32, device)
        self._members = zeros(self._atoms, wp.int32, device)
        self._counts = zeros(cells, wp.int32, device)
        self._start = zeros(cells, wp.int32, device)
        self._end = zeros(cells, wp.int32, device)
        self._most = zeros(2, wp.int32, device)
        self.x_listed = zeros(self._atoms, wp.vec3d, device)
        self.pairs: WarpStruct = PairList()
        self.pairs.half = int(half)
        self.pairs.counts = zeros(self._atoms, wp.int32, device)
        self._capacity = 0
        self._everyone = ints(np.ones(len(layout.shape)), device)
        self._allocate(expected_neighbours // 2 + 8 if half else expected_neighbours + 8)

    def _allocate(self, capacity: int) -> None:
        if capacity * self._atoms > _MOST_SLOTS:
            raise InputError(f"{self._atoms} atoms with up to {capacity} neighbours each: too many for one launch")
        self._capacity = capacity
        self.pairs.neighbours = zeros(capacity * self._atoms, wp.int32, self._device)
        self.pairs.atom_stride = 1 if self._interleaved else capacity
        self.pairs.slot_stride = self._atoms if self._interleaved else 1

    def rebuild(self, x: WarpArray, wanted: WarpArray | None = None) -> None:
        """List the pairs of the crystals with non-zero ``wanted``, (B,) int32; None: of all crystals.

        Raises
        ------
        InputError
            If two atoms coincide (are closer than 0.1 Å).
        """
        atoms, cells, device = self._atoms, self._counts.shape[0], self._device
        self._counts.zero_()
        wp.launch(
            kernels.count_members, atoms, [x, self._crystal, self._grids, self._cell, self._counts], device=device
        )
        wp.utils.array_scan(self._counts, self._start, inclusive=False)
        wp.copy(self._end, self._start)
        wp.launch(kernels.fill_cells, atoms, [self._cell, self._end, self._members], device=device)
        if self._interleaved:
            wp.launch(kernels.sort_members, cells, [self._start, self._end, self._members], device=device)
        chosen = self._everyone if wanted is None else wanted
        while True:
            self._most.zero_()
            inputs = [x, self._crystal, chosen, self._grids, self._start, self._end, self._members, self._reach2]
            inputs += [COINCIDENCE_A**2, self._capacity, self.pairs, self.x_listed, self._most]
            wp.launch(kernels.list_pairs, atoms, inputs, device=device)
            most, coincident = (int(n) for n in self._most.numpy())
            if coincident:
                raise InputError(f"{coincident} pairs of atoms coincide (closer than {COINCIDENCE_A} Å)")
            if most <= self._capacity:
                return
            # the lists of the other crystals are lost with the old memory
            self._allocate(most + 8)
            chosen = self._everyone
