"""Electron structure factors.

Atomic factors are the five Gaussians of International Tables C, table 4.3.2.2 (Peng, Ren, Dudarev and Whelan 1996,
sin θ/λ up to 2 1/Å) from gemmi; Debye-Waller factors are isotropic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, exp, pi, sin
from typing import cast

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.sadp.structure import CrystalStructure, StructureError, require_gemmi

ABSENT = 1e-5
"""Share of the largest |F| below which a structure factor is a rounding error of the coordinates."""


@dataclass(frozen=True, slots=True)
class Reflections:
    """Reflections of a crystal within a sphere, without 000 and without absent ones.

    Attributes
    ----------
    hkl
        (N, 3) int32.
    g_inv_A
        (N, 3) in the crystal's Cartesian axes, 1/Å.
    factor_A
        (N,) complex structure factor in Å for the electron's rest mass: sums of electron scattering factors.
    """

    hkl: NDArray[np.int32]
    g_inv_A: NDArray[np.float64]
    factor_A: NDArray[np.complex128]


def atomic_coefficients(elements: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the Gaussians of the electron scattering factors, (E, 10): five a in Å, then five b in Å².

    Raises
    ------
    ImportError
        If gemmi is not installed.
    StructureError
        If the tables lack an element.
    """
    require_gemmi()
    import gemmi

    rows: list[list[float]] = []
    for name in elements:
        coefficients = cast("gemmi.C4322Coef | None", gemmi.Element(name).c4322)  # gemmi's stubs omit the None
        if coefficients is None or not any(coefficients.get_coefs()):
            raise StructureError(f"no electron scattering factor of {name!r}")
        rows.append([float(value) for value in coefficients.get_coefs()])
    return np.array(rows)


def structure_factors(structure: CrystalStructure, hkl: NDArray[np.int32]) -> NDArray[np.complex128]:
    """Return the structure factors F(hkl) = Σ o f(s) exp(-B s²) exp(2πi h·r), in Å, for the electron's rest mass.

    Parameters
    ----------
    hkl
        (N, 3).

    Returns
    -------
    NDArray
        (N,) complex128.
    """
    lengths = np.linalg.norm(hkl @ structure.reciprocal_inv_A, axis=1)
    return _factors(
        np.ascontiguousarray(hkl, dtype=np.int64),
        lengths,
        atomic_coefficients(structure.elements),
        structure.species,
        structure.positions,
        structure.occupancy,
        structure.b_iso_A2,
    )


def reflections(
    structure: CrystalStructure,
    g_max_inv_A: float,
    wanted: Callable[[NDArray[np.float64]], NDArray[np.bool_]] | None = None,
) -> Reflections:
    """Return all reflections up to ``g_max_inv_A``, without absent ones, shortest first.

    Parameters
    ----------
    wanted
        Selects from reciprocal lattice vectors (N, 3), 1/Å in the crystal's axes; None: all. Only about 5 % of a large
        sphere's reflections are near the Ewald sphere.
    """
    lengths = np.linalg.norm(structure.cell_A, axis=1)
    reach = np.ceil(g_max_inv_A * lengths).astype(int)
    axes = [np.arange(-r, r + 1, dtype=np.int32) for r in reach]
    hkl = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    g = hkl @ structure.reciprocal_inv_A
    square = np.einsum("ij,ij->i", g, g)
    inside = (square > 0) & (square <= g_max_inv_A * g_max_inv_A)
    hkl, g = hkl[inside], g[inside]
    if wanted is not None:
        near = wanted(g)
        hkl, g = hkl[near], g[near]
    size = np.linalg.norm(g, axis=1)
    order = np.argsort(size, kind="stable")
    hkl, g = hkl[order], g[order]
    factor = structure_factors(structure, hkl)
    present = np.abs(factor) > ABSENT * np.abs(factor).max(initial=0.0)
    return Reflections(hkl[present], g[present], factor[present])


@njit(cache=True, nogil=True)
def _factors(
    hkl: NDArray[np.int64],
    lengths: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    species: NDArray[np.int64],
    positions: NDArray[np.float64],
    occupancy: NDArray[np.float64],
    b_iso: NDArray[np.float64],
) -> NDArray[np.complex128]:
    factors = np.empty(len(hkl), dtype=np.complex128)
    atomic = np.empty(len(coefficients))
    for i in range(len(hkl)):
        s2 = 0.25 * lengths[i] * lengths[i]
        for e in range(len(coefficients)):
            atomic[e] = 0.0
            for k in range(5):
                atomic[e] += coefficients[e, k] * exp(-coefficients[e, k + 5] * s2)
        real = 0.0
        imaginary = 0.0
        for j in range(len(species)):
            phase = 2.0 * pi * (hkl[i, 0] * positions[j, 0] + hkl[i, 1] * positions[j, 1] + hkl[i, 2] * positions[j, 2])
            weight = occupancy[j] * atomic[species[j]] * exp(-b_iso[j] * s2)
            real += weight * cos(phase)
            imaginary += weight * sin(phase)
        factors[i] = complex(real, imaginary)
    return factors
