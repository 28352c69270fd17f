"""A simulated transmission electron microscope: a cubic crystal, tilted to one zone after another, and its camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.sadp.kinematic import BeamSettings, simulate
from braggwatch.sim.sadp.model import Direction, SpotPattern
from braggwatch.sim.sadp.render import RenderSettings, render
from braggwatch.sim.sadp.structure import CrystalStructure


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """How the camera records a pattern.

    Attributes
    ----------
    size_px
        Side of the square frame.
    half_width_inv_A
        Distance from the middle of the frame to its edge, 1/Å.
    brightest_counts
        Peak counts of the brightest diffracted spot.
    halo_counts, background_counts
        Diffuse scattering around the direct beam, and uniform background, in counts.
    drift_px
        Standard deviation of the direct beam's position from frame to frame, pixels.
    """

    size_px: int = 256
    half_width_inv_A: float = 1.3
    brightest_counts: float = 3e4
    halo_counts: float = 300.0
    background_counts: float = 20.0
    drift_px: float = 1.5

    @property
    def inv_nm_per_px(self) -> float:
        """Scale, 1/nm per pixel."""
        return 20.0 * self.half_width_inv_A / self.size_px


class SimulatedMicroscope:
    """Tilts a crystal to zone axes and takes noisy exposures; the same seed gives the same frames.

    Parameters
    ----------
    structure
        Structure of the crystal.
    thickness_A, voltage_kV
        Foil thickness, Å, and beam voltage, kV.
    """

    def __init__(
        self,
        structure: CrystalStructure,
        spec: CameraSpec | None = None,
        *,
        thickness_A: float = 150.0,
        voltage_kV: float = 200.0,
        seed: int = 0,
    ) -> None:
        self.structure = structure
        self.spec = spec or CameraSpec()
        self._beam = BeamSettings(
            voltage_kV=voltage_kV, thickness_A=thickness_A, half_width_inv_A=self.spec.half_width_inv_A
        )
        self._rng = np.random.default_rng(seed)
        self._patterns: dict[Direction, SpotPattern] = {}
        self.zone: Direction = (0, 0, 1)
        self.visit = 0
        self._turn_deg = 0.0

    def tilt_to(self, zone: Direction) -> None:
        """Tilt the crystal so that a zone axis lies along the beam: a new visit, with a new in-plane rotation."""
        self.zone = zone
        self.visit += 1
        self._turn_deg = float(self._rng.uniform(0.0, 360.0))

    def expose(self) -> NDArray[np.uint16]:
        """Return one (size, size) exposure with Poisson noise."""
        spec = self.spec
        if self.zone not in self._patterns:
            self._patterns[self.zone] = simulate(self.structure, self.zone, self._beam)
        middle = (spec.size_px - 1) / 2.0
        x, y = self._rng.normal(middle, spec.drift_px, 2)
        settings = RenderSettings(
            size_px=spec.size_px,
            inv_A_per_px=0.1 * spec.inv_nm_per_px,
            centre_px=(float(x), float(y)),
            rotation_deg=self._turn_deg,
        )
        rows, columns = np.mgrid[: spec.size_px, : spec.size_px]
        halo = spec.halo_counts * np.exp(-np.hypot(columns - x, rows - y) / 20.0)
        clean = spec.brightest_counts * render(self._patterns[self.zone], settings) + halo + spec.background_counts
        return np.minimum(self._rng.poisson(clean), 65535).astype(np.uint16)

    def expose_all(self, zones: Sequence[Direction], each: int) -> list[tuple[int, Direction, NDArray[np.uint16]]]:
        """Visit zones in turn and take ``each`` exposures at every one; return visit, zone and frame."""
        exposures: list[tuple[int, Direction, NDArray[np.uint16]]] = []
        for zone in zones:
            self.tilt_to(zone)
            exposures += [(self.visit, zone, self.expose()) for _ in range(each)]
        return exposures
