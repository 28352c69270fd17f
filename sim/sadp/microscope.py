"""Geometry of the electron beam, zone axis and detector."""

from __future__ import annotations

from dataclasses import dataclass
from math import radians, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from braggwatch.sim.errors import InputError
from braggwatch.sim.sadp.model import Direction
from braggwatch.sim.sadp.structure import CrystalStructure, StructureError


def wavelength_A(voltage_kV: float) -> float:
    """Return the relativistic wavelength of electrons, in Å.

    Raises
    ------
    InputError
        If the voltage isn't above zero.
    """
    if not voltage_kV > 0:
        raise InputError(f"the voltage must be above zero, not {voltage_kV:g} kV")
    energy = constants.e * voltage_kV * 1e3
    rest = constants.m_e * constants.c**2
    momentum = sqrt(energy * (energy + 2 * rest)) / constants.c
    return constants.h / momentum * 1e10


def mass_ratio(voltage_kV: float) -> float:
    """Relativistic mass of the beam's electrons in rest masses."""
    return 1.0 + constants.e * voltage_kV * 1e3 / (constants.m_e * constants.c**2)


@dataclass(frozen=True, slots=True)
class Detector:
    """A square flat detector: edge of a pixel, and number of pixels per side."""

    pixel_um: float = 156.25
    size_px: int = 256

    def inv_A_per_px(self, voltage_kV: float, camera_length_mm: float) -> float:
        """Return the scale of a pattern, 1/Å per pixel: pixel / (wavelength × camera length)."""
        return self.pixel_um * 1e-3 / (wavelength_A(voltage_kV) * camera_length_mm)

    def camera_length_mm(self, voltage_kV: float, half_width_inv_A: float) -> float:
        """Return the camera length at which half the detector's side is ``half_width_inv_A``."""
        return 0.5 * self.size_px * self.pixel_um * 1e-3 / (wavelength_A(voltage_kV) * half_width_inv_A)


def zone_frame(structure: CrystalStructure, zone: Direction) -> NDArray[np.float64]:
    """Return the axes of the picture in the crystal's Cartesian axes.

    Returns
    -------
    NDArray
        (3, 3) rows: x to the right along the shortest reciprocal lattice vector of the zone, y down, z away from the
        gun, against [uvw], which points up the column.

    Raises
    ------
    StructureError
        If the zone is [000].
    """
    if not any(zone):
        raise StructureError("[000] is not a zone axis")
    along = np.asarray(zone, dtype=np.float64) @ structure.cell_A
    z = -along / np.linalg.norm(along)
    x = _shortest_in_zone(structure, zone)
    x -= z * (x @ z)
    x /= np.linalg.norm(x)
    return np.array([x, np.cross(z, x), z])


def _shortest_in_zone(structure: CrystalStructure, zone: Direction) -> NDArray[np.float64]:
    reach = int(max(abs(index) for index in zone)) + 1
    axis = np.arange(reach, -reach - 1, -1)
    hkl = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    hkl = hkl[(hkl @ np.asarray(zone) == 0) & hkl.any(axis=1)]
    g = hkl @ structure.reciprocal_inv_A
    lengths = np.linalg.norm(g, axis=1)
    return np.array(g[lengths < lengths.min() * (1 + 1e-6)][0])


def beam_direction(tilt_deg: tuple[float, float]) -> NDArray[np.float64]:
    """Return the unit vector of the beam in the zone's frame, tilted from z about x and about y."""
    about_x, about_y = radians(tilt_deg[0]), radians(tilt_deg[1])
    direction = np.array([np.sin(about_y), -np.sin(about_x) * np.cos(about_y), np.cos(about_x) * np.cos(about_y)])
    return np.asarray(direction / np.linalg.norm(direction), dtype=np.float64)
