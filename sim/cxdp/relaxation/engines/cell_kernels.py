"""Warp kernels that sort atoms into cells and list pairs; float64, CPU and CUDA."""

# Warp compiles these functions and never runs them as Python: their types are Warp's, checked when it compiles.
# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportInvalidTypeForm=false
# pyright: reportOperatorIssue=false

from __future__ import annotations

import warp as wp

from braggwatch.sim.cxdp.relaxation.engines.eam_kernels import PairList


@wp.struct
class Grids:
    """Cells of each crystal: lower corner, numbers of cells, number of its first cell."""

    lower: wp.array[wp.vec3d]
    shape: wp.array[wp.vec3i]
    first_cell: wp.array[wp.int32]
    inverse_edge: wp.float64


@wp.func
def cell_coordinates(x: wp.vec3d, lower: wp.vec3d, shape: wp.vec3i, inverse_edge: wp.float64) -> wp.vec3i:
    """Return the cell of a position; atoms outside the grid belong to its outermost cells, as in the pair search."""
    d = (x - lower) * inverse_edge
    return wp.vec3i(
        wp.clamp(wp.int32(wp.floor(d[0])), 0, shape[0] - 1),
        wp.clamp(wp.int32(wp.floor(d[1])), 0, shape[1] - 1),
        wp.clamp(wp.int32(wp.floor(d[2])), 0, shape[2] - 1),
    )


@wp.kernel(enable_backward=False)
def count_members(
    x: wp.array[wp.vec3d],
    crystal: wp.array[wp.int32],
    grids: Grids,
    cell: wp.array[wp.int32],
    counts: wp.array[wp.int32],
):
    """Find each atom's cell and count each cell's atoms; ``counts`` must start at 0."""
    i = wp.tid()
    c = crystal[i]
    shape = grids.shape[c]
    k = cell_coordinates(x[i], grids.lower[c], shape, grids.inverse_edge)
    index = grids.first_cell[c] + (k[0] * shape[1] + k[1]) * shape[2] + k[2]
    cell[i] = index
    wp.atomic_add(counts, index, 1)


@wp.kernel(enable_backward=False)
def fill_cells(cell: wp.array[wp.int32], cursor: wp.array[wp.int32], members: wp.array[wp.int32]):
    """List the atoms' numbers cell by cell; ``cursor`` goes from each cell's start to its end."""
    i = wp.tid()
    slot = wp.atomic_add(cursor, cell[i], 1)
    members[slot] = i


@wp.kernel(enable_backward=False)
def sort_members(start: wp.array[wp.int32], end: wp.array[wp.int32], members: wp.array[wp.int32]):
    """Sort the numbers in each cell: threads fill it in any order, but sums over neighbours must not depend on it."""
    c = wp.tid()
    for s in range(start[c] + 1, end[c]):
        atom = members[s]
        t = s - 1
        while t >= start[c] and members[t] > atom:
            members[t + 1] = members[t]
            t -= 1
        members[t + 1] = atom


@wp.kernel(enable_backward=False)
def list_pairs(
    x: wp.array[wp.vec3d],
    crystal: wp.array[wp.int32],
    wanted: wp.array[wp.int32],
    grids: Grids,
    start: wp.array[wp.int32],
    end: wp.array[wp.int32],
    members: wp.array[wp.int32],
    reach2: wp.float64,
    coincident2: wp.float64,
    capacity: wp.int32,
    pairs: PairList,
    x_listed: wp.array[wp.vec3d],
    most: wp.array[wp.int32],
):
    """List the neighbours of each atom of the selected crystals.

    ``most`` receives the largest number of neighbours, and the number of pairs so close that they coincide.
    """
    i = wp.tid()
    c = crystal[i]
    if wanted[c] == 0:
        return
    xi = x[i]
    x_listed[i] = xi
    shape = grids.shape[c]
    k = cell_coordinates(xi, grids.lower[c], shape, grids.inverse_edge)
    z0 = wp.max(k[2] - 1, 0)
    z1 = wp.min(k[2] + 1, shape[2] - 1)
    base = i * pairs.atom_stride
    n = wp.int32(0)
    for a in range(wp.max(k[0] - 1, 0), wp.min(k[0] + 2, shape[0])):
        for b in range(wp.max(k[1] - 1, 0), wp.min(k[1] + 2, shape[1])):
            row = grids.first_cell[c] + (a * shape[1] + b) * shape[2]
            for s in range(start[row + z0], end[row + z1]):
                j = members[s]
                d = x[j] - xi
                r2 = wp.dot(d, d)
                if r2 < reach2 and j != i:
                    if r2 < coincident2:
                        wp.atomic_add(most, 1, 1)
                    # the parity rule gives each atom about half of its pairs, whatever its number
                    if pairs.half == 0 or (i < j) == ((i + j) % 2 == 0):
                        if n < capacity:
                            pairs.neighbours[base + n * pairs.slot_stride] = j
                        n += 1
    pairs.counts[i] = wp.min(n, capacity)
    if n > most[0]:
        wp.atomic_max(most, 0, n)
