"""Spot lists of what the classes do not hold: plane lattices of lower symmetry than any cubic zone's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.sadp.cells import cubic_cells
from braggwatch.models.sadp.groups import GroupTable

OTHER = "other"
"""Name of the class that is never given."""
_RATIO_MARGIN = 0.02
_ANGLE_MARGIN_DEG = 1.2


def outlier_spots(count: int, most: int, table: GroupTable, seed: int = 1) -> NDArray[np.float32]:
    """Make patterns of lattices that no cubic crystal shows along the table's zones.

    Oblique, rectangular and centred cells of monoclinic, orthorhombic, tetragonal and hexagonal crystals, with
    intensities that fall off and scatter as structure factors do.

    Returns
    -------
    NDArray
        (count, most, 3) float32, as `padded_spots`.
    """
    rng = np.random.default_rng(seed)
    known = cubic_cells(table.zones)
    result = np.zeros((count, most, 3), dtype=np.float32)
    grid = np.stack(np.meshgrid(np.arange(-16, 17), np.arange(-16, 17)), axis=-1).reshape(-1, 2)
    grid = grid[grid.any(axis=1)]
    mates = {(int(h), int(k)): n for n, (h, k) in enumerate(grid)}
    mate = np.array([mates[int(-h), int(-k)] for h, k in grid])
    first = mate > np.arange(len(mate))
    for row in range(count):
        ratio, angle = _outlier_cell(rng, known)
        shortest = rng.uniform(0.08, 0.35)
        turn = np.radians(angle)
        points = grid @ (shortest * np.array([[1.0, 0.0], [ratio * np.cos(turn), ratio * np.sin(turn)]]))
        length = np.hypot(*points.T)
        scatter = rng.exponential(size=len(grid)) if rng.random() < 0.7 else rng.lognormal(0.0, 0.7, size=len(grid))
        if rng.random() < 0.4:
            # absences of a centred or screw-like kind
            modulus = np.abs(grid.sum(axis=1) if rng.random() < 0.5 else grid[:, 0]) % 2
            scatter = np.where(modulus == 1, scatter * rng.choice([0.0, 0.02]), scatter)
        scatter[mate[first]] = scatter[first] * rng.lognormal(0.0, 0.1, size=int(first.sum()))
        intensity = scatter * np.exp(-((length / rng.uniform(0.25, 0.6)) ** 2))
        intensity = np.where((np.abs(points) < 1.0).all(axis=1), intensity, 0.0)
        order = np.argsort(-intensity)[:most]
        relative = intensity[order] / intensity[order[0]]
        keep = relative > 1e-4
        result[row, : keep.sum(), :2] = points[order][keep]
        result[row, : keep.sum(), 2] = relative[keep]
    return result


def _outlier_cell(rng: np.random.Generator, known: NDArray[np.float64]) -> tuple[float, float]:
    while True:
        ratio = float(np.exp(rng.uniform(0.0, np.log(2.8))))
        angle = 90.0 if rng.random() < 0.3 else float(rng.uniform(60.0, 90.0))
        if np.cos(np.radians(angle)) * ratio > 0.5:
            continue
        near = (np.abs(known[:, 0] / ratio - 1.0) < _RATIO_MARGIN) & (np.abs(known[:, 1] - angle) < _ANGLE_MARGIN_DEG)
        if not near.any():
            return ratio, angle
