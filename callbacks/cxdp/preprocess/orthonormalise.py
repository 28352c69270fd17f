"""Gather a rocking curve into an orthonormal cube of Q, pulling each voxel through the exact inverse map.

The raw frames are never copied or converted. The inverse map of `RockingMap.index` is fitted by a cubic polynomial in
the voxel indices (exact to well under 0.01 raw pixel over any rocking range in use); the kernel evaluates it, searches
the measured angles for the bracketing frames and interpolates trilinearly between usable pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.corrections import PixelCorrections
from braggwatch.callbacks.cxdp.preprocess.gather_kernel import KernelOrder, KernelPixels, gather_cube
from braggwatch.sim.errors import InputError
from braggwatch.sim.geometry.q import RockingMap

CUBE = 64
"""Edge of the model input, voxels."""
CENTRE = CUBE // 2
"""Index of the Bragg peak along each axis of the model input."""

_FIT_NODES = np.array([-1.0, -0.9, -0.6, -0.2, 0.2, 0.6, 0.9, 1.0])
_POWERS = tuple((a, b, c) for a in range(4) for b in range(4 - a) for c in range(4 - a - b))
_SUPERSAMPLE_FROM = 1.6


@dataclass(frozen=True, slots=True)
class QGrid:
    """A cubic grid of Q: voxel (i, j, k) is at ``centre + ((i, j, k) - 32) @ basis * voxel_size``.

    Attributes
    ----------
    centre_inv_A
        (3,) Q of voxel (32, 32, 32), sample frame, 1/angstrom.
    basis
        (3, 3) orthonormal rows, directions of the three array axes in the sample frame.
    voxel_size_inv_A
        Edge of one voxel, 1/angstrom.
    """

    centre_inv_A: NDArray[np.float64]
    basis: NDArray[np.float64]
    voxel_size_inv_A: float

    @classmethod
    def around(cls, centre_inv_A: NDArray[np.float64], voxel_size_inv_A: float) -> QGrid:
        """Grid on a peak: axis 0 along Q, axis 2 along ``y x Q``, axis 1 completing the right-handed set."""
        return cls(centre_inv_A, basis_along(centre_inv_A), voxel_size_inv_A)

    def q(self, voxels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Q of fractional voxel indices, (..., 3) to (..., 3)."""
        return self.centre_inv_A + (voxels - CENTRE) @ self.basis * self.voxel_size_inv_A


def basis_along(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (3, 3) right-handed rows e0 = Q/|Q|, e1 = e2 x e0, e2 = (y x Q)/|y x Q|.

    Where Q is parallel to y, x takes the place of y.
    """
    e0 = q / np.linalg.norm(q)
    e2 = np.cross(np.array([0.0, 1.0, 0.0]), e0)
    if np.linalg.norm(e2) < 1e-6:
        e2 = np.cross(np.array([1.0, 0.0, 0.0]), e0)
    e2 = e2 / np.linalg.norm(e2)
    return np.stack([e0, np.cross(e2, e0), e2])


@dataclass(frozen=True, slots=True)
class FrameOrder:
    """The usable frames sorted by angle, with the trust in each gap between neighbours.

    Attributes
    ----------
    angles_deg
        (M,) float64, ascending readings of the usable frames.
    frames
        (M,) int64, their indices in the cube.
    trust
        (M - 1,) float64: 1 between neighbours, 0.5 across one missing frame, 0 across more.
    """

    angles_deg: NDArray[np.float64]
    frames: NDArray[np.int64]
    trust: NDArray[np.float64]


def order_frames(angles_deg: NDArray[np.float64], present: NDArray[np.bool_]) -> FrameOrder:
    """Sort the frames that are present and have a finite angle, and find where frames are missing between them.

    The angle of a missing frame is interpolated over its index in the scan, so uneven steps and frames that came out
    of angular order do no harm.

    Raises
    ------
    InputError
        If fewer than two frames are usable or the angles don't differ.
    """
    usable = np.flatnonzero(present & np.isfinite(angles_deg))
    if usable.size < 2:
        raise InputError("fewer than two frames have an angle")
    order = usable[np.argsort(angles_deg[usable], kind="stable")]
    angles = angles_deg[order].astype(np.float64)
    if angles[-1] - angles[0] <= 0:
        raise InputError("the scanned circle did not move")
    missing = np.setdiff1d(np.arange(usable[0], usable[-1] + 1), usable)
    guessed = np.interp(missing, usable, angles_deg[usable])
    inside = np.bincount(
        np.clip(np.searchsorted(angles, guessed, side="right") - 1, 0, angles.size - 2), minlength=angles.size - 1
    )
    return FrameOrder(angles, order.astype(np.int64), np.where(inside == 0, 1.0, np.where(inside == 1, 0.5, 0.0)))


@dataclass(frozen=True, slots=True)
class IndexPolynomial:
    """Raw (angle, row, column) as a cubic polynomial of the voxel indices.

    Attributes
    ----------
    coefficients
        (3, 4, 4, 4) float64 in ``(voxel - 32) / 32``: output, then the power along each axis (total at most 3).
    residual
        (3,) largest misfit at the nodes: degrees, rows, columns.
    """

    coefficients: NDArray[np.float64]
    residual: NDArray[np.float64]

    def jacobian(self) -> NDArray[np.float64]:
        """Return the (3, 3) derivatives d(angle, row, column)/d(voxel axis) at the centre."""
        c = self.coefficients
        return np.stack([c[:, 1, 0, 0], c[:, 0, 1, 0], c[:, 0, 0, 1]], axis=1) / CENTRE


def fit_index(grid: QGrid, mapping: RockingMap, near_angle_deg: float) -> IndexPolynomial:
    """Fit the exact inverse map over the grid.

    Raises
    ------
    InputError
        If part of the grid can't be reached by rocking (the voxel is far too large for this reflection).
    """
    nodes, design, inverse = _fit_design()
    exact = mapping.index(grid.q(CENTRE + CENTRE * nodes), near_angle_deg)
    if not np.isfinite(exact).all():
        raise InputError("part of the grid can't be reached by rocking")
    solution = inverse @ exact
    coefficients = np.zeros((3, 4, 4, 4))
    for (a, b, c), values in zip(_POWERS, solution, strict=True):
        coefficients[:, a, b, c] = values
    return IndexPolynomial(coefficients, np.abs(design @ solution - exact).max(axis=0))


@lru_cache(maxsize=1)
def _fit_design() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Nodes (n, 3), monomials at the nodes (n, 20) and their pseudo-inverse: the same for every fit."""
    x, y, z = np.meshgrid(_FIT_NODES, _FIT_NODES, _FIT_NODES, indexing="ij")
    nodes = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=-1)
    design = np.stack([nodes[:, 0] ** a * nodes[:, 1] ** b * nodes[:, 2] ** c for a, b, c in _POWERS], axis=1)
    return nodes, design, np.linalg.pinv(design)


def zoom(polynomial: IndexPolynomial, order: FrameOrder) -> NDArray[np.float64]:
    """Return (3,): how many raw samples (the largest of frames, rows, columns) one voxel spans along each axis."""
    step = float(np.median(np.diff(order.angles_deg)))
    scale = np.array([max(step, 1e-12), 1.0, 1.0])
    return np.abs(polynomial.jacobian() / scale[:, None]).max(axis=0)


def subsamples(zooms: NDArray[np.float64], most: int = 3) -> tuple[int, int, int]:
    """Choose the samples per voxel along each axis: one below 1.6 raw samples a voxel, then enough against aliasing."""
    counts = np.where(zooms < _SUPERSAMPLE_FROM, 1, np.clip(np.ceil(zooms / 2.0), 2, most)).astype(int)
    return int(counts[0]), int(counts[1]), int(counts[2])


def gather(
    frames: NDArray[np.generic],
    order: FrameOrder,
    corrections: PixelCorrections,
    polynomial: IndexPolynomial,
    samples: tuple[int, int, int],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pull the cube out of the frames.

    Parameters
    ----------
    frames
        (N, R, C) counts of any real dtype in native byte order, read in place.
    order
        From `order_frames`.
    corrections
        Gain, dark, per-frame scale and outliers of these frames.
    polynomial
        From `fit_index`, rows and columns of ``frames``.
    samples
        Samples per voxel along each axis.

    Returns
    -------
    intensity, coverage
        Two (64, 64, 64) float32: corrected counts per raw pixel (zero where not covered, never negative) and the
        fraction of the voxel's interpolation weight that fell on usable pixels, 0 to 1.
    """
    intensity = np.empty((CUBE, CUBE, CUBE), dtype=np.float32)
    coverage = np.empty((CUBE, CUBE, CUBE), dtype=np.float32)
    pixels = KernelPixels(
        frames,
        corrections.gain,
        corrections.dark,
        corrections.frame_scale,
        corrections.outlier_start,
        corrections.outlier_pixel,
        corrections.valid_from,
        corrections.valid_below,
    )
    ordered = KernelOrder(order.angles_deg, order.frames, order.trust)
    gather_cube(pixels, ordered, polynomial.coefficients, samples, intensity, coverage)
    return intensity, coverage
