"""The facet star of a cubic crystal: the directions in which its streaks must point, and how far those found are off.

Flat facets are lattice planes: of a cubic crystal nearly always {111}, {100} and {110}. Each draws a streak along its
normal, a crystal truncation rod (I. K. Robinson, Phys. Rev. B 33, 3830 (1986)). Where the reflection is stated, the
angle of each normal to Q is known as well, and the only freedom left is the crystal's azimuth about Q.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.facets import Streaks
from braggwatch.sim.crystallography.miller import Miller, canonical, family

FAMILIES: tuple[Miller, ...] = ((1, 1, 1), (1, 0, 0), (1, 1, 0))
"""Families of the facets, in the order of `Star.directions`."""

_AZIMUTH_STEP_DEG = 1.0
_FURTHEST_DEG = 15.0
_STRONGEST = 20.0


@dataclass(frozen=True, slots=True)
class StarFit:
    """The star at the azimuth that fits the streaks best.

    Attributes
    ----------
    streaks
        Number of streaks found.
    misfit_deg
        Root mean square angle between each streak and its nearest direction of the star, each counted by its strength
        and with at most 15°; directions drawn at random have some 10°. 0 without streaks.
    directions
        (13, 3) unit vectors of the star: lines, {111}, {100}, then {110}; axis 0 along Q.
    """

    streaks: int
    misfit_deg: float
    directions: NDArray[np.float64]


def star_lines() -> tuple[Miller, ...]:
    """Return one of each ± pair of the facets' normals, 4 + 3 + 6."""
    return tuple(dict.fromkeys(canonical(member) for kind in FAMILIES for member in family(kind)))


@lru_cache(maxsize=8)
def _stars(hkl: Miller) -> NDArray[np.float64]:
    """Return (azimuths, 13, 3): the star with the reflection along axis 0, at each azimuth about it."""
    along = np.asarray(hkl, dtype=np.float64)
    along /= np.linalg.norm(along)
    # any direction that isn't parallel to the reflection will do
    beside = np.cross(along, np.roll(along, 1) + np.array([0.0, 0.0, 1.0]))
    beside /= np.linalg.norm(beside)
    axes = np.stack([along, beside, np.cross(along, beside)])
    normals = np.asarray(star_lines(), dtype=np.float64)
    lines = normals / np.linalg.norm(normals, axis=1, keepdims=True) @ axes.T
    azimuth = np.radians(np.arange(0.0, 360.0, _AZIMUTH_STEP_DEG))
    cos, sin = np.cos(azimuth)[:, None], np.sin(azimuth)[:, None]
    first = np.broadcast_to(lines[:, 0], (azimuth.size, len(lines)))
    return np.stack([first, cos * lines[:, 1] - sin * lines[:, 2], sin * lines[:, 1] + cos * lines[:, 2]], axis=-1)


def fit_star(streaks: Streaks, hkl: Miller) -> StarFit:
    """Turn the star about Q until it fits the streaks best.

    Parameters
    ----------
    streaks
        Their directions, axis 0 along Q.
    hkl
        The reflection, any member of its family; not 000.
    """
    # all members of a family are alike but for a rotation or a mirror image, which the star has too
    low, middle, high = sorted(abs(index) for index in hkl)
    stars = _stars((low, middle, high))
    if not len(streaks.directions):
        return StarFit(0, 0.0, stars[0])
    cosines = np.abs(stars.reshape(-1, 3) @ streaks.directions.T).reshape(len(stars), -1, len(streaks.directions))
    angles = np.degrees(np.arccos(np.clip(cosines.max(axis=1), 0.0, 1.0)))
    weight = np.minimum(streaks.strength, _STRONGEST)
    misfit = np.sqrt((np.minimum(angles, _FURTHEST_DEG) ** 2 @ weight) / weight.sum())
    best = int(np.argmin(misfit))
    return StarFit(len(streaks.directions), float(misfit[best]), stars[best])
