"""Which reflection each spot is, once class and group are known: hkl, zone, scale, and what is left over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.sadp.groups import Zone
from braggwatch.models.sadp.measured import MeasuredPattern
from braggwatch.models.sadp.plane_lattice import PlaneLattice

_REACH = 12
_CANDIDATES = 300
_LONGEST = 2.1
"""Of the cell's shortest vector, in lengths of the zone's shortest allowed reflection, which may be too weak to see."""
_MOST_DISTORTED = 0.035
_LENGTH_SLACK = 0.05
_COSINE_SLACK = 0.06


@dataclass(frozen=True, slots=True)
class IndexedPattern:
    """Spots with their reflections.

    Attributes
    ----------
    group, zone
        Effective group and beam direction that they were indexed with.
    hkl
        (N, 3) int32 of each spot of the pattern; zeros where it lies off the lattice.
    explained
        (N,) bool: on the lattice, and a reflection that the group allows.
    expected_px
        (N, 2) where an undistorted cubic crystal has the reflection, from the direct beam.
    residual_px
        Root mean square distance of the explained spots from there.
    px_per_unit
        Length of the reciprocal lattice parameter 1/a in pixels.
    lattice_parameter_A
        a, where the picture's scale is known.
    distortion
        Relative difference of the pattern's two principal stretches: ellipticity of the camera, or a wrong zone.
    """

    group: str
    zone: Zone
    hkl: NDArray[np.int32]
    explained: NDArray[np.bool_]
    expected_px: NDArray[np.float64]
    residual_px: float
    px_per_unit: float
    lattice_parameter_A: float | None
    distortion: float

    @property
    def share_explained(self) -> float:
        """Share of the spots that are explained."""
        return float(self.explained.mean()) if len(self.explained) else 0.0


def index_pattern(measured: MeasuredPattern, lattice: PlaneLattice, group: str, zone: Zone) -> IndexedPattern | None:
    """Index a pattern's spots by one group and zone.

    Every pair of short allowed reflections with about the lattice's ratio and angle is tried; the one that explains
    most of the brightness with reflections that the group allows is kept, of equals the least distorted.

    Returns
    -------
    IndexedPattern | None
        None where no pair fits the lattice within 3.5 % of distortion.
    """
    from braggwatch.sim.sadp.labels import allowed

    axis = np.arange(-_REACH, _REACH + 1)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int32)
    grid = grid[(grid @ np.array(zone) == 0) & grid.any(axis=1)]
    grid = grid[np.argsort((grid**2).sum(axis=1), kind="stable")][:_CANDIDATES]
    length = np.linalg.norm(grid, axis=1)
    weight = measured.intensity**0.25 * lattice.explained
    cell = np.stack([lattice.a, lattice.b])
    cosine = np.cos(np.radians(lattice.angle_deg))
    best: tuple[float, float] | None = None
    chosen: tuple[NDArray[np.int32], NDArray[np.float64]] | None = None
    longest = _LONGEST * float(length[allowed(group, grid)].min())
    for p in np.flatnonzero(length <= longest):
        near = np.flatnonzero(np.abs(length / length[p] / lattice.ratio - 1.0) < _LENGTH_SLACK)
        for q in near:
            if abs(grid[p] @ grid[q] / length[p] / length[q] - cosine) > _COSINE_SLACK:
                continue
            hkl = (lattice.indices @ np.stack([grid[p], grid[q]])).astype(np.int32)
            share = float((weight * allowed(group, hkl)).sum() / max(weight.sum(), 1e-12))
            if best is not None and round(share, 2) < best[0]:
                continue
            frame = _plane_frame(zone, np.stack([grid[p], grid[q]]), cell)
            stretch = np.linalg.svd(np.linalg.solve(frame, cell), compute_uv=False)
            distortion = float(stretch[0] / stretch[1] - 1.0)
            if distortion > _MOST_DISTORTED:
                continue
            # of equally good ones the shortest pair: a longer one is the same pattern of a larger cell
            score = (round(share, 2), -round(distortion, 2) - 0.001 * float(length[p]))
            if best is None or score > best:
                best, chosen = score, (np.stack([grid[p], grid[q]]), frame)
    if chosen is None:
        return None
    pair, frame = chosen
    hkl = (lattice.indices @ pair).astype(np.int32) * lattice.explained[:, None].astype(np.int32)
    explained = lattice.explained & allowed(group, hkl) & hkl.any(axis=1)
    flat = lattice.indices @ frame
    turn, scale = _similarity(flat[explained], measured.positions_px[explained])
    expected = scale * flat @ turn
    off = measured.positions_px[explained] - expected[explained]
    stretch = np.linalg.svd(np.linalg.solve(frame, cell), compute_uv=False)
    return IndexedPattern(
        group=group,
        zone=zone,
        hkl=hkl,
        explained=explained,
        expected_px=expected,
        residual_px=float(np.sqrt((off**2).sum(axis=1).mean())) if len(off) else 0.0,
        px_per_unit=float(scale),
        lattice_parameter_A=None if measured.inv_A_per_px is None else 1.0 / (scale * measured.inv_A_per_px),
        distortion=float(stretch[0] / stretch[1] - 1.0),
    )


def _plane_frame(zone: Zone, pair: NDArray[np.int32], cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two reflections of a zone in its plane, (2, 2) rows in units of 1/a, as right- or left-handed as the cell."""
    first = pair[0] / np.linalg.norm(pair[0])
    second = np.cross(np.array(zone) / np.linalg.norm(zone), first)
    flat = np.stack([pair @ first, pair @ second], axis=1).astype(np.float64)
    if np.linalg.det(flat) * np.linalg.det(cell) <= 0:
        flat[:, 1] *= -1.0
    return flat


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Turn (2, 2) and scale that bring points (rows) onto others best in the least squares sense (Kabsch)."""
    if not len(source):
        return np.eye(2), 1.0
    u, stretch, v = np.linalg.svd(source.T @ target)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ v))])
    scale = float((stretch * sign).sum() / (source**2).sum())
    return np.asarray((u * sign) @ v, dtype=np.float64), scale
