"""Lattice sites of a rotated face-centred cubic crystal in a box."""

from __future__ import annotations

import math

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.apt.alloys import SITES
from braggwatch.sim.errors import InputError


def orientation(
    pole: tuple[int, int, int], azimuth_deg: float = 0.0, tilt_deg: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float64]:
    """Return the rotation from the cubic axes to x, y, z of the reconstruction.

    The pole is rotated onto z, and the cube edge farthest from the pole into the xz plane at positive x; then the
    crystal is rotated by the azimuth about z and by the two tilts about x and y.

    Parameters
    ----------
    pole
        Direction [h k l] of the crystal along z, e.g. (0, 1, 1).

    Returns
    -------
    (3, 3) float64, applied to columns.

    Raises
    ------
    InputError
        If the pole is (0, 0, 0).
    """
    z = np.array(pole, dtype=np.float64)
    if not z.any():
        raise InputError("the pole [0 0 0] has no direction")
    z /= np.linalg.norm(z)
    edge = np.eye(3)[int(np.argmin(np.abs(z)))]
    x = edge - (edge @ z) * z
    x /= np.linalg.norm(x)
    onto_axes = np.stack([x, np.cross(z, x), z])
    turn = _about(0, tilt_deg[0]) @ _about(1, tilt_deg[1]) @ _about(2, azimuth_deg)
    return np.asarray(turn @ onto_axes, dtype=np.float64)


def _about(axis: int, angle_deg: float) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    turn = np.eye(3)
    b, d = (axis + 1) % 3, (axis + 2) % 3
    turn[b, b] = turn[d, d] = c
    turn[b, d], turn[d, b] = -s, s
    return turn


def sites_in_box(
    edges_nm: NDArray[np.float64],
    origin_nm: NDArray[np.float64],
    low_nm: NDArray[np.float64],
    high_nm: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the sites of a crystal with ``low <= position < high``.

    Parameters
    ----------
    edges_nm
        (3, 3) columns: the edges of the cubic cell, nm.
    origin_nm
        (3,) position of a corner site, nm.
    low_nm, high_nm
        (3,) corners of the box, nm.

    Returns
    -------
    (N, 3) float32 positions, nm, and (N,) uint8 number of the site in the cell (0 to 3).
    """
    corners = np.array([[(low_nm, high_nm)[c >> a & 1][a] for a in range(3)] for c in range(8)])
    inside = np.linalg.solve(edges_nm, (corners - origin_nm).T)
    first = np.floor(inside.min(axis=1)).astype(np.int64) - 1
    last = np.ceil(inside.max(axis=1)).astype(np.int64) + 1
    none = np.empty((0, 3), dtype=np.float32), np.empty(0, dtype=np.uint8)
    count = _fill(edges_nm, origin_nm, low_nm, high_nm, first, last, SITES, *none)
    positions = np.empty((count, 3), dtype=np.float32)
    site = np.empty(count, dtype=np.uint8)
    _fill(edges_nm, origin_nm, low_nm, high_nm, first, last, SITES, positions, site)
    return positions, site


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(  # pragma: no cover - compiled
    edges: NDArray[np.float64],
    origin: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    sites: NDArray[np.float64],
    positions: NDArray[np.float32],
    site: NDArray[np.uint8],
) -> int:
    """Count the sites and write those that fit into the array: each row of cells is a line clipped by the box."""
    n = 0
    room = positions.shape[0]
    start = np.empty(3)
    for i in range(first[0], last[0] + 1):
        for j in range(first[1], last[1] + 1):
            for s in range(sites.shape[0]):
                begin = -math.inf
                end = math.inf
                for a in range(3):
                    start[a] = (
                        origin[a]
                        + edges[a, 0] * (i + sites[s, 0])
                        + edges[a, 1] * (j + sites[s, 1])
                        + edges[a, 2] * sites[s, 2]
                    )
                    step = edges[a, 2]
                    if step == 0.0:
                        if start[a] < low[a] or start[a] >= high[a]:
                            begin = math.inf
                        continue
                    t0 = (low[a] - start[a]) / step
                    t1 = (high[a] - start[a]) / step
                    begin = max(begin, min(t0, t1))
                    end = min(end, max(t0, t1))
                if not begin < end:
                    continue
                for k in range(max(math.floor(begin), first[2]), min(math.ceil(end), last[2]) + 1):
                    x = start[0] + k * edges[0, 2]
                    y = start[1] + k * edges[1, 2]
                    z = start[2] + k * edges[2, 2]
                    if not (low[0] <= x < high[0] and low[1] <= y < high[1] and low[2] <= z < high[2]):
                        continue
                    if n < room:
                        positions[n, 0] = x
                        positions[n, 1] = y
                        positions[n, 2] = z
                        site[n] = s
                    n += 1
    return n
