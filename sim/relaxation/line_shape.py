"""Where the atoms of a dislocation's core lie: the line's direction, its length, and the fault between two partials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystal.fcc import Miller
from braggwatch.sim.relaxation.bonds import HCP, IDEAL_BONDS, MOST_NEIGHBOURS, OTHER

PLANES: Final[tuple[Miller, ...]] = ((1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1))
RIBBON_HCP_SHARE: Final = 0.25
"""Share of hcp atoms in a core from which it is looked at as a ribbon of stacking fault."""
LEAST_FAULT_WIDTH: Final = 0.9
"""Width in lattice parameters, three atomic rows, under which a fault is part of the core."""


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
        Extent along the direction; of two partials, the mean.
    fault_plane
        The {111} plane of the ribbon; None without one.
    fault_width_A
        Area of the fault over the length; 0 without one.
    """

    direction: NDArray[np.float64]
    centre: NDArray[np.float64]
    length_A: float
    fault_plane: Miller | None
    fault_width_A: float


def fault_sides(code: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which {111} plane each hcp atom is faulted on, from the three ideal bonds that it lacks.

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
    there = np.zeros((len(code), 12), dtype=bool)
    row, _ = np.nonzero(code >= 0)
    there[row, code[code >= 0]] = True
    lacking = (~there).astype(np.int64) @ IDEAL_BONDS
    plane, side = np.full(len(code), -1), np.zeros(len(code), dtype=np.int64)
    for index, normal in enumerate(PLANES):
        for sign in (1, -1):
            on = (lacking == 2 * sign * np.asarray(normal)).all(axis=1) & (there.sum(axis=1) == 9)
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
    ribbon = _fit_ribbon(positions_A, structure, code, a_A)
    if ribbon is not None:
        return ribbon
    centre = positions_A.mean(axis=0)
    _, _, axes = np.linalg.svd(positions_A - centre, full_matrices=False)
    return CoreShape(axes[0], centre, float(np.ptp(positions_A @ axes[0])), None, 0.0)


def _fit_ribbon(
    positions: NDArray[np.float64], structure: NDArray[np.int8], code: NDArray[np.int8], a: float
) -> CoreShape | None:
    hcp = structure == HCP
    other = structure == OTHER
    if hcp.mean() < RIBBON_HCP_SHARE or other.sum() < 8:
        return None
    plane, side = fault_sides(code[hcp])
    if not (plane >= 0).any():
        return None
    index = int(np.bincount(plane[plane >= 0], minlength=len(PLANES)).argmax())
    normal = np.asarray(PLANES[index]) / np.sqrt(3.0)
    height = positions[hcp] @ normal
    below, above = height[(plane == index) & (side > 0)], height[(plane == index) & (side < 0)]
    # an intrinsic fault is two hcp layers next to each other; a twin lamella's boundaries lie farther apart
    if len(below) < 3 or len(above) < 3 or abs(float(above.mean() - below.mean()) - a / np.sqrt(3.0)) > 0.25 * a:
        return None
    first = np.cross(normal, [1.0, 0.0, 0.0] if index != 3 else [0.0, 1.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    flat = positions[other] @ np.stack([first, second], axis=1)
    angle, border = _two_parallel_lines(flat)
    direction = np.cos(angle) * first + np.sin(angle) * second
    across = -np.sin(angle) * flat[:, 0] + np.cos(angle) * flat[:, 1]
    along = np.cos(angle) * flat[:, 0] + np.sin(angle) * flat[:, 1]
    left = across <= border
    length = 0.5 * (float(np.ptp(along[left])) + float(np.ptp(along[~left])))
    # each atom of a {111} layer covers a² √3/4, and a fault has two layers
    width = 0.5 * float((plane == index).sum()) * a * a * np.sqrt(3.0) / 4.0 / max(length, a)
    if width < LEAST_FAULT_WIDTH * a:
        return None
    middle = [0.5 * float(v[left].mean() + v[~left].mean()) for v in (along, across)]
    centre = middle[0] * direction + middle[1] * np.cross(normal, direction)
    centre = centre + normal * float(height.mean())
    return CoreShape(direction, centre, length, PLANES[index], width)


def _two_parallel_lines(points: NDArray[np.float64]) -> tuple[float, float]:
    """Fit two parallel lines to (K, 2) points: their angle in radians, and the border between them across it."""
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
