"""One zone-axis pattern: its spots, and the parameters it was made with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Direction = tuple[int, int, int]
"""A zone axis [uvw] on the conventional cubic axes."""

ZONES: tuple[Direction, ...] = (
    (0, 0, 1),
    (0, 1, 1),
    (1, 1, 1),
    (0, 1, 2),
    (1, 1, 2),
    (1, 2, 2),
    (0, 1, 3),
    (1, 1, 3),
    (0, 2, 3),
    (1, 2, 3),
    (0, 1, 4),
    (2, 2, 3),
    (1, 1, 4),
    (1, 3, 3),
    (1, 2, 4),
    (2, 3, 3),
)
"""The sixteen shortest primitive directions of a cubic crystal, one per family, indices in ascending order."""

SPACE_GROUPS: tuple[int, ...] = (213, 221, 225, 227, 229)
"""The space groups that patterns can distinguish; others look like one of them (212 like 213, and so on)."""


@dataclass(frozen=True, slots=True)
class SpotPattern:
    """Spots of one zone-axis pattern, without the direct beam.

    Attributes
    ----------
    g_inv_A
        (N, 2) in 1/Å (|g| = 1/d): x to the right, y down, origin at 000.
    intensity
        (N,) relative: the brightest diffracted spot is 1.
    hkl
        (N, 3) int32 on the conventional cubic axes.
    """

    g_inv_A: NDArray[np.float64]
    intensity: NDArray[np.float64]
    hkl: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.intensity)

    def visible(self, floor: float) -> SpotPattern:
        """Return the spots with at least ``floor`` times the intensity of the brightest."""
        keep = self.intensity >= floor
        return SpotPattern(self.g_inv_A[keep], self.intensity[keep], self.hkl[keep])

    def transformed(self, matrix: NDArray[np.float64]) -> SpotPattern:
        """Return the pattern with each position (x, y) multiplied by a (2, 2) matrix: rotation, mirror, distortion."""
        return SpotPattern(self.g_inv_A @ np.asarray(matrix, dtype=np.float64).T, self.intensity, self.hkl)


@dataclass(frozen=True, slots=True)
class PatternFacts:
    """Parameters that one pattern was made with.

    Attributes
    ----------
    structure
        Id in the table of structures, or the name of the CIF.
    prototype
        Structures of one prototype share space group, composition pattern and occupied sites.
    space_group
        213, 221, 225, 227 or 229.
    effective_group
        The space group, for 227 with a letter for the extinctions of its occupied sites: see ``labels``.
    zone
        Beam direction [uvw] on the conventional cubic axes.
    class_label
        Number of the class of patterns that look alike: see ``labels``.
    voltage_kV, camera_length_mm
        Settings of the microscope.
    inv_A_per_px
        Scale of the detector, 1/Å per pixel: a 256 px picture at this scale contains all spots.
    thickness_A
        Thickness of the foil along the beam, Å.
    tilt_deg
        Tilt of the beam from the zone axis, (about x, about y).
    dynamical
        True for Bloch waves, False for kinematic intensities.
    """

    structure: str
    prototype: str
    space_group: int
    effective_group: str
    zone: Direction
    class_label: int
    voltage_kV: float
    camera_length_mm: float
    inv_A_per_px: float
    thickness_A: float
    tilt_deg: tuple[float, float]
    dynamical: bool
