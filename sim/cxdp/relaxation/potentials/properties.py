"""Properties predicted by a potential for its fcc metal: lattice parameter, cohesion, stacking fault and surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from braggwatch.sim.cxdp.relaxation.model import EamPotential
from braggwatch.sim.cxdp.relaxation.potentials.periodic import PeriodicEam
from braggwatch.sim.errors import InputError

J_M2_PER_EV_A2 = 16.02176634
SLAB_A = 32.0
"""Thickness of the slabs: several times any cutoff, so that their two faces don't interact."""

# For each face: two vectors that span its cell, and one from a layer to the next, in lattice parameters.
FACES: dict[str, NDArray[np.float64]] = {
    "111": np.array([[0.5, -0.5, 0.0], [0.0, 0.5, -0.5], [0.5, 0.5, 0.0]]),
    "100": np.array([[0.0, 0.5, 0.5], [0.0, 0.5, -0.5], [0.5, 0.5, 0.0]]),
    "110": np.array([[0.5, -0.5, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]]),
}
FAULT = np.array([1.0, -2.0, 1.0]) / 6
"""Shockley shift on (111) that moves the next layer of `FACES` into the other hollow sites, in lattice parameters."""


@dataclass(frozen=True, slots=True)
class FccProperties:
    """Properties of the fcc crystal at zero temperature; surfaces and fault with relaxed atoms.

    Attributes
    ----------
    lattice_parameter_A
        Cubic lattice parameter of lowest energy, Å.
    cohesive_energy_eV
        Energy per atom at that lattice parameter, eV; negative.
    stacking_fault_mJ_m2
        Energy of the intrinsic stacking fault, mJ/m².
    surface_111_J_m2, surface_100_J_m2, surface_110_J_m2
        Energies of the unreconstructed surfaces, J/m².
    """

    lattice_parameter_A: float
    cohesive_energy_eV: float
    stacking_fault_mJ_m2: float
    surface_111_J_m2: float
    surface_100_J_m2: float
    surface_110_J_m2: float


def fcc_properties(potential: EamPotential) -> FccProperties:
    """Compute the properties of a potential, in about a second.

    Raises
    ------
    ValueError
        If the lowest energy isn't within 10 % of the potential's stated lattice parameter.
    RelaxationError
        If a slab doesn't relax.
    """
    a_A, cohesive_energy_eV = fcc_equilibrium(potential)
    slabs = {face: _slab_energy(potential, face, a_A) for face in FACES}
    surfaces = {
        face: (slab.energy_eV - slab.layers * cohesive_energy_eV) / (2 * slab.area_A2) * J_M2_PER_EV_A2
        for face, slab in slabs.items()
    }
    faulted = _slab_energy(potential, "111", a_A, faulted=True)
    fault_J_m2 = (faulted.energy_eV - slabs["111"].energy_eV) / faulted.area_A2 * J_M2_PER_EV_A2
    return FccProperties(
        lattice_parameter_A=a_A,
        cohesive_energy_eV=cohesive_energy_eV,
        stacking_fault_mJ_m2=1000 * fault_J_m2,
        surface_111_J_m2=surfaces["111"],
        surface_100_J_m2=surfaces["100"],
        surface_110_J_m2=surfaces["110"],
    )


def fcc_equilibrium(potential: EamPotential) -> tuple[float, float]:
    """Find the cubic lattice parameter in Å of lowest energy, and that energy in eV per atom.

    Raises
    ------
    InputError
        If it isn't within 10 % of the potential's stated lattice parameter.
    """
    stated = potential.lattice_parameter_A
    low, high = 0.9 * stated, 1.1 * stated
    found = minimize_scalar(
        lambda a_A: fcc_energy_eV(potential, a_A), bounds=(low, high), method="bounded", options={"xatol": 1e-8}
    )
    # scipy types its result as object
    a_A = float(found.x)  # pyright: ignore[reportAttributeAccessIssue]
    if min(a_A - low, high - a_A) < 1e-4 * stated:
        raise InputError(f"{potential.name}: no fcc minimum within 10 % of the stated {stated} Å")
    return a_A, float(found.fun)  # pyright: ignore[reportAttributeAccessIssue]


def fcc_energy_eV(potential: EamPotential, a_A: float) -> float:
    """Return the energy per atom of a perfect fcc crystal, eV."""
    cell = a_A / 2 * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    at_origin = np.zeros((1, 3))
    return PeriodicEam(potential, cell, at_origin).evaluate(at_origin).energy_eV


@dataclass(frozen=True, slots=True)
class _Slab:
    layers: int
    area_A2: float
    energy_eV: float


def _slab_energy(potential: EamPotential, face: str, a_A: float, *, faulted: bool = False) -> _Slab:
    """Relax a free slab with one atom per layer, optionally with a stacking fault in its middle."""
    along, across, stacking = a_A * FACES[face]
    normal = np.cross(along, across)
    area_A2 = float(np.linalg.norm(normal))
    normal /= area_A2
    layers = int(np.ceil(SLAB_A / abs(stacking @ normal)))
    index = np.arange(layers)[:, None]
    positions = index * stacking + (index >= layers // 2) * FAULT * a_A * faulted
    # free faces: the third vector leaves more than a cutoff between a slab and its image
    cell = np.stack([along, across, (2 * SLAB_A + potential.cutoff_A) * normal])
    fractional = positions @ np.linalg.inv(cell)
    wrapped = (fractional - np.floor(fractional + 1e-9)) @ cell
    energy_eV = PeriodicEam(potential, cell, wrapped).relaxed_energy_eV()
    return _Slab(layers=layers, area_A2=area_A2, energy_eV=energy_eV)
