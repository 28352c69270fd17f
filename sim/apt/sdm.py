"""Spatial distribution maps (SDMs): histograms of the offsets from ions to their neighbours.

The map of a pair of species (A, B) counts, for each *centre* ion of A and each *neighbour* ion of B other than itself,
the offset neighbour minus centre, dr = (dx, dy, dz), into a histogram of (dz, dx). A pair counts if its offset lies in
the window, ``-half <= d < half`` along each axis, and, if a ball is given, ``|dr| <= ball``. The map of a region has
its centres in the region and its neighbours *anywhere*, so maps of disjoint regions add up to the map of their union,
on which the sliding scan (`braggwatch.sim.apt.scan`) relies. Summed over dx it is the z-SDM.

Source: Geiser et al., Microsc. Microanal. 13, 437 (2007); Moody et al., Microsc. Res. Tech. 72, 542 (2009); as network
input Li et al., npj Comput. Mater. 7, 8 (2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.apt.columns import sort_into_columns
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class SdmWindow:
    """Offsets that an SDM counts, and its bins.

    Attributes
    ----------
    half_x_nm, half_y_nm, half_z_nm
        Half widths of the window, nm; ``half_y_nm`` may be infinite.
    bins_x, bins_z
        Bins of equal width over ``-half`` to ``half``; one bin along x gives the z-SDM.
    ball_nm
        Longest offset, nm; None: limited by the window only.
    """

    half_x_nm: float = 0.7
    half_y_nm: float = 0.7
    half_z_nm: float = 0.6975
    bins_x: int = 5
    bins_z: int = 93
    ball_nm: float | None = None

    def __post_init__(self) -> None:
        if min(self.half_x_nm, self.half_y_nm, self.half_z_nm) <= 0 or math.isinf(self.half_x_nm + self.half_z_nm):
            raise InputError("the half widths of a window must be positive, along x and z also finite")
        if self.bins_x < 1 or self.bins_z < 1:
            raise InputError("a map needs at least one bin along each axis")
        if self.ball_nm is not None and not self.ball_nm > 0:
            raise InputError("the radius of the ball must be positive")

    @property
    def shape(self) -> tuple[int, int]:
        """(bins_z, bins_x): shape of one map."""
        return self.bins_z, self.bins_x

    @property
    def reach_nm(self) -> tuple[float, float, float]:
        """Largest |dx|, |dy| and |dz| that count, nm."""
        ball = math.inf if self.ball_nm is None else self.ball_nm
        return min(self.half_x_nm, ball), min(self.half_y_nm, ball), min(self.half_z_nm, ball)

    def z_nm(self) -> NDArray[np.float64]:
        """(bins_z,) centres of the bins along z, nm."""
        return _bin_centres(self.half_z_nm, self.bins_z)

    def x_nm(self) -> NDArray[np.float64]:
        """(bins_x,) centres of the bins along x, nm."""
        return _bin_centres(self.half_x_nm, self.bins_x)


def _bin_centres(half_nm: float, bins: int) -> NDArray[np.float64]:
    edges = np.linspace(-half_nm, half_nm, bins + 1)
    return np.asarray((edges[:-1] + edges[1:]) / 2, dtype=np.float64)


FIVE_CHANNELS = SdmWindow()
"""Default: bins of 0.015 nm along z, one of them around 0, in five channels along x."""
Z_ONLY = SdmWindow(bins_x=1)
"""The z-SDM of the same window."""
PAPER = SdmWindow(half_x_nm=0.705, half_y_nm=1.5, half_z_nm=0.705, bins_x=94, bins_z=94, ball_nm=1.5)
"""Li et al. 2021: 200 x 200 bins over ±1.5 nm, neighbours in a ball of 1.5 nm; cut to the inner 94 x 94 bins (±0.7)."""


_MOST_COLUMNS = 1000


def zx_sdm(
    positions_nm: NDArray[np.float32],
    window: SdmWindow = FIVE_CHANNELS,
    *,
    centres: NDArray[np.bool_] | None = None,
    neighbours: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Count the SDM of a cloud of ions in linear time.

    Parameters
    ----------
    positions_nm
        (N, 3) x, y, z, nm.
    centres, neighbours
        (N,) bool: which ions are centres (species A, in the region), which neighbours (species B, anywhere); None: all.

    Returns
    -------
    (bins_z, bins_x) float32 counts.
    """
    everyone = np.ones(len(positions_nm), dtype=np.bool_)
    counts = np.zeros(window.bins_z * window.bins_x, dtype=np.int64)
    if len(positions_nm) > 0:
        low_x, low_y = positions_nm[:, :2].min(axis=0)
        # half of the window's reach, unless a small window in a large cloud would give millions of empty columns
        edge = max(window.reach_nm[0] / 2, float(np.ptp(positions_nm[:, :2], axis=0).max()) / _MOST_COLUMNS)
        columns = sort_into_columns(positions_nm, (float(low_x), float(low_y)), edge)
        _count(
            np.ascontiguousarray(positions_nm[columns.order], dtype=np.float32),
            (everyone if centres is None else centres)[columns.order],
            (everyone if neighbours is None else neighbours)[columns.order],
            columns.start,
            columns.shape,
            column_reach(window, edge, columns.shape),
            kernel_limits(window),
            window.shape,
            counts,
        )
    return counts.reshape(window.shape).astype(np.float32)


def kdtree_sdm(
    positions_nm: NDArray[np.float32],
    window: SdmWindow = FIVE_CHANNELS,
    *,
    centres: NDArray[np.bool_] | None = None,
    neighbours: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Count the same map as `zx_sdm` by the published method: ball queries in a k-d tree, then a histogram.

    It is the reference for the faster methods in tests and benchmarks.
    """
    from scipy.spatial import KDTree

    everyone = np.arange(len(positions_nm))
    a = everyone if centres is None else np.flatnonzero(centres)
    b = everyone if neighbours is None else np.flatnonzero(neighbours)
    if a.size == 0 or b.size == 0:
        return np.zeros(window.shape, dtype=np.float32)
    axes = [n for n, reach in enumerate(window.reach_nm) if np.isfinite(reach)]
    radius = float(np.linalg.norm([window.reach_nm[n] for n in axes]))
    if window.ball_nm is not None:
        radius = min(radius, window.ball_nm)
    # slightly larger than the ball: the exact condition is applied to the offsets below
    tree = KDTree(positions_nm[b][:, axes].astype(np.float64))
    found = tree.query_ball_point(positions_nm[a][:, axes].astype(np.float64), radius * (1 + 1e-6))
    first = np.repeat(a, [len(f) for f in found])
    second = b[np.concatenate([np.asarray(f, dtype=np.int64) for f in found])]
    d = (positions_nm[second].astype(np.float64) - positions_nm[first].astype(np.float64))[first != second]
    half_x, half_y, half_z, per_x, per_z, ball2 = kernel_limits(window)
    column = np.floor((d[:, 0] + half_x) * per_x)
    row = np.floor((d[:, 2] + half_z) * per_z)
    inside = (column >= 0) & (column < window.bins_x) & (row >= 0) & (row < window.bins_z)
    inside &= (d[:, 1] >= -half_y) & (d[:, 1] < half_y) & ((d**2).sum(axis=1) <= ball2)
    flat = (row[inside] * window.bins_x + column[inside]).astype(np.int64)
    return np.bincount(flat, minlength=window.bins_x * window.bins_z).reshape(window.shape).astype(np.float32)


def kernel_limits(window: SdmWindow) -> tuple[float, float, float, float, float, float]:
    """Return (half_x, half_y, half_z, bins per nm along x, along z, ball squared) in the kernels' precision."""
    return (
        window.half_x_nm,
        window.half_y_nm,
        window.half_z_nm,
        window.bins_x / (2 * window.half_x_nm),
        window.bins_z / (2 * window.half_z_nm),
        math.inf if window.ball_nm is None else window.ball_nm**2,
    )


def column_reach(window: SdmWindow, edge_nm: float, shape: tuple[int, int]) -> tuple[int, int]:
    """Return how many columns away along x and y a neighbour can be, at most the number of columns."""
    x, y = (
        n if math.isinf(reach) else math.ceil(reach / edge_nm) for n, reach in zip(shape, window.reach_nm, strict=False)
    )
    return min(x, shape[0]), min(y, shape[1])


@njit(inline="always")
def bin_of(  # pragma: no cover - compiled
    dx: float,
    dy: float,
    dz: float,
    limits: tuple[float, float, float, float, float, float],
    bins_z: int,
    bins_x: int,
) -> int:
    """Return the flat (z, x) bin of an offset, -1 outside the window."""
    half_x, half_y, half_z, per_x, per_z, ball2 = limits
    if dy < -half_y or dy >= half_y:
        return -1
    column = math.floor((dx + half_x) * per_x)
    row = math.floor((dz + half_z) * per_z)
    if column < 0 or column >= bins_x or row < 0 or row >= bins_z or dx * dx + dy * dy + dz * dz > ball2:
        return -1
    return row * bins_x + column


@njit(cache=True, nogil=True, error_model="numpy")
def _count(  # pragma: no cover - compiled
    p: NDArray[np.float32],
    is_centre: NDArray[np.bool_],
    is_neighbour: NDArray[np.bool_],
    start: NDArray[np.int64],
    columns: tuple[int, int],
    reach: tuple[int, int],
    limits: tuple[float, float, float, float, float, float],
    bins: tuple[int, int],
    counts: NDArray[np.int64],
) -> None:
    half_z = limits[2]
    for cx in range(columns[0]):
        for cy in range(columns[1]):
            own = cx * columns[1] + cy
            for nx in range(max(cx - reach[0], 0), min(cx + reach[0] + 1, columns[0])):
                for ny in range(max(cy - reach[1], 0), min(cy + reach[1] + 1, columns[1])):
                    low = start[nx * columns[1] + ny]
                    end = start[nx * columns[1] + ny + 1]
                    for i in range(start[own], start[own + 1]):
                        if not is_centre[i]:
                            continue
                        z = np.float64(p[i, 2])
                        while low < end and np.float64(p[low, 2]) - z < -half_z:
                            low += 1
                        x = np.float64(p[i, 0])
                        y = np.float64(p[i, 1])
                        for j in range(low, end):
                            dz = np.float64(p[j, 2]) - z
                            if dz >= half_z:
                                break
                            if is_neighbour[j] and j != i:
                                at = bin_of(
                                    np.float64(p[j, 0]) - x, np.float64(p[j, 1]) - y, dz, limits, bins[0], bins[1]
                                )
                                if at >= 0:
                                    counts[at] += 1
