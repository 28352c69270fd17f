"""The analytic embedded-atom potentials of Zhou, Johnson and Wadley for the fcc metals of this project."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.cxdp.relaxation.model import EamPotential
from braggwatch.sim.errors import InputError

SOURCE = "X. W. Zhou, R. A. Johnson, H. N. G. Wadley, Phys. Rev. B 69, 144113 (2004), doi:10.1103/PhysRevB.69.144113"
CORE_A = 0.5
"""Distance in Å below which the functions are constant, since they would grow without bound."""


@dataclass(frozen=True, slots=True)
class ZhouParameters:
    """One row of the paper's table III, with its names.

    r_e is in Å; f_e, rho_e and rho_s are in the density's arbitrary unit; alpha, beta, kappa, lambda and eta are
    dimensionless; A, B and every F are in eV. The embedding function changes from its first polynomial to the second at
    ``low`` = rho_n / rho_e, and from the second to the logarithm at ``high`` = rho_o / rho_e.
    """

    mass_u: float
    r_e: float
    f_e: float
    rho_e: float
    rho_s: float
    alpha: float
    beta: float
    A: float
    B: float
    kappa: float
    lambda_: float
    F_n: tuple[float, float, float, float]
    F_0: float
    F_1: float
    F_2: float
    F_3: float
    eta: float
    F_e: float
    low: float = 0.85
    high: float = 1.15


PARAMETERS: dict[str, ZhouParameters] = {
    "Al": ZhouParameters(
        mass_u=26.981539, r_e=2.863924, f_e=1.403115, rho_e=20.418205, rho_s=23.195740, alpha=6.613165, beta=3.527021,
        A=0.314873, B=0.365551, kappa=0.379846, lambda_=0.759692, F_n=(-2.807602, -0.301435, 1.258562, -1.247604),
        F_0=-2.83, F_1=0.0, F_2=0.622245, F_3=-2.488244, eta=0.785902, F_e=-2.824528,
    ),
    "Ag": ZhouParameters(
        mass_u=107.8682, r_e=2.891814, f_e=1.106232, rho_e=14.604100, rho_s=14.604144, alpha=9.132010, beta=4.870405,
        A=0.277758, B=0.419611, kappa=0.339710, lambda_=0.750758, F_n=(-1.729364, -0.255882, 0.912050, -0.561432),
        F_0=-1.75, F_1=0.0, F_2=0.744561, F_3=-1.150650, eta=0.783924, F_e=-1.748423,
    ),
    "Au": ZhouParameters(
        mass_u=196.96654, r_e=2.885034, f_e=1.529021, rho_e=19.991632, rho_s=19.991509, alpha=9.516052, beta=5.075228,
        A=0.229762, B=0.356666, kappa=0.356570, lambda_=0.748798, F_n=(-2.937772, -0.500288, 1.601954, -0.835530),
        F_0=-2.98, F_1=0.0, F_2=1.706587, F_3=-1.134778, eta=1.021095, F_e=-2.978815,
    ),
    # rho_n = 0.25 rho_e: not in the paper, but needed for a continuous embedding function (as in Zhou's own program)
    "Pt": ZhouParameters(
        mass_u=195.08, r_e=2.771916, f_e=2.336509, rho_e=33.367564, rho_s=35.205357, alpha=7.105782, beta=3.789750,
        A=0.556398, B=0.696037, kappa=0.385255, lambda_=0.770510, F_n=(-1.455568, -2.149952, 0.528491, 1.222875),
        F_0=-4.17, F_1=0.0, F_2=3.010561, F_3=-2.420128, eta=1.450000, F_e=-4.145597, low=0.25,
    ),
}  # fmt: skip


def zhou_potential(element: str, *, points: int = 2000) -> EamPotential:
    """Tabulate the potential of an element.

    The grid is that of the published files: r from 0 to the cutoff of √10/2 lattice parameters, rho from 0 to
    100 or, if larger, twice the equilibrium density.

    Parameters
    ----------
    element
        'Al', 'Ag', 'Au' or 'Pt'.
    points
        Length of every table, at least 100.

    Raises
    ------
    InputError
        If the element isn't one of these, or there are too few points.
    """
    if element not in PARAMETERS:
        raise InputError(f"no parameters of Zhou et al. for {element!r}, only for {', '.join(PARAMETERS)}")
    if points < 100:
        raise InputError(f"{points} points are too few for a table: at least 100 are needed")
    p = PARAMETERS[element]
    lattice_parameter_A = np.sqrt(2) * p.r_e
    cutoff_A = np.sqrt(10) / 2 * lattice_parameter_A
    distance = np.linspace(0.0, cutoff_A, points)
    kept_off = np.maximum(distance, CORE_A)
    density_function = _damped(kept_off, p.r_e, p.f_e, p.beta, p.lambda_)
    pair = _damped(kept_off, p.r_e, p.A, p.alpha, p.kappa) - _damped(kept_off, p.r_e, p.B, p.beta, p.lambda_)
    density = np.linspace(0.0, max(density_function.max(), 2 * p.rho_e, 100.0), points)
    return EamPotential(
        name=f"{element}_Zhou2004",
        element=element,
        mass_u=p.mass_u,
        lattice_parameter_A=float(lattice_parameter_A),
        cutoff_A=float(cutoff_A),
        density_step=float(density[1]),
        distance_step_A=float(distance[1]),
        embedding_eV=_embedding(density, p),
        density=density_function,
        pair_eV_A=kept_off * pair,
        source=SOURCE,
    )


def _damped(r: NDArray[np.float64], r_e: float, height: float, decay: float, shift: float) -> NDArray[np.float64]:
    """Evaluate the common form of the paper's pair and density functions: an exponential cut off by a 20th power."""
    x = r / r_e
    return height * np.exp(-decay * (x - 1)) / (1 + (x - shift) ** 20)


def _embedding(rho: NDArray[np.float64], p: ZhouParameters) -> NDArray[np.float64]:
    inner = rho / (p.low * p.rho_e) - 1
    middle = rho / p.rho_e - 1
    outer = np.maximum(rho, p.rho_e) / p.rho_s
    power = outer**p.eta
    return np.where(
        rho < p.low * p.rho_e,
        np.polynomial.polynomial.polyval(inner, p.F_n),
        np.where(
            rho < p.high * p.rho_e,
            p.F_0 + p.F_1 * middle + p.F_2 * middle**2 + p.F_3 * middle**3,
            p.F_e * (1 - np.log(power)) * power,
        ),
    )
