"""Find the surface atoms of a crystal, as distinct from those of a dislocation core, and the depth of the others."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.cxdp.relaxation.census.bonds import Bonds, find_bonds

SURFACE_ASYMMETRY: Final = 1.2
"""Smallest length of the sum of a surface atom's bonds, in lattice parameters. Ideal values: 1.73 on {111}, 2.0 on
{100}, at least 2.1 on {110}, edges and corners; 0.71 beside a vacancy or under a step. The hollow cores of unrelaxed
edge
dislocations reach 1.8: they differ from a surface in that there are atoms outside."""

OUTSIDE: Final = (1.2, 0.6)
"""Distance of a test point outside a surface atom, and the radius around it that must be free of atoms, in lattice
parameters. Inside a solid no point is farther than 0.5 from an atom."""


def surface_layers(positions_A: NDArray[np.floating], a_A: float, bonds: Bonds) -> NDArray[np.int8]:
    """Count bonds to the surface.

    Parameters
    ----------
    positions_A, a_A, bonds
        (N, 3) Å, lattice parameter in Å, and the result of `find_bonds`.

    Returns
    -------
    (N,) int8: 0 on the surface, 1 bonded to it, and so on; 127 if not connected to it.
    """
    length = np.sqrt((bonds.asymmetry**2).sum(axis=1))
    surface = (bonds.count < 12) & (length > SURFACE_ASYMMETRY)
    maybe = np.flatnonzero(surface)
    if maybe.size:
        from scipy.spatial import KDTree  # slow to import

        far, around = OUTSIDE
        positions = np.asarray(positions_A, dtype=np.float64)
        outside = positions[maybe] - bonds.asymmetry[maybe] * (far * a_A / length[maybe, None])
        near, _ = KDTree(positions).query(outside, distance_upper_bound=around * a_A)
        surface[maybe[np.isfinite(near)]] = False
    return _layers(surface, bonds.neighbours)


@njit(cache=True, nogil=True)
def _layers(  # pragma: no cover - compiled
    surface: NDArray[np.bool_], neighbours: NDArray[np.int32]
) -> NDArray[np.int8]:
    n = surface.shape[0]
    layer = np.full(n, 127, np.int8)
    queue = np.empty(n, np.int64)
    last = 0
    for i in range(n):
        if surface[i]:
            layer[i] = 0
            queue[last] = i
            last += 1
    first = 0
    while first < last:
        i = queue[first]
        first += 1
        if layer[i] == 126:
            continue
        for j in neighbours[i]:
            if j < 0:
                break
            if layer[j] == 127:
                layer[j] = layer[i] + 1
                queue[last] = j
                last += 1
    return layer


def surface_shell(positions_A: NDArray[np.floating], a_A: float, depth_A: float) -> NDArray[np.bool_]:
    """Find the atoms near the surface; a dislocation core inside the crystal doesn't count as surface.

    Parameters
    ----------
    positions_A
        (N, 3) Å, relaxed or not.
    a_A
        Lattice parameter in Å.
    depth_A
        Thickness of the shell, Å, measured from half a {111} spacing outside the outermost atoms, so that two layers
        of platinum are 4.5 Å thick.

    Returns
    -------
    (N,) bool; all False if ``depth_A`` is less than half a {111} spacing.

    Raises
    ------
    ValueError
        As `find_bonds`.
    """
    from scipy.spatial import KDTree  # slow to import

    layer = surface_layers(positions_A, a_A, find_bonds(positions_A, a_A))
    reach = depth_A - 0.5 * a_A / np.sqrt(3.0)
    shell = layer == 0
    if reach < 0:
        return np.zeros(len(positions_A), dtype=bool)
    # no bond is longer than 0.86 a, so deeper layers are beyond this straight-line distance from the surface
    near = np.flatnonzero((layer > 0) & (layer <= np.ceil(2.2 * reach / a_A) + 1))
    if near.size and shell.any():
        tree = KDTree(np.asarray(positions_A, dtype=np.float64)[shell])
        distance, _ = tree.query(np.asarray(positions_A, dtype=np.float64)[near], distance_upper_bound=reach)
        shell[near[np.isfinite(distance)]] = True
    return shell
