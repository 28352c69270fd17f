"""Dynamical zone-axis patterns by Bloch waves.

The eigenvalue equation of high-energy diffraction in a foil whose normal is z (Metherell 1975; De Graef, Introduction
to Conventional Transmission Electron Microscopy, chapter 5), without backscattering:

    (K² - |K + g|²) C_g + Σ_h U_{g-h} C_h = 2 K_z γ (1 + g_z / K_z) C_g,    U_g = (m / m₀) F_g / (π V),

is made Hermitian by (1 + g_z / K_z)^½. One eigenproblem serves every thickness: ψ_g(t) = Σ_j α_j C_g^j exp(2πi γ_j t).
The strongest beams are solved for exactly; all others in range are added to first order from the solved ones, with
their own excitation error, so that the picture has no edge where the matrix ends. Optional absorption is a share of the
elastic potential (U' = share × U), to first order.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError
from braggwatch.sim.sadp.ewald import errors_and_positions
from braggwatch.sim.sadp.kinematic import brightest_first
from braggwatch.sim.sadp.microscope import beam_direction, mass_ratio, wavelength_A, zone_frame
from braggwatch.sim.sadp.model import Direction, SpotPattern
from braggwatch.sim.sadp.scattering import Reflections, atomic_coefficients, reflections, structure_factors
from braggwatch.sim.sadp.structure import CrystalStructure

_REACH_INV_A = 0.06
"""Beams farther from the Ewald sphere than this, 1/Å, are omitted."""
_CENTRINGS = ((0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1))
_REAL = 1e-9


@dataclass(frozen=True, slots=True)
class BlochSettings:
    """One illumination of a crystal.

    Attributes
    ----------
    tilt_deg
        Tilt of the beam from the zone axis, about x and about y.
    g_max_inv_A
        Largest |g| of the beams, 1/Å.
    beams
        Largest number of beams that are solved for, including 000.
    absorption
        Imaginary part of the potential as a share of the real one; 0 for none.
    """

    voltage_kV: float = 200.0
    tilt_deg: tuple[float, float] = (0.0, 0.0)
    g_max_inv_A: float = 2.0
    beams: int = 150
    absorption: float = 0.0

    def __post_init__(self) -> None:
        if self.beams < 2 or self.g_max_inv_A <= 0 or self.absorption < 0:
            raise InputError("at least two beams, g_max_inv_A above zero and no negative absorption")


class BlochWaves:
    """Bloch waves of chosen beams.

    Parameters
    ----------
    structure
        The crystal.
    strong
        (N, 3) beams to solve for; the first is 000.
    weak
        (W, 3) beams to add to first order.
    frame
        (3, 3) rows x, y, z on the crystal's Cartesian axes; z is the foil's normal, along the beam.
    voltage_kV, tilt_deg, absorption
        As in ``BlochSettings``.
    """

    def __init__(
        self,
        structure: CrystalStructure,
        strong: NDArray[np.int32],
        weak: NDArray[np.int32],
        frame: NDArray[np.float64],
        voltage_kV: float,
        tilt_deg: tuple[float, float] = (0.0, 0.0),
        absorption: float = 0.0,
    ) -> None:
        self.hkl = np.concatenate([strong, weak]).astype(np.int32)
        potential = _Potential(structure, voltage_kV)
        mean = float(potential.between(strong[:1], strong[:1])[0, 0].real)
        vacuum = 1.0 / wavelength_A(voltage_kV)
        beam = vacuum * beam_direction(tilt_deg)
        # the mean inner potential increases the wave number in the crystal; its component along the surface is
        # unchanged
        inside = np.array([beam[0], beam[1], sqrt(vacuum**2 - beam[0] ** 2 - beam[1] ** 2 + mean)])
        g = self.hkl @ structure.reciprocal_inv_A @ frame.T
        flux = 1.0 + g[:, 2] / inside[2]
        left = inside @ inside - ((inside + g) ** 2).sum(axis=1)
        self._errors = left / (2.0 * inside[2] * flux)
        count = len(strong)
        scale = 1.0 / np.sqrt(flux)
        coupling = potential.between(strong, strong) * scale[:count, None] * scale[None, :count] / (2.0 * inside[2])
        matrix = coupling.copy()
        np.fill_diagonal(matrix, self._errors[:count])
        if np.abs(matrix.imag).max() < _REAL * np.abs(matrix).max():
            gamma, waves = np.linalg.eigh(matrix.real)
            waves = waves.astype(np.complex128)
        else:
            gamma, waves = np.linalg.eigh(matrix)
        self._gamma = gamma
        self._waves = waves
        self._start = waves[0].conj()
        # U' is proportional to U, so the mean of U' in each wave follows from the wave's own potential energy
        energy = np.einsum("gj,gh,hj->j", waves.conj(), coupling, waves, optimize=True).real
        self._damping = absorption * energy
        if len(weak):
            into = potential.between(weak, strong) * scale[count:, None] * scale[None, :count] / (2.0 * inside[2])
            self._into_weak = into @ waves
        else:
            self._into_weak = np.empty((0, count), dtype=np.complex128)

    @property
    def solved(self) -> int:
        """Number of beams that were solved for; the beams of ``hkl`` after them are to first order."""
        return len(self._gamma)

    def amplitudes(self, thickness_A: float) -> NDArray[np.complex128]:
        """Return the amplitudes (N + W,) of ``hkl`` behind a foil; their squares are shares of the beam's flux."""
        phases = np.exp(2j * pi * self._gamma * thickness_A)
        lost = np.exp(-2.0 * pi * self._damping * thickness_A)
        strong = self._waves @ (self._start * phases * lost)
        if not len(self._into_weak):
            return strong
        errors = self._errors[self.solved :, None]
        half = pi * thickness_A
        grown = 2j * half * np.exp(1j * half * (self._gamma + errors)) * np.sinc((self._gamma - errors) * thickness_A)
        return np.concatenate([strong, (self._into_weak * grown) @ (self._start * lost)])

    def intensities(self, thickness_A: float) -> NDArray[np.float64]:
        """Return the intensities (N + W,) of the beams of ``hkl``; without absorption the solved ones sum to 1."""
        return np.abs(self.amplitudes(thickness_A)) ** 2


class BlochZone:
    """One zone of one structure at one voltage and tilt, for any thickness.

    Parameters
    ----------
    known
        The structure's reflections up to ``settings.g_max_inv_A`` or beyond, if already computed.
    """

    def __init__(
        self,
        structure: CrystalStructure,
        zone: Direction,
        settings: BlochSettings,
        known: Reflections | None = None,
    ) -> None:
        self.settings = settings
        self.frame = zone_frame(structure, zone)
        present = reflections(structure, settings.g_max_inv_A) if known is None else known
        strong, weak, xy = _choose(structure, present.hkl, self.frame, settings)
        self._xy = xy
        self.waves = BlochWaves(
            structure, strong, weak, self.frame, settings.voltage_kV, settings.tilt_deg, settings.absorption
        )

    def pattern(self, thickness_A: float, half_width_inv_A: float, floor: float = 1e-5) -> SpotPattern:
        """Return the spots within a square of half side ``half_width_inv_A``, brightest first, without 000.

        Raises
        ------
        InputError
            If the square reaches beyond the beams.
        """
        if thickness_A <= 0:
            raise InputError("the thickness must be above zero")
        if half_width_inv_A * sqrt(2) > self.settings.g_max_inv_A * (1 + 1e-9):
            raise InputError(f"beams were computed up to {self.settings.g_max_inv_A:g} 1/Å: the picture extends beyond")
        seen = np.asarray((np.abs(self._xy) <= half_width_inv_A).all(axis=1), dtype=np.bool_)
        seen[0] = False
        intensity = self.waves.intensities(thickness_A)
        return brightest_first(self._xy[seen], intensity[seen], self.waves.hkl[seen], floor)


def extinction_distance_A(structure: CrystalStructure, hkl: Direction, voltage_kV: float) -> float:
    """Return the two-beam extinction distance ξ_g = K cos θ / |U_g| in Å, with relativistic mass and B factors."""
    potential = _Potential(structure, voltage_kV)
    beam = np.array([hkl], dtype=np.int32)
    origin = np.zeros((1, 3), dtype=np.int32)
    k = 1.0 / wavelength_A(voltage_kV)
    half_g = 0.5 * float(np.linalg.norm(beam @ structure.reciprocal_inv_A))
    return sqrt(k * k - half_g * half_g) / float(np.abs(potential.between(beam, origin)[0, 0]))


class _Potential:
    """U_g of a crystal, in 1/Å²."""

    def __init__(self, structure: CrystalStructure, voltage_kV: float) -> None:
        self._structure = structure
        self._scale = mass_ratio(voltage_kV) / (pi * structure.volume_A3)

    def between(self, to: NDArray[np.int32], origin: NDArray[np.int32]) -> NDArray[np.complex128]:
        """U_{g-h} for beams g (G, 3) and h (H, 3): (G, H)."""
        differences = (to[:, None].astype(np.int64) - origin[None]).reshape(-1, 3)
        reach = int(np.abs(differences).max()) + 1
        span = 2 * reach + 1
        codes = ((differences[:, 0] + reach) * span + differences[:, 1] + reach) * span + differences[:, 2] + reach
        unique, place = np.unique(codes, return_inverse=True)
        hkl = np.stack([unique // span**2, unique // span % span, unique % span], axis=1) - reach
        factors = structure_factors(self._structure, hkl.astype(np.int32)) * self._scale
        return factors[place].reshape(len(to), len(origin))


def _choose(
    structure: CrystalStructure, present: NDArray[np.int32], frame: NDArray[np.float64], settings: BlochSettings
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Return the beams to solve for (000 first), those to add, and the detector positions of all."""
    hkl = _candidates(structure, present, settings.g_max_inv_A)
    g = hkl @ structure.reciprocal_inv_A @ frame.T
    k = 1.0 / wavelength_A(settings.voltage_kV)
    errors, xy = errors_and_positions(np.ascontiguousarray(g), k, beam_direction(settings.tilt_deg))
    near = np.abs(errors) <= _REACH_INV_A
    hkl, g, errors, xy = hkl[near], g[near], errors[near], xy[near]
    # a beam's possible strength, whatever the phases: its excitation error relative to the mean scattering at its g
    rank = np.abs(errors) / _mean_scattering(structure, np.linalg.norm(g, axis=1))
    order = np.argsort(rank, kind="stable")
    first = np.flatnonzero(~hkl[order].any(axis=1))[0]
    order = np.concatenate([order[first : first + 1], np.delete(order, first)])
    hkl, xy = hkl[order], xy[order]
    # cut between shells, so that symmetry-equivalent beams stay together
    count = min(settings.beams, len(hkl))
    ranks = rank[order]
    while 2 < count < len(hkl) and ranks[count] - ranks[count - 1] < 1e-6 * ranks[count] and not any(settings.tilt_deg):
        count -= 1
    return hkl[:count], hkl[count:], xy


def _candidates(structure: CrystalStructure, present: NDArray[np.int32], g_max_inv_A: float) -> NDArray[np.int32]:
    """Return all reciprocal lattice points that double diffraction can reach, including forbidden reflections."""
    reach = np.ceil(g_max_inv_A * np.linalg.norm(structure.cell_A, axis=1)).astype(int)
    axes = [np.arange(-r, r + 1, dtype=np.int32) for r in reach]
    hkl = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    hkl = hkl[np.linalg.norm(hkl @ structure.reciprocal_inv_A, axis=1) <= g_max_inv_A]
    for centring in _CENTRINGS:
        vector = np.asarray(centring)
        if not (present @ vector % 2).any():
            hkl = hkl[hkl @ vector % 2 == 0]
    return hkl


def _mean_scattering(structure: CrystalStructure, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    coefficients = atomic_coefficients(structure.elements)[structure.species]
    s2 = 0.25 * lengths**2
    atomic = (coefficients[:, :5, None] * np.exp(-coefficients[:, 5:, None] * s2)).sum(axis=1)
    atomic *= structure.occupancy[:, None] * np.exp(-structure.b_iso_A2[:, None] * s2)
    return np.sqrt((atomic**2).mean(axis=0))
