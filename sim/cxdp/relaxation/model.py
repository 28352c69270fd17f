"""Input and output of a relaxation, the same for every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

StopReason = Literal["energy_tolerance", "force_tolerance", "step_limit", "rejected_by_check"]


@dataclass(frozen=True, slots=True)
class EamPotential:
    """A one-element embedded-atom potential in tables, as in a setfl file (LAMMPS eam/alloy).

    E = Σ_i F(ρ_i) + 1/2 Σ_{i≠j} φ(r_ij), ρ_i = Σ_{j≠i} f(r_ij).

    Attributes
    ----------
    name
        Name, e.g. 'Pt_Zhou04'.
    element
        Chemical symbol.
    mass_u
        Atomic mass, u.
    lattice_parameter_A
        Cubic fcc lattice parameter stated in the file, Å.
    cutoff_A
        Distance beyond which there is no interaction, Å.
    density_step, distance_step_A
        Spacings of the tables, which both start at 0.
    embedding_eV
        (N_rho,) F(ρ).
    density
        (N_r,) f(r).
    pair_eV_A
        (N_r,) r·φ(r).
    source
        Publication.
    """

    name: str
    element: str
    mass_u: float
    lattice_parameter_A: float
    cutoff_A: float
    density_step: float
    distance_step_A: float
    embedding_eV: NDArray[np.float64]
    density: NDArray[np.float64]
    pair_eV_A: NDArray[np.float64]
    source: str


class RelaxationSettings(BaseModel):
    """Relaxation protocol and its limits.

    ``paper``: all atoms are free until the energy's relative change falls below ``energy_tolerance`` (Lim et al. 2021,
    conjugate gradient, 1e-6). The result depends on the crystal's size, since the tolerance is relative to the total
    energy. ``clamped``: the surface shell is held at its initial (Volterra) positions until the largest force on the
    other atoms is below ``force_tolerance_eV_A``, then all atoms are released for ``release_steps``, in portions of
    ``check_every`` steps; the result is the last portion that the caller's check accepted. ``none``: the atoms stay at
    the positions of the elastic field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Literal["paper", "clamped", "none"] = "clamped"
    energy_tolerance: float = Field(default=1e-6, gt=0, description="Relative change between two steps; 'paper' only.")
    force_tolerance_eV_A: float = Field(default=0.01, gt=0, description="Largest force; 'clamped' only.")
    max_steps: int = Field(default=2000, ge=1)
    clamp_depth_A: float = Field(default=5.0, gt=0, description="Thickness of the held shell, Å; about two layers.")
    release_steps: int = Field(default=40, ge=0, description="Steps after the release; 'clamped' only.")
    check_every: int = Field(default=20, ge=1, description="Steps between two checks of the released crystal.")


@dataclass(frozen=True, slots=True)
class EnergyAndForces:
    """Per-atom energies (N,) in eV (pair energy shared equally) and forces (N, 3) in eV/Å, float64."""

    atom_energy_eV: NDArray[np.float64]
    force_eV_A: NDArray[np.float64]

    @property
    def energy_eV(self) -> float:
        """Total energy."""
        return float(self.atom_energy_eV.sum())

    @property
    def max_force_eV_A(self) -> float:
        """Largest norm of a force, eV/Å."""
        return float(np.sqrt((self.force_eV_A**2).sum(axis=1).max()))


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A relaxed crystal.

    Attributes
    ----------
    positions_A
        (N, 3) float64 Å, open boundaries, axes and order as in the input.
    steps
        Force evaluations or iterations, depending on the engine.
    stopped
        Why it ended; 'rejected_by_check': the result is the last accepted snapshot of a 'clamped' release.
    engine
        Name and version of the engine.
    """

    positions_A: NDArray[np.float64]
    energy_eV: float
    max_force_eV_A: float
    steps: int
    stopped: StopReason
    engine: str
    seconds: float


SnapshotCheck = Callable[[NDArray[np.float64]], bool]
"""Takes (N, 3) positions in Å and returns whether the defect put in is still there."""


class Relaxer(Protocol):
    """A relaxation engine, with open boundaries at zero temperature."""

    @property
    def name(self) -> str:
        """Engine and version."""
        ...

    def energy_and_forces(self, positions_A: NDArray[np.float64], potential: EamPotential) -> EnergyAndForces:
        """Evaluate (N, 3) positions."""
        ...

    def relax(
        self,
        positions_A: NDArray[np.float64],
        potential: EamPotential,
        settings: RelaxationSettings,
        *,
        shell: NDArray[np.bool_] | None = None,
        accept: SnapshotCheck | None = None,
    ) -> Relaxation:
        """Relax (N, 3) positions.

        Parameters
        ----------
        shell
            (N,) bool, True for the atoms that 'clamped' holds in its first phase; required by that protocol.
        accept
            Called after each portion of the release; None accepts all.

        Raises
        ------
        ValueError
            If 'clamped' is asked for without a shell, or atoms coincide.
        """
        ...
