"""A rocking curve in the detector's own frame: expected counts at every pixel's exact Q.

Nothing is interpolated from a 64³ box and no pixel is approximated by an affine map: each pixel of each frame gets the
kinematic amplitude at its own Q, so that simulated scans carry the same distortion as measured ones.
"""

from __future__ import annotations

import logging

import finufft
import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.cxdp.crystal import Crystal, form_factor
from braggwatch.sim.cxdp.scattering import amplitude_at
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.geometry.q import pixel_q

logger = logging.getLogger(__name__)

_PER_NM_FROM_RADIANS_PER_A = 10.0 / (2.0 * np.pi)
_ALIAS_FREE = 0.9
_SINGLE_PRECISION_EPS = 1e-5


def _frame_along(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return right-handed orthonormal rows, the first along ``direction``."""
    first = direction / np.linalg.norm(direction)
    helper = np.eye(3)[int(np.argmin(np.abs(first)))]
    second = np.cross(first, helper)
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)]).astype(np.float64)


def bragg_orientation(
    g_crystal: NDArray[np.float64], q_sample: NDArray[np.float64], azimuth_deg: float
) -> NDArray[np.float64]:
    """Return the rotation that aligns a reciprocal lattice vector with the diffracting direction.

    Parameters
    ----------
    g_crystal
        (3,) reciprocal lattice vector, crystal axes, any unit.
    q_sample
        (3,) Q at which the Bragg condition is satisfied, sample frame, any unit.
    azimuth_deg
        Rotation of the crystal about Q, which the Bragg condition leaves free.

    Returns
    -------
    (3, 3) float64 rotation matrix R with ``v_sample = R @ v_crystal``.
    """
    angle = np.deg2rad(azimuth_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return _frame_along(q_sample).T @ turn @ _frame_along(g_crystal)


def brightest_intensity(crystal: Crystal, *, eps: float = 1e-5) -> float:
    """Return the largest intensity of the whole pattern, in electrons squared.

    A defect splits the peak and strain moves it, so the maximum is searched within four fringes of g and refined to
    1/32 of a fringe.
    """
    fringe = 1.0 / crystal.spec.size_nm
    centre, best = np.zeros(3), 0.0
    for half_width, step in ((4.0, 0.5), (0.5, 0.125), (0.125, 1 / 32)):
        axis = np.arange(-half_width, half_width + step / 2, step) * fringe
        points = centre + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        intensity = np.abs(amplitude_at(crystal, points, eps=eps)) ** 2
        top = int(np.argmax(intensity))
        centre, best = points[top], float(intensity[top])
    return best


def scanned_angle_deg(geometry: RockingGeometry) -> float:
    """Return the reading of the scanned circle that the geometry was made with, in degrees."""
    return next(c.angle_deg for c in geometry.sample_circles if c.name == geometry.scanned)


def _patch_axes(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal rows along the largest, middle and smallest extent of one frame's (rows, columns, 3) Q."""
    points = q.reshape(-1, 3)
    _, vectors = np.linalg.eigh(np.cov(points.T))
    return np.asarray(vectors.T[::-1], dtype=np.float64)


class _Transform:
    """Σ exp(-2πi (g·u + q·(r + u))) at any q, without form factor, by type-3 NUFFT in rotated axes."""

    def __init__(self, crystal: Crystal, axes: NDArray[np.float64], eps: float) -> None:
        # single precision is accurate enough down to this tolerance (as in `braggwatch.sim.cxdp.scattering`)
        real, complex_ = (np.float32, np.complex64) if eps >= _SINGLE_PRECISION_EPS else (np.float64, np.complex128)
        points = (crystal.positions_nm + crystal.displacement_nm) @ axes.T
        self._eps = eps
        self._real = real
        self._reach = float(np.abs(points).max())
        self._points = [np.ascontiguousarray(points[:, i] / self._reach, dtype=real) for i in range(3)]
        # g·u is reduced in double precision before the conversion to single
        self._weights = np.exp(-2j * np.pi * np.mod(crystal.phase_turns, 1.0)).astype(complex_)

    def __call__(self, offsets_inv_nm: NDArray[np.float64]) -> NDArray[np.complexfloating]:
        """Return the amplitude, (...) complex, at (..., 3) offsets from g along the rotated axes, 1/nm."""
        flat = offsets_inv_nm.reshape(-1, 3) * (2.0 * np.pi * self._reach)
        x, y, z = self._points
        s, t, u = (np.ascontiguousarray(flat[:, i], dtype=self._real) for i in range(3))
        amplitude = finufft.nufft3d3(x, y, z, self._weights, s, t, u, isign=-1, eps=self._eps, nthreads=1)
        return np.asarray(amplitude).reshape(offsets_inv_nm.shape[:-1])


class RockingModel:
    """Expected counts of one mounted crystal, frame by frame.

    Parameters
    ----------
    crystal
        Scattering points at one reflection.
    geometry
        The diffractometer; its sample frame is the one that ``orientation`` maps into.
    orientation
        (3, 3) rotation from crystal axes to the sample frame (`bragg_orientation`).
    peak_counts
        Expected counts at the brightest point of the pattern (which a scan may miss).
    eps
        Relative accuracy of the transform: single precision at 1e-5 and above; use 1e-8 to compare with a direct sum.
    block
        Frames per transform. A block shares one spreading and one FFT: 16 frames cost a third to a half of 16 single
        ones.
    """

    def __init__(
        self,
        crystal: Crystal,
        geometry: RockingGeometry,
        orientation: NDArray[np.float64],
        peak_counts: float,
        *,
        eps: float = 1e-5,
        block: int = 16,
    ) -> None:
        self.crystal = crystal
        self.geometry = geometry
        self._scale = peak_counts / brightest_intensity(crystal)
        self._eps = eps
        self._block = block
        rows, columns = geometry.frame_shape
        self._rows = np.arange(rows, dtype=np.float64)[:, None]
        self._columns = np.arange(columns, dtype=np.float64)[None, :]
        q = pixel_q(geometry, scanned_angle_deg(geometry), self._rows, self._columns)
        # |Q| does not change on rocking: one form factor for all frames
        q_inv_nm = _PER_NM_FROM_RADIANS_PER_A * np.linalg.norm(q, axis=-1)
        self._form_factor_squared = form_factor(crystal.spec.metal, q_inv_nm) ** 2
        # One frame is a thin patch of a sphere. Along its own axes the transform's box is thin too; along other axes
        # it is up to four times as large.
        orientation = np.asarray(orientation, dtype=np.float64)
        axes = _patch_axes(q) @ orientation
        self._to_patch = _PER_NM_FROM_RADIANS_PER_A * orientation @ axes.T
        self._g = axes @ crystal.g_inv_nm
        self._transform = _Transform(crystal, axes, eps)

    def expected_counts(self, angles_deg: NDArray[np.float64]) -> NDArray[np.float32]:
        """Compute expected counts at each pixel, without noise or detector artefacts.

        Parameters
        ----------
        angles_deg
            (N,) readings of the scanned circle, in any order.

        Returns
        -------
        (N, rows, columns) float32.
        """
        angles = np.asarray(angles_deg, dtype=np.float64)
        factor = self._scale * self._form_factor_squared
        counts = np.empty((len(angles), *self.geometry.frame_shape), dtype=np.float32)
        for start in range(0, len(angles), self._block):
            part = slice(start, start + self._block)
            q = pixel_q(self.geometry, angles[part, None, None], self._rows, self._columns)
            offsets = q @ self._to_patch - self._g
            self._warn_of_aliases(offsets)
            amplitude = self._transform(offsets)
            counts[part] = factor * (amplitude.real**2 + amplitude.imag**2)
        return counts

    def _warn_of_aliases(self, offsets: NDArray[np.float64]) -> None:
        spec = self.crystal.spec
        if spec.size_nm / spec.points_across <= spec.metal.lattice_parameter_nm:
            return  # the points are the atoms: their other Bragg peaks are real
        reach = float(np.sqrt(np.max(np.einsum("...i,...i", offsets, offsets)))) * spec.size_nm
        # the nearest Bragg peaks of an fcc lattice of points are its {111}
        if reach > _ALIAS_FREE * np.sqrt(3.0) * spec.points_across:
            logger.warning(
                "the detector reaches %.0f fringes from the peak, too far for points_across=%d: raise it",
                reach,
                spec.points_across,
            )
