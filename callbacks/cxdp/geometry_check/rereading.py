"""Reads surveyed frames again with another geometry: the same peak, in a cube of the same number of fringes."""

from __future__ import annotations

import numpy as np

from braggwatch.callbacks.cxdp.geometry_check.changes import GeometryChange
from braggwatch.callbacks.cxdp.geometry_check.trace import LocalMap, between, local_map
from braggwatch.callbacks.cxdp.preprocess.facets import Streaks, facet_streaks
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import IndexPolynomial, QGrid, fit_index, subsamples, zoom
from braggwatch.callbacks.cxdp.preprocess.surveyed_frames import GatheredCube, SurveyedFrames
from braggwatch.sim.geometry.q import rocking_map


class Rereader:
    """Implements `braggwatch.callbacks.cxdp.geometry_check.candidates.FrameReader`.

    Parameters
    ----------
    frames
        Surveyed once; of their plan the stated map, the order and the crop are used.
    grid
        The cube read with the stated geometry.
    near_angle_deg
        Reading of the scanned circle at the peak.
    """

    def __init__(self, frames: SurveyedFrames, grid: QGrid, near_angle_deg: float) -> None:
        self._frames = frames
        self._grid = grid
        angle, row, column = frames.plan.mapping.index(grid.centre_inv_A, near_angle_deg)
        self._place = float(angle), float(row), float(column)
        self._here = local_map(frames.plan.mapping, self._place)

    @property
    def here(self) -> LocalMap:
        """The map about the peak with the stated geometry."""
        return self._here

    def local(self, change: GeometryChange) -> LocalMap | None:
        """Return the map about the same raw place with another geometry; None if that can't be."""
        try:
            mapping = rocking_map(change.geometry, self._frames.plan.crop_origin)
        except ValueError:
            return None
        local = local_map(mapping, self._place, change.rocking_scale)
        finite = bool(np.isfinite(local.jacobian).all() and np.isfinite(local.q_inv_A).all())
        if not finite or not np.linalg.norm(local.q_inv_A) > 0 or np.linalg.matrix_rank(local.jacobian) < 3:
            return None
        return local

    def streaks(self, change: GeometryChange) -> Streaks | None:
        """Read the frames again and find the streaks; None if the frames can't be read so."""
        cube = self.cube(change)
        return None if cube is None else facet_streaks(cube.intensity, cube.coverage)

    def cube(self, change: GeometryChange) -> GatheredCube | None:
        """Read the frames again; None if they can't be read so. A device holds one cube: the last one read."""
        local = self.local(change)
        if local is None:
            return None
        volume = abs(float(np.linalg.det(between(self._here, local))))
        grid = QGrid.around(local.q_inv_A, self._grid.voxel_size_inv_A * volume ** (1 / 3))
        try:
            fitted = fit_index(grid, rocking_map(change.geometry, self._frames.plan.crop_origin), self._place[0])
        except ValueError:
            return None
        polynomial = _in_stated_steps(fitted, change.rocking_scale, self._place[0])
        return self._frames.gather(polynomial, subsamples(zoom(polynomial, self._frames.plan.order)))


def _in_stated_steps(polynomial: IndexPolynomial, rocking_scale: float, about_deg: float) -> IndexPolynomial:
    """Return it for readings that count ``rocking_scale`` times as much, from a reading on."""
    coefficients = polynomial.coefficients.copy()
    coefficients[0] /= rocking_scale
    coefficients[0, 0, 0, 0] += about_deg * (1.0 - 1.0 / rocking_scale)
    return IndexPolynomial(coefficients, polynomial.residual)
