"""Shape of a dislocation's core: the line's direction and length, and the fault between two partials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystallography.fcc import Miller
from braggwatch.sim.cxdp.relaxation.census.bonds import HCP, IDEAL_BONDS, MOST_NEIGHBOURS, OTHER

PLANES: Final[tuple[Miller, ...]] = ((1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1))
ONE_PLANE: Final = 0.9
"""Smallest share of a core's fault on one plane for the line to lie in that plane. A screw may split on its two planes
alternately: its direction is then that of the whole core."""
LEAST_FAULT_WIDTH: Final = 0.6
"""Width in lattice parameters (two atomic rows) below which a fault is part of the core."""


@dataclass(frozen=True, slots=True)
class CoreShape:
    """A core as a straight line, or a ribbon of stacking fault between two.

    Attributes
    ----------
    direction
        (3,) unit vector of either sign.
    centre
        (3,) Å, halfway between the partials.
    length_A
        Extent along the direction, Å; for two partials, the mean.
    fault_plane
        The {111} plane of the ribbon, or of most of it; None without one.
    fault_width_A
        Area of the fault, on any planes, divided by the length, Å; 0 without one.
    """

    direction: NDArray[np.float64]
    centre: NDArray[np.float64]
    length_A: float
    fault_plane: Miller | None
    fault_width_A: float


def fault_sides(code: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the {111} plane on which each hcp atom is faulted, from the three ideal bonds that it lacks.

    Parameters
    ----------
    code
        (M, `MOST_NEIGHBOURS`) rows of `map_bonds`.

    Returns
    -------
    plane
        (M,) index into `PLANES`; -1 if other than three bonds of one side are lacking (a row of a twin has more).
    side
        (M,) +1 if the lacking bonds point along the plane's normal, -1 if against it.
    """
    if code.shape[1] != MOST_NEIGHBOURS:
        raise ValueError(f"expected rows of {MOST_NEIGHBOURS} bonds, got {code.shape[1]}")
    present = np.zeros((len(code), 12), dtype=bool)
    row, _ = np.nonzero(code >= 0)
    present[row, code[code >= 0]] = True
    lacking = (~present).astype(np.int64) @ IDEAL_BONDS
    plane, side = np.full(len(code), -1), np.zeros(len(code), dtype=np.int64)
    for index, normal in enumerate(PLANES):
        for sign in (1, -1):
            on = (lacking == 2 * sign * np.asarray(normal)).all(axis=1) & (present.sum(axis=1) == 9)
            plane[on], side[on] = index, sign
    return plane, side


def fit_core(
    positions_A: NDArray[np.float64], structure: NDArray[np.int8], code: NDArray[np.int8], a_A: float
) -> CoreShape:
    """Fit a line or a ribbon to a core.

    Parameters
    ----------
    positions_A, structure, code
        The M atoms of the core: (M, 3), (M,) from `classify_structure`, (M, ...) from `map_bonds`.
    a_A
        Lattice parameter in Å.
    """
    centre = positions_A.mean(axis=0)
    _, _, axes = np.linalg.svd(positions_A - centre, full_matrices=False)
    compact = CoreShape(axes[0], centre, float(np.ptp(positions_A @ axes[0])), None, 0.0)
    hcp, other = structure == HCP, structure == OTHER
    plane, side = fault_sides(code[hcp])
    on_planes = np.bincount(plane[plane >= 0], minlength=len(PLANES))
    index = int(on_planes.argmax())
    on = plane == index
    if not _is_intrinsic(positions_A[hcp][on], side[on], index, a_A):
        return compact
    line = compact
    if other.sum() >= 8 and on_planes[index] >= ONE_PLANE * on_planes.sum():
        height = float((positions_A[hcp][on] @ np.asarray(PLANES[index])).mean()) / np.sqrt(3.0)
        line = _between_partials(positions_A[other], index, height)
    # each atom of a {111} layer covers a² √3/4, and a fault has two layers
    area = 0.5 * float(on_planes.sum()) * a_A**2 * np.sqrt(3.0) / 4.0
    width = float(area / max(line.length_A, a_A))
    if width < LEAST_FAULT_WIDTH * a_A:
        return compact
    return CoreShape(line.direction, line.centre, line.length_A, PLANES[index], width)


def _is_intrinsic(hcp: NDArray[np.float64], side: NDArray[np.int64], index: int, a: float) -> bool:
    """Return whether hcp atoms form an intrinsic fault: two adjacent layers, not the two boundaries of a twin."""
    from scipy.spatial import KDTree  # slow to import

    below, above = hcp[side > 0], hcp[side < 0]
    if len(below) < 3 or len(above) < 3:
        return False
    normal = np.asarray(PLANES[index]) / np.sqrt(3.0)
    # the partner of each atom is the nearest one in the other layer, since the fault may be bent
    _, nearest = KDTree(below).query(above)
    spacing = float(np.median((above - below[nearest]) @ normal))
    return abs(spacing - a / np.sqrt(3.0)) < 0.25 * a


def _between_partials(other: NDArray[np.float64], index: int, height: float) -> CoreShape:
    """Fit the two partials, whose cores are neither fcc nor hcp, as parallel lines in plane ``index``."""
    normal = np.asarray(PLANES[index]) / np.sqrt(3.0)
    first = np.cross(normal, [1.0, 0.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    flat = other @ np.stack([first, second], axis=1)
    angle, border = _two_parallel_lines(flat)
    direction = np.cos(angle) * first + np.sin(angle) * second
    across = -np.sin(angle) * flat[:, 0] + np.cos(angle) * flat[:, 1]
    along = np.cos(angle) * flat[:, 0] + np.sin(angle) * flat[:, 1]
    first_partial = across <= border
    length = 0.5 * (float(np.ptp(along[first_partial])) + float(np.ptp(along[~first_partial])))
    middle = [0.5 * float(v[first_partial].mean() + v[~first_partial].mean()) for v in (along, across)]
    centre = middle[0] * direction + middle[1] * np.cross(normal, direction) + height * normal
    return CoreShape(np.asarray(direction, dtype=np.float64), centre, length, None, 0.0)


def _two_parallel_lines(points: NDArray[np.float64]) -> tuple[float, float]:
    """Fit two parallel lines to (K, 2) points: return their angle in radians, and where the border between them is."""
    best = (np.inf, 0.0, 0.0)
    for angle in np.deg2rad(np.arange(0.0, 180.0, 1.0)):
        across = np.sort(-np.sin(angle) * points[:, 0] + np.cos(angle) * points[:, 1])
        n = np.arange(1, len(across))
        left, total = np.cumsum(across)[:-1], float(across.sum())
        # the variance within two groups is least where the one between their means is largest
        between = left**2 / n + (total - left) ** 2 / (len(across) - n)
        within = float((across**2).sum() - between.max())
        if within < best[0]:
            cut = int(between.argmax())
            best = (within, float(angle), 0.5 * float(across[cut] + across[cut + 1]))
    return best[1], best[2]
