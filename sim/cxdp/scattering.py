"""Kinematic scattering around one Bragg peak: the same amplitude by NUFFT (fast) and by direct sums (exact).

I(q) = |f(|g + q|) Σ_j exp(-2πi (g·u_j + q·(r_j + u_j)))|², crystallographer's q = 1/d in 1/nm, relative to g and in
crystal axes. f(q) is multiplied in on the target points, exactly (it varies 12 to 32 % over a small crystal's box).
"""

from __future__ import annotations

import finufft
import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystallography.fcc import form_factor
from braggwatch.sim.cxdp.crystal.build import Crystal


def amplitude_at(
    crystal: Crystal, q_inv_nm: NDArray[np.floating], *, eps: float = 1e-4, threads: int = 1
) -> NDArray[np.complexfloating]:
    """Compute the scattered amplitude at arbitrary points by type-3 NUFFT.

    Parameters
    ----------
    crystal
        Scattering points.
    q_inv_nm
        (..., 3) offsets from g in 1/nm, crystal axes.
    eps
        Relative accuracy of the transform; at 1e-5 and above it runs in single precision.
    threads
        Threads of the transform; a second one doesn't help at 1e5 points.

    Returns
    -------
    (...) complex, electrons; complex64 where ``eps`` >= 1e-5, else complex128.
    """
    q = np.asarray(q_inv_nm, dtype=np.float64)
    single = eps >= 1e-5
    real, cplx = (np.float32, np.complex64) if single else (np.float64, np.complex128)
    flat = q.reshape(-1, 3)
    points = crystal.positions_nm + crystal.displacement_nm
    scale = float(np.abs(points).max())
    # finufft's cheaper upsampling of 1.25 has errors of up to 2e-3 in single precision, whatever the value of eps
    upsampling = 1.25 if eps >= 1e-3 else 2.0
    # the phase g·u is reduced in double precision before the conversion to single
    weights = np.exp(-2j * np.pi * np.mod(crystal.phase_turns, 1.0)).astype(cplx)
    x, y, z = (np.ascontiguousarray(points[:, i] / scale, dtype=real) for i in range(3))
    s, t, u = (np.ascontiguousarray(2 * np.pi * scale * flat[:, i], dtype=real) for i in range(3))
    total = np.asarray(
        finufft.nufft3d3(x, y, z, weights, s, t, u, isign=-1, eps=eps, nthreads=threads, upsampfac=upsampling)
    )
    f = form_factor(crystal.spec.metal, np.linalg.norm(flat + crystal.g_inv_nm, axis=1))
    return (total * f.astype(real)).reshape(q.shape[:-1])


def amplitude_on_grid(
    crystal: Crystal,
    basis_inv_nm: NDArray[np.float64],
    shape: tuple[int, int, int],
    *,
    eps: float = 1e-6,
    middle_inv_nm: NDArray[np.float64] | None = None,
) -> NDArray[np.complexfloating]:
    """Compute the scattered amplitude on the affine grid ``middle + n @ basis`` by type-1 NUFFT.

    Parameters
    ----------
    basis_inv_nm
        (3, 3) rows: the grid's steps in 1/nm, crystal axes; need not be orthogonal.
    shape
        Points along each axis; index ``shape // 2`` is the middle.
    eps
        Relative accuracy of the transform; at 1e-5 and above it runs in single precision.
    middle_inv_nm
        (3,) offset of the grid's middle from g in 1/nm, crystal axes; None: g itself.

    Returns
    -------
    ``shape`` complex, electrons; complex64 where ``eps`` >= 1e-5, else complex128.
    """
    single = eps >= 1e-5
    real, cplx = (np.float32, np.complex64) if single else (np.float64, np.complex128)
    points = crystal.positions_nm + crystal.displacement_nm
    angles = 2 * np.pi * np.mod(points @ np.asarray(basis_inv_nm, dtype=np.float64).T + 0.5, 1.0) - np.pi
    turns = crystal.phase_turns if middle_inv_nm is None else crystal.phase_turns + points @ middle_inv_nm
    # the phase is reduced in double precision before the conversion to single
    weights = np.exp(-2j * np.pi * np.mod(turns, 1.0)).astype(cplx)
    x, y, z = (np.ascontiguousarray(angles[:, i], dtype=real) for i in range(3))
    # see amplitude_at for the upsampling
    upsampling = 1.25 if eps >= 1e-3 else 2.0
    total = np.asarray(finufft.nufft3d1(x, y, z, weights, shape, isign=-1, eps=eps, nthreads=1, upsampfac=upsampling))
    factor = _grid_form_factor(crystal, basis_inv_nm, shape, middle_inv_nm)
    return np.asarray(total * factor.astype(real), dtype=cplx)


def amplitude_factorised(
    crystal: Crystal, basis_inv_nm: NDArray[np.float64], shape: tuple[int, int, int], chunk: int = 2048
) -> NDArray[np.complex128]:
    """Compute `amplitude_on_grid` exactly: on an affine grid the exponential factorises over the axes.

    Slow (a matrix product over all points); the reference for tests of the fast forms.
    """
    points = crystal.positions_nm + crystal.displacement_nm
    turns = points @ np.asarray(basis_inv_nm, dtype=np.float64).T
    weights = np.exp(-2j * np.pi * np.mod(crystal.phase_turns, 1.0))
    total = np.zeros((shape[0], shape[1] * shape[2]), dtype=np.complex128)
    index = [np.arange(n) - n // 2 for n in shape]
    for start in range(0, len(points), chunk):
        part = slice(start, start + chunk)
        ex, ey, ez = (np.exp(-2j * np.pi * np.mod(np.outer(turns[part, i], index[i]), 1.0)) for i in range(3))
        total += (ex * weights[part, None]).T @ (ey[:, :, None] * ez[:, None, :]).reshape(len(ex), -1)
    return total.reshape(shape) * _grid_form_factor(crystal, basis_inv_nm, shape)


_FORM_FACTOR_SAMPLES = 512


def _grid_form_factor(
    crystal: Crystal,
    basis_inv_nm: NDArray[np.float64],
    shape: tuple[int, int, int],
    middle_inv_nm: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    # |q|² = |m|² + 2 m·(n @ B) + |n @ B|² without an array of vectors: three times as fast
    basis = np.asarray(basis_inv_nm, dtype=np.float64)
    middle = crystal.g_inv_nm if middle_inv_nm is None else crystal.g_inv_nm + middle_inv_nm
    i, j, k = np.meshgrid(*(np.arange(m, dtype=np.float64) - m // 2 for m in shape), indexing="ij", sparse=True)
    squares = np.zeros(shape)
    for axis in range(3):
        component = i * basis[0, axis] + j * basis[1, axis] + k * basis[2, axis] + middle[axis]
        squares += component * component
    q = np.sqrt(squares)
    # f is smooth: a table of it serves a box of this size to 1e-6
    low, high = float(q.min()), float(q.max())
    table = np.linspace(low, high, _FORM_FACTOR_SAMPLES)
    return np.interp(q, table, form_factor(crystal.spec.metal, table))
