"""Tables of an EAM potential as piecewise cubics, interpolated as LAMMPS' pair style eam does.

The derivative at a knot is the five-point difference of the table (three-point next to the ends, one-sided at the
ends); each interval is the cubic through both knots with these derivatives. Energies and forces therefore equal those
of LAMMPS to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.cxdp.relaxation.model import EamPotential
from braggwatch.sim.errors import InputError

_FEWEST_KNOTS = 5


def knot_cubics(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coefficients of the cubic on each interval of a table.

    Parameters
    ----------
    table
        (n,) values at equally spaced knots, n >= 5.

    Returns
    -------
    (n - 1, 4) float64: value = ((c0 p + c1) p + c2) p + c3 with p in [0, 1] from the interval's first knot.

    Raises
    ------
    InputError
        If the table is too short or contains a value that is not finite.
    """
    y = np.asarray(table, dtype=np.float64)
    if y.ndim != 1 or len(y) < _FEWEST_KNOTS:
        raise InputError(f"a table needs at least {_FEWEST_KNOTS} knots, this one has shape {y.shape}")
    if not np.isfinite(y).all():
        raise InputError("the table contains a value that is not finite")
    slope = np.empty_like(y)
    slope[0] = y[1] - y[0]
    slope[1] = 0.5 * (y[2] - y[0])
    slope[-2] = 0.5 * (y[-1] - y[-3])
    slope[-1] = y[-1] - y[-2]
    slope[2:-2] = ((y[:-4] - y[4:]) + 8.0 * (y[3:-1] - y[1:-3])) / 12.0
    rise = np.diff(y)
    cubics = np.empty((len(y) - 1, 4))
    cubics[:, 0] = slope[:-1] + slope[1:] - 2.0 * rise
    cubics[:, 1] = 3.0 * rise - 2.0 * slope[:-1] - slope[1:]
    cubics[:, 2] = slope[:-1]
    cubics[:, 3] = y[:-1]
    return cubics


def evaluate(
    cubics: NDArray[np.float64], step: float, x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return value and derivative at ``x``, both with the shape of ``x``; constant beyond the last knot."""
    scaled = np.asarray(x, dtype=np.float64) / step
    interval = np.clip(scaled.astype(np.int64), 0, len(cubics) - 1)
    p = np.minimum(scaled - interval, 1.0)
    c = cubics[interval]
    value = ((c[..., 0] * p + c[..., 1]) * p + c[..., 2]) * p + c[..., 3]
    derivative = ((3.0 * c[..., 0] * p + 2.0 * c[..., 1]) * p + c[..., 2]) / step
    return value, derivative


@dataclass(frozen=True, slots=True)
class EamSpline:
    """A potential as splines, ready to evaluate.

    Attributes
    ----------
    embedding, density, pair
        Cubics of F(ρ) in eV, f(r) and r·φ(r) in eV·Å, each (intervals, 4).
    density_step, distance_step_A
        Widths of the intervals.
    cutoff_A
        Distance from which there is no interaction, Å.
    stiffness_eV_A2
        Force constant of a single atom displaced in the perfect lattice: it sets the scale of the stiffest vibrations
        and hence of the largest stable time step.
    """

    embedding: NDArray[np.float64]
    density: NDArray[np.float64]
    pair: NDArray[np.float64]
    density_step: float
    distance_step_A: float
    cutoff_A: float
    stiffness_eV_A2: float


def _fcc_neighbours(lattice_parameter_A: float, radius_A: float) -> NDArray[np.float64]:
    reach = int(np.ceil(2.0 * radius_A / lattice_parameter_A)) + 1
    axis = np.arange(-reach, reach + 1)
    halves = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    halves = halves[(halves.sum(axis=1) % 2 == 0) & halves.any(axis=1)]
    points = halves * (lattice_parameter_A / 2.0)
    near = (points**2).sum(axis=1) < radius_A**2
    return np.asarray(points[near], dtype=np.float64)


def _stiffness(spline: EamSpline, lattice_parameter_A: float) -> float:
    """Return one third of the trace of a single atom's Hessian.

    With g_j = f'(r_j) n_j: Σ_j [φ'' + 2φ'/r + 2F'(f'' + 2f'/r)] / 3 + F'' Σ_j f'² / 3 (Σ_j g_j = 0 by symmetry),
    derivatives by central differences of the cubics.
    """
    r = np.sqrt((_fcc_neighbours(lattice_parameter_A, spline.cutoff_A) ** 2).sum(axis=1))
    f, f1 = evaluate(spline.density, spline.distance_step_A, r)
    rho = np.asarray([f.sum()])
    h, h_rho = 1e-4, 1e-3 * float(rho[0])

    def pair_slope(x: NDArray[np.float64]) -> NDArray[np.float64]:
        z, z1 = evaluate(spline.pair, spline.distance_step_A, x)
        return z1 / x - z / (x * x)

    def second(x: NDArray[np.float64]) -> NDArray[np.float64]:
        up, down = (evaluate(spline.density, spline.distance_step_A, x + d)[1] for d in (h, -h))
        return (up - down) / (2.0 * h)

    _, big_f1 = evaluate(spline.embedding, spline.density_step, rho)
    up, down = (evaluate(spline.embedding, spline.density_step, rho + d)[1] for d in (h_rho, -h_rho))
    big_f2 = float((up - down)[0] / (2.0 * h_rho))
    pair_second = (pair_slope(r + h) - pair_slope(r - h)) / (2.0 * h)
    trace = (pair_second + 2.0 * pair_slope(r) / r).sum()
    trace += (2.0 * float(big_f1[0]) * (second(r) + 2.0 * f1 / r)).sum() + big_f2 * (f1**2).sum()
    return float(trace / 3.0)


def make_spline(potential: EamPotential) -> EamSpline:
    """Return the splines of all three tables.

    Raises
    ------
    InputError
        If a table is unusable, the two tables over distance differ in length, or the stated lattice is unstable.
    """
    if len(potential.density) != len(potential.pair_eV_A):
        raise InputError("the tables of density and pair energy differ in length")
    spline = EamSpline(
        knot_cubics(potential.embedding_eV),
        knot_cubics(potential.density),
        knot_cubics(potential.pair_eV_A),
        potential.density_step,
        potential.distance_step_A,
        potential.cutoff_A,
        float("nan"),
    )
    stiffness = _stiffness(spline, potential.lattice_parameter_A)
    if not stiffness > 0:
        raise InputError(f"{potential.name}: the stated lattice is unstable against displacing an atom")
    return EamSpline(
        spline.embedding,
        spline.density,
        spline.pair,
        spline.density_step,
        spline.distance_step_A,
        spline.cutoff_A,
        stiffness,
    )
