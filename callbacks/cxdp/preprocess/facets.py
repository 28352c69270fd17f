"""Finds facet streaks of a Bragg peak; the angles between them check the geometry.

A flat facet produces a streak through the peak along its normal, in both directions. Far from the peak the streaks
stand out from the fringes; for fcc particles the angles between them are those between {111} and {100} normals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import KDTree

IDEAL_ANGLES_DEG = (54.7356, 70.5288, 90.0)
"""Angles between {111} and {100} normals of a cubic crystal, folded to 0..90 degrees."""

_DIRECTIONS = 1500
_INNER, _OUTER = 14.0, 30.0
_CONE_DEG = 5.0
_SEPARATION_DEG = 18.0
_MOST_STREAKS = 7
_SIGNIFICANCE = 5.0


@dataclass(frozen=True, slots=True)
class _Shell:
    """Voxels between the radii in one half space, sorted into directions.

    Attributes
    ----------
    place, opposite
        (n,) flat indices of each voxel and of its mirror image through the peak.
    radius_bin
        (n,) whole voxels from the peak.
    unit
        (n, 3) directions of the voxels.
    voxel_bin
        (n,) nearest of the directions.
    directions
        (m, 3) evenly spread over half the sphere.
    cone
        (m, m) sparse ones where directions lie within the smoothing cone of each other (as lines).
    """

    place: NDArray[np.int64]
    opposite: NDArray[np.int64]
    radius_bin: NDArray[np.int64]
    unit: NDArray[np.float64]
    voxel_bin: NDArray[np.int64]
    directions: NDArray[np.float64]
    cone: csr_array


@lru_cache(maxsize=2)
def _shell(size: int) -> _Shell:
    middle = size // 2
    axis = np.arange(size) - middle
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    upper = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    chosen = upper & (radius >= _INNER) & (radius <= min(_OUTER, middle - 1))
    vectors = np.stack([x[chosen], y[chosen], z[chosen]], axis=1)
    strides = np.array([size * size, size, 1])
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors / lengths[:, None]
    # Fibonacci lattice over half the sphere (Gonzalez, Math. Geosci. 42, 49 (2010)).
    step = np.arange(_DIRECTIONS) + 0.5
    height = 1.0 - step / _DIRECTIONS
    turn = np.pi * (1.0 + np.sqrt(5.0)) * step
    ring = np.sqrt(1.0 - height**2)
    directions = np.stack([height, ring * np.cos(turn), ring * np.sin(turn)], axis=1)
    lines = KDTree(np.concatenate([directions, -directions]))
    voxel_bin = np.asarray(lines.query(unit)[1], dtype=np.int64) % _DIRECTIONS
    cone = np.abs(directions @ directions.T) > np.cos(np.radians(_CONE_DEG))
    return _Shell(
        place=(vectors + middle) @ strides,
        opposite=(middle - vectors) @ strides,
        radius_bin=np.rint(lengths).astype(np.int64),
        unit=unit,
        voxel_bin=voxel_bin,
        directions=directions,
        cone=csr_array(cone.astype(np.float64)),
    )


@dataclass(frozen=True, slots=True)
class Streaks:
    """Streaks through a peak, strongest first, at most 7; none where nothing stands out.

    Attributes
    ----------
    directions
        (k, 3) unit vectors in voxel axes: lines, without a sense.
    strength
        (k,) by how many standard deviations of all directions each stands out.
    """

    directions: NDArray[np.float64]
    strength: NDArray[np.float64]


NO_STREAKS = Streaks(np.zeros((0, 3)), np.zeros(0))
"""Nothing stands out."""


def facet_streaks(intensity: NDArray[np.float32], coverage: NDArray[np.float32]) -> Streaks:
    """Find the streaks.

    Parameters
    ----------
    intensity, coverage
        (n, n, n) cube centred on the peak at n / 2, and how far each voxel was measured.
    """
    shell = _shell(intensity.shape[0])
    flat, covered = intensity.ravel(), coverage.ravel()
    seen = (covered[shell.place] > 0.5) & (covered[shell.opposite] > 0.5)
    if seen.sum() < _DIRECTIONS:
        return NO_STREAKS
    # A streak runs both ways, an alien peak doesn't. The square root balances the shells and reduces Poisson noise.
    value = np.sqrt(np.minimum(flat[shell.place], flat[shell.opposite]).astype(np.float64)) * seen
    number = np.bincount(shell.radius_bin, weights=seen)
    level = np.bincount(shell.radius_bin, weights=value) / np.maximum(number, 1)
    value = np.where(seen, value / np.maximum(level[shell.radius_bin], 1e-9), 0.0)
    count = shell.cone @ np.bincount(shell.voxel_bin, weights=seen, minlength=_DIRECTIONS)
    summed = shell.cone @ np.bincount(shell.voxel_bin, weights=value, minlength=_DIRECTIONS)
    score = np.where(count > 0.5 * np.median(count), summed / np.maximum(count, 1), 0.0)
    middle = float(np.median(score))
    spread = 1.4826 * float(np.median(np.abs(score - middle)))
    found: list[NDArray[np.float64]] = []
    strength: list[float] = []
    free = score > middle + _SIGNIFICANCE * spread
    while free.any() and len(found) < _MOST_STREAKS:
        best = int(np.argmax(np.where(free, score, -np.inf)))
        direction = _refined(shell, value, shell.directions[best])
        free &= np.abs(shell.directions @ shell.directions[best]) < np.cos(np.radians(_SEPARATION_DEG))
        if all(abs(float(direction @ other)) < np.cos(np.radians(_SEPARATION_DEG)) for other in found):
            found.append(direction)
            strength.append((float(score[best]) - middle) / max(spread, 1e-12))
    return Streaks(np.stack(found), np.asarray(strength)) if found else NO_STREAKS


def _refined(shell: _Shell, value: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    direction = start
    for _ in range(3):
        cosine = shell.unit @ direction
        near = np.abs(cosine) > np.cos(np.radians(1.2 * _CONE_DEG))
        weight = np.maximum(value[near] - np.median(value[near]), 0.0) * np.sign(cosine[near])
        moved = weight @ shell.unit[near]
        length = float(np.linalg.norm(moved))
        if length == 0:
            break
        direction = moved / length
    return direction if direction[0] >= 0 else -direction


def mutual_angles_deg(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angles between all pairs of lines, folded to 0..90 degrees."""
    first, second = np.triu_indices(len(directions), k=1)
    cosines = np.abs(np.sum(directions[first] * directions[second], axis=1))
    return np.degrees(np.arccos(np.clip(cosines, 0.0, 1.0)))


def ideal_angle_error_deg(angles_deg: NDArray[np.float64]) -> float:
    """Return the median distance of the angles from the nearest ideal {111}/{100} angle, degrees."""
    ideal = np.asarray(IDEAL_ANGLES_DEG)
    return float(np.median(np.abs(angles_deg[:, None] - ideal).min(axis=1)))
