"""Kinematic zone-axis patterns.

Intensity of a spot: |F|² times the relrod of a parallel-sided foil whose thickness varies over the selected area,

    R(s) = <sin²(π t s) / (π s)²> / <t²>,    t normally distributed about the thickness,

at the exact excitation error s: the distance along the foil's normal (the zone axis) from the reciprocal lattice point
to the Ewald sphere. Higher-order Laue zones follow the same rule. A spread of 0 gives the sinc² of one thickness.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, pi, sqrt

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError
from braggwatch.sim.sadp.ewald import at_sphere, detector_axes, on_detector
from braggwatch.sim.sadp.microscope import beam_direction, wavelength_A, zone_frame
from braggwatch.sim.sadp.model import Direction, SpotPattern
from braggwatch.sim.sadp.scattering import Reflections, reflections
from braggwatch.sim.sadp.structure import CrystalStructure

_REACH = 7.0
"""Relrods end at this many reciprocal thicknesses, where they are below 1/1000, or at `_REACH_INV_A`."""
_REACH_INV_A = 0.06
"""Smallest length of a relrod, 1/Å: in thick foils of small cells the brightest spots may lie far from the sphere."""


@dataclass(frozen=True, slots=True)
class BeamSettings:
    """One illumination of a foil.

    Attributes
    ----------
    thickness_A
        Thickness along the zone axis, Å.
    thickness_spread
        Standard deviation of the thickness over the area, as a share of it.
    tilt_deg
        Tilt of the beam from the zone axis, about x and about y.
    half_width_inv_A
        Spots are kept within the square of this half side, 1/Å.
    floor
        Spots below this share of the brightest one are dropped.
    """

    voltage_kV: float = 200.0
    thickness_A: float = 200.0
    thickness_spread: float = 0.15
    tilt_deg: tuple[float, float] = (0.0, 0.0)
    half_width_inv_A: float = 1.5
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if self.thickness_A <= 0 or self.half_width_inv_A <= 0 or self.thickness_spread < 0:
            raise InputError(
                "thickness_A and half_width_inv_A must be above zero, and thickness_spread must not be negative"
            )


class KinematicZone:
    """One zone of one structure, for any number of patterns.

    Parameters
    ----------
    g_max_inv_A
        Largest |g| of the computed reflections, 1/Å: at least √2 times the largest half width to be used.
    known
        The structure's reflections up to there, if already computed for another zone.
    """

    def __init__(
        self,
        structure: CrystalStructure,
        zone: Direction,
        g_max_inv_A: float,
        known: Reflections | None = None,
    ) -> None:
        self.g_max_inv_A = g_max_inv_A
        spots = reflections(structure, g_max_inv_A) if known is None else known
        self.frame = zone_frame(structure, zone)
        self._hkl = spots.hkl
        self._g = np.ascontiguousarray(spots.g_inv_A @ self.frame.T)
        self._strength = np.abs(spots.factor_A) ** 2

    def pattern(self, settings: BeamSettings) -> SpotPattern:
        """Return the spots, brightest first; empty if the square is too small for any.

        Raises
        ------
        InputError
            If the square reaches beyond the known reflections.
        """
        if settings.half_width_inv_A * sqrt(2) > self.g_max_inv_A * (1 + 1e-9):
            raise InputError(
                f"reflections are known to {self.g_max_inv_A:g} 1/Å: the corners of a square of half side "
                f"{settings.half_width_inv_A:g} 1/Å lie beyond"
            )
        place, xy, intensity = _excite(
            self._g,
            self._strength,
            1.0 / wavelength_A(settings.voltage_kV),
            beam_direction(settings.tilt_deg),
            settings.thickness_A,
            settings.thickness_spread,
            settings.half_width_inv_A,
        )
        return brightest_first(xy, intensity, self._hkl[place], settings.floor)


def simulate(structure: CrystalStructure, zone: Direction, settings: BeamSettings) -> SpotPattern:
    """Return one kinematic pattern; ``KinematicZone`` makes many faster."""
    return KinematicZone(structure, zone, settings.half_width_inv_A * sqrt(2)).pattern(settings)


def brightest_first(
    xy: NDArray[np.float64], intensity: NDArray[np.float64], hkl: NDArray[np.int32], floor: float
) -> SpotPattern:
    """Scale the brightest spot to 1, drop those below ``floor``, and sort."""
    if not len(intensity) or intensity.max() <= 0:
        return SpotPattern(xy[:0], intensity[:0], hkl[:0])
    relative = intensity / intensity.max()
    order = np.argsort(-relative, kind="stable")
    order = order[relative[order] >= floor]
    return SpotPattern(xy[order], relative[order], hkl[order])


def relrod(excitation_error: float, thickness_A: float, spread: float) -> float:
    """Return R(s) of the module docstring; 1 at s = 0."""
    return float(_relrod(excitation_error, thickness_A, spread))


@njit(cache=True, nogil=True)
def relrod_reach_inv_A(thickness_A: float) -> float:
    """Return the excitation error beyond which a reflection is omitted."""
    return max(_REACH / thickness_A, _REACH_INV_A)


@njit(cache=True, nogil=True)
def _relrod(s: float, thickness: float, spread: float) -> float:
    x = pi * s * thickness
    mean_square = 1.0 + spread * spread
    if abs(x) < 1e-2:
        return 1.0 - x * x * (1.0 + 6.0 * spread**2 + 3.0 * spread**4) / (3.0 * mean_square)
    return (1.0 - exp(-2.0 * (x * spread) ** 2) * cos(2.0 * x)) / (2.0 * x * x * mean_square)


@njit(cache=True, nogil=True)
def _excite(
    g: NDArray[np.float64],
    strength: NDArray[np.float64],
    k: float,
    n: NDArray[np.float64],
    thickness: float,
    spread: float,
    half_width: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    place = np.empty(len(g), dtype=np.int64)
    xy = np.empty((len(g), 2))
    intensity = np.empty(len(g))
    reach = relrod_reach_inv_A(thickness)
    axes = detector_axes(n)
    found = 0
    for i in range(len(g)):
        s, x, y, z = at_sphere(g[i, 0], g[i, 1], g[i, 2], k, n)
        if not abs(s) <= reach:
            continue
        u, v = on_detector(x, y, z, k, n, axes)
        if abs(u) > half_width or abs(v) > half_width:
            continue
        place[found] = i
        xy[found, 0] = u
        xy[found, 1] = v
        intensity[found] = strength[i] * _relrod(s, thickness, spread)
        found += 1
    return place[:found], xy[:found], intensity[:found]
