"""The face-centred cubic lattice: metals, slip systems and reflections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystallography.lattices import LATTICES
from braggwatch.sim.crystallography.miller import Miller as Miller
from braggwatch.sim.crystallography.miller import family as family
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class Metal:
    """An fcc metal.

    Attributes
    ----------
    lattice_parameter_nm
        Lattice parameter at room temperature, nm.
    poisson_ratio
        Isotropic (Voigt-Reuss-Hill) average, for the dislocation's displacement field.
    surface_ratio_100, surface_ratio_110
        Surface energy relative to {111}, from the EAM potentials of the project's reference table.
    form_factor
        Cromer-Mann coefficients (a1, b1, a2, b2, a3, b3, a4, b4, c) of f0(sin(theta)/lambda in 1/angstrom),
        International Tables for Crystallography, volume C, table 6.1.1.4.
    """

    symbol: str
    lattice_parameter_nm: float
    poisson_ratio: float
    surface_ratio_100: float
    surface_ratio_110: float
    form_factor: tuple[float, float, float, float, float, float, float, float, float]


METALS: dict[str, Metal] = {
    m.symbol: m
    for m in (
        Metal("Al", 0.40495, 0.345, 1.084, 1.155,
              (6.4202, 3.0387, 1.9002, 0.7426, 1.5936, 31.5472, 1.9646, 85.0886, 1.1151)),
        Metal("Ag", 0.40862, 0.367, 1.090, 1.180,
              (19.2808, 0.6446, 16.6885, 7.4726, 4.8045, 24.6605, 1.0463, 99.8156, 5.179)),
        Metal("Au", 0.40782, 0.420, 1.084, 1.280,
              (16.8819, 0.4611, 18.5913, 8.6216, 25.5582, 1.4826, 5.86, 36.3956, 12.0658)),
        Metal("Pt", 0.39242, 0.390, 1.046, 1.151,
              (27.0059, 1.51293, 17.7639, 8.81174, 15.7131, 0.424593, 5.7837, 38.6103, 11.6883)),
    )
}  # fmt: skip


def form_factor(metal: Metal, q_inv_nm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the atomic form factor f0.

    Parameters
    ----------
    metal
        The element.
    q_inv_nm
        |q| = 1/d in 1/nm (crystallographic convention, without 2 pi); any shape.

    Returns
    -------
    Electrons, same shape, float64.
    """
    s2 = (np.asarray(q_inv_nm, dtype=np.float64) * 0.05) ** 2
    c = metal.form_factor
    total = np.full_like(s2, c[8])
    for a, b in ((c[0], c[1]), (c[2], c[3]), (c[4], c[5]), (c[6], c[7])):
        total += a * np.exp(-b * s2)
    return total


BURGERS: tuple[Miller, ...] = tuple(family((1, 1, 0)))
"""Twelve perfect Burgers vectors of fcc as integers: b = a/2 times one of these."""


def slip_planes(burgers: Miller) -> tuple[Miller, Miller]:
    """Return the two {111} planes, as normals, that contain a Burgers vector.

    Raises
    ------
    InputError
        If ``burgers`` is not one of the twelve.
    """
    if burgers not in BURGERS:
        raise InputError(f"{burgers} is not a <110> Burgers vector of fcc; choose one of {BURGERS}")
    normals = [n for n in family((1, 1, 1)) if n[0] > 0 and int(np.dot(n, burgers)) == 0]
    return normals[0], normals[1]


def g_dot_b(hkl: Miller, burgers: Miller) -> float:
    """Return g·b for b = a/2 <110>: an integer for every allowed fcc reflection."""
    return float(np.dot(hkl, burgers)) / 2.0


def is_allowed(hkl: Miller) -> bool:
    """Return whether fcc allows the reflection: h, k, l all even or all odd, not all zero."""
    return LATTICES["fcc"].is_allowed(hkl)
