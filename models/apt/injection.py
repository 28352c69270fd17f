"""Known precipitates put into measured data, to see from what size on they are found there.

The ions keep their measured places, and so the data's own blur, losses and curvature. Only which of them are solute is
drawn anew inside a sphere: on every second lattice plane the solute's part of an ordered precipitate, on the others
none. An ion measured at z belongs to plane n with a probability ∝ exp(-(z - nd)²/2σ²), σ being the data's own blur.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.scoring import OrderScorer, VoxelScores
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons
from braggwatch.sim.errors import InputError

_REACH_NM = 3.0
_PHASE_NM = 3.0
# a cube, its neighbours' reach and half a voxel beyond the precipitate
_CHANGED_NM = 2.0
_SEEN_NM = 4.0


@dataclass(frozen=True, slots=True)
class DetectionLimit:
    """What of the injected precipitates was found.

    Attributes
    ----------
    radii_nm, found, injected
        One entry a radius: how many of how many had at least half of their voxels above the threshold.
    limit_nm
        Smallest radius from which on at least 80 % are found; None: not even of the largest.
    solute_part
        Part of the precipitates' ions that was made solute.
    sigma_z_nm
        The data's blur along z, as estimated from the planes.
    """

    radii_nm: tuple[float, ...]
    found: tuple[int, ...]
    injected: tuple[int, ...]
    limit_nm: float | None
    solute_part: float
    sigma_z_nm: float


def blur_from_signal(signal: float, ions: float, spacing_nm: float) -> float:
    """Return the standard deviation of ions about their planes, nm, from the height of the planes' peak."""
    part = min(max(signal / ions, 1e-6), 1.0)
    return spacing_nm / (2 * math.pi) * math.sqrt(-math.log(part))


def inject(
    ions: LabelledIons,
    centre_nm: NDArray[np.float64],
    radius_nm: float,
    *,
    spacing_nm: float,
    sigma_z_nm: float,
    solute_part: float,
    rng: np.random.Generator,
) -> LabelledIons:
    """Return the ions with an L1₂ precipitate drawn into them.

    Parameters
    ----------
    ions
        Named host (0) and solute (1), levelled; other species stay as they are.
    solute_part
        Part of the precipitate's ions that become solute, at most 0.5.

    Raises
    ------
    InputError
        If the part is larger: half of the ions lie on planes without solute.
    """
    if not 0 < solute_part <= 0.5:
        raise InputError(f"an L1₂ precipitate with planes across z can't hold {solute_part:.0%} of solute")
    p = ions.positions_nm.astype(np.float64)
    away = np.linalg.norm(p - centre_nm, axis=1)
    near = np.abs(p - centre_nm).max(axis=1) < _PHASE_NM
    phase = np.angle(np.exp(2j * np.pi * p[near, 2] / spacing_nm).sum()) / (2 * np.pi)
    inside = np.flatnonzero((away <= radius_nm) & (ions.species < 2))
    plane = p[inside, 2] / spacing_nm - phase
    lower = np.floor(plane)
    up = 1 / (1 + np.exp(-((plane - lower) ** 2 - (plane - lower - 1) ** 2) * spacing_nm**2 / (2 * sigma_z_nm**2)))
    number = lower + (rng.random(len(inside)) < up)
    solute = (number % 2 == rng.integers(0, 2)) & (rng.random(len(inside)) < 2 * solute_part)
    species = ions.species.copy()
    species[inside] = solute.astype(np.uint8)
    return LabelledIons(ions.positions_nm, species, ions.names)


def detection_limit(
    scorer: OrderScorer,
    ions: LabelledIons,
    grid: VoxelGrid,
    scores: VoxelScores,
    places_nm: NDArray[np.float64],
    *,
    threshold: float,
    least_ions: float,
    solute_part: float,
    sigma_z_nm: float,
    radii_nm: tuple[float, ...] = (0.75, 1.0, 1.25, 1.5, 2.0, 2.5),
    seed: int = 0,
) -> DetectionLimit:
    """Inject precipitates of each radius at each place, one at a time, and count those found.

    Parameters
    ----------
    ions
        Named host and solute, levelled.
    grid, scores
        Of the scan: an injected precipitate changes the scores near it, the others stay.
    places_nm
        (P, 3) places in the matrix; each is used once for each radius.
    threshold, least_ions
        As the scan used them.
    """
    rng = np.random.default_rng(seed)
    edge = grid.voxel_nm
    found = np.zeros(len(radii_nm), dtype=int)
    reach = max(radii_nm) + _REACH_NM
    stacked = scores.stacked()
    for place in places_nm:
        near = (np.abs(ions.positions_nm - place.astype(np.float32)) < reach + 1.0).all(axis=1)
        local = LabelledIons(ions.positions_nm[near], ions.species[near], ions.names)
        for n, radius in enumerate(radii_nm):
            centre = place + rng.uniform(-0.5, 0.5, 3) * edge
            changed = inject(
                local,
                centre,
                radius,
                spacing_nm=scorer.sdm.plane_spacing_nm,
                sigma_z_nm=sigma_z_nm,
                solute_part=solute_part,
                rng=rng,
            )
            inner, inner_at = _box(grid, centre, radius + _CHANGED_NM)
            outer, outer_at = _box(grid, centre, radius + _CHANGED_NM + _SEEN_NM)
            seen = stacked[(slice(None), *outer_at)].copy()
            into = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner_at, outer_at, strict=True))
            before = np.isfinite(seen[(0, *into)])
            anew = scorer.score(changed, inner, least_ions=least_ions).stacked()
            seen[(slice(None), *into)] = np.where(before, anew, np.float32(np.nan))
            index = np.stack(np.meshgrid(*(np.arange(size) for size in outer.shape), indexing="ij"), axis=-1)
            distance = np.linalg.norm(np.array(outer.origin_nm) + (index + 0.5) * edge - centre, axis=-1)
            true = (distance <= radius) | (distance == distance.min())
            above = np.nan_to_num(scorer.log_odds(VoxelScores(*seen)), nan=-np.inf) > threshold
            found[n] += int(above[true].mean() >= 0.5)
    limit = None
    for radius, hits in reversed(list(zip(radii_nm, found.tolist(), strict=True))):
        if hits < 0.8 * len(places_nm):
            break
        limit = radius
    return DetectionLimit(
        radii_nm, tuple(found.tolist()), (len(places_nm),) * len(radii_nm), limit, solute_part, sigma_z_nm
    )


def _box(
    grid: VoxelGrid, centre_nm: NDArray[np.float64], half_nm: float
) -> tuple[VoxelGrid, tuple[slice, slice, slice]]:
    """Return the part of a grid within ``half_nm`` of a place along each axis, and where in the grid it is."""
    origin, edge = np.array(grid.origin_nm), grid.voxel_nm
    first = np.clip(np.floor((centre_nm - half_nm - origin) / edge).astype(int), 0, None)
    last = np.minimum(np.ceil((centre_nm + half_nm - origin) / edge).astype(int), grid.shape)
    x, y, z = (float(v) for v in origin + first * edge)
    size = int(last[0] - first[0]), int(last[1] - first[1]), int(last[2] - first[2])
    at = slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])
    return VoxelGrid((x, y, z), size, edge), at


def matrix_places(
    free: NDArray[np.bool_], grid: VoxelGrid, *, count: int, clearance_nm: float, seed: int = 0
) -> NDArray[np.float64]:
    """Return up to ``count`` random middles of voxels that are so far from every voxel that is not ``free``, nm."""
    from scipy.ndimage import distance_transform_edt

    padded = np.pad(free, 1)
    far = np.asarray(distance_transform_edt(padded))[1:-1, 1:-1, 1:-1] * grid.voxel_nm
    candidates = np.argwhere(far >= clearance_nm)
    chosen = np.random.default_rng(seed).permutation(len(candidates))[:count]
    return np.array(grid.origin_nm, dtype=np.float64) + (candidates[chosen].astype(np.float64) + 0.5) * grid.voxel_nm
