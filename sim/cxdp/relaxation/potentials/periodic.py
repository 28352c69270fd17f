"""Energies of small periodic cells, from which bulk and surface properties are computed; independent of the engines."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.cxdp.relaxation.error import RelaxationError
from braggwatch.sim.cxdp.relaxation.model import EamPotential, EnergyAndForces
from braggwatch.sim.cxdp.relaxation.potentials.eam_spline import evaluate, knot_cubics
from braggwatch.sim.errors import InputError

SKIN_A = 1.0
FORCE_eV_A = 0.001
"""Largest force, eV/Å, in a relaxed cell; the remaining error of a slab is below 0.001 mJ/m2."""
FIRST_RATE_A2_eV = 0.05
LONGEST_STEP_A = 0.05
MAX_STEPS = 1000


class PeriodicEam:
    """A potential's energies and forces in a periodic cell; neighbours are searched once.

    Parameters
    ----------
    potential
        The tables.
    cell_A
        (3, 3) Å, rows are the cell's vectors.
    positions_A
        (N, 3) Å, starting positions: no atom may move by more than 0.5 Å.
    """

    def __init__(self, potential: EamPotential, cell_A: NDArray[np.float64], positions_A: NDArray[np.float64]) -> None:
        self._potential = potential
        self._embedding = knot_cubics(potential.embedding_eV)
        self._density = knot_cubics(potential.density)
        self._pair = knot_cubics(potential.pair_eV_A)
        self._start = positions_A.copy()
        reach = potential.cutoff_A + SKIN_A
        inverse = np.linalg.inv(cell_A)
        fractional = positions_A @ inverse
        # |row of the inverse's transpose| is one over the distance between opposite faces
        images = np.ceil(reach * np.linalg.norm(inverse, axis=0) + np.ptp(fractional, axis=0)).astype(int)
        shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in images)))) @ cell_A
        first: list[NDArray[np.intp]] = []
        second: list[NDArray[np.intp]] = []
        offsets: list[NDArray[np.float64]] = []
        for index, position in enumerate(positions_A):
            distance = np.linalg.norm(positions_A[None, :, :] + shifts[:, None, :] - position, axis=2)
            shift, other = np.nonzero((distance < reach) & (distance > 0))
            first.append(np.full(len(other), index))
            second.append(other)
            offsets.append(shifts[shift])
        self._first, self._second = np.concatenate(first), np.concatenate(second)
        self._offset = np.concatenate(offsets)

    def evaluate(self, positions_A: NDArray[np.float64]) -> EnergyAndForces:
        """Compute energies (N,) and forces (N, 3) of (N, 3) positions.

        Raises
        ------
        InputError
            If an atom has moved too far for the neighbours found at the start.
        """
        atoms = len(positions_A)
        if np.linalg.norm(positions_A - self._start, axis=1).max() > SKIN_A / 2:
            raise InputError(f"an atom moved by more than {SKIN_A / 2} Å from where its neighbours were found")
        vectors = positions_A[self._second] + self._offset - positions_A[self._first]
        distance = np.linalg.norm(vectors, axis=1)
        near = distance < self._potential.cutoff_A
        first, second, vectors, distance = self._first[near], self._second[near], vectors[near], distance[near]
        density, density_slope = evaluate(self._density, self._potential.distance_step_A, distance)
        pair, pair_slope = evaluate(self._pair, self._potential.distance_step_A, distance)  # of r·φ

        def gather(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(first, values, atoms), dtype=np.float64)

        embedding, slope = evaluate(self._embedding, self._potential.density_step, gather(density))
        energy = embedding + gather(pair / distance) / 2
        along = (pair_slope - pair / distance + (slope[first] + slope[second]) * density_slope * distance) / distance**2
        force = np.stack([gather(along * component) for component in vectors.T], axis=1)
        return EnergyAndForces(atom_energy_eV=energy, force_eV_A=force)

    def relaxed_energy_eV(self) -> float:
        """Return the energy, eV, of the minimum near the starting positions, at fixed cell.

        Descends by Barzilai and Borwein's steps, IMA J. Numer. Anal. 8, 141 (1988), which need no line search: line
        searches fail for potentials that aren't smooth (Zhou's functions end with a small step, on a neighbour shell).

        Raises
        ------
        RelaxationError
            If there is no minimum within 0.5 Å of the start.
        """
        positions = self._start.copy()
        current = self.evaluate(positions)
        rate = FIRST_RATE_A2_eV
        for _ in range(MAX_STEPS):
            if current.max_force_eV_A < FORCE_eV_A:
                return current.energy_eV
            step = rate * current.force_eV_A
            step *= min(1.0, LONGEST_STEP_A / np.abs(step).max())
            try:
                following = self.evaluate(positions + step)
            except ValueError as error:
                raise RelaxationError(f"no minimum near the start: {error}") from error
            curvature = float((step * (current.force_eV_A - following.force_eV_A)).sum())
            rate = float((step**2).sum()) / curvature if curvature > 0 else FIRST_RATE_A2_eV
            positions, current = positions + step, following
        raise RelaxationError(f"largest force still {current.max_force_eV_A:.2g} eV/Å after {MAX_STEPS} steps")
