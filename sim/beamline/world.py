"""The shared world behind all simulated devices: what the detector sees at the current motor positions."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.beamline.nuisance import NuisanceSpec, detect
from braggwatch.sim.beamline.sample import Particle, SimulatedSample
from braggwatch.sim.bounded import Bounded
from braggwatch.sim.cxdp.crystal import build_crystal
from braggwatch.sim.cxdp.rocking import RockingModel, bragg_orientation, scanned_angle_deg
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.geometry.q import pixel_q


class BeamSpec(BaseModel):
    """The focused beam."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fwhm_um: tuple[float, float] = Field(
        default=(1.0, 1.0), description="Full width at half maximum along x and y, µm."
    )
    negligible_counts: float = Field(
        default=1e-3, gt=0, description="A particle whose brightest point is below this is ignored."
    )

    def fraction(self, dx_um: float, dy_um: float) -> float:
        """Return the intensity at a distance from the beam's centre, relative to the centre."""
        exponent = (dx_um / self.fwhm_um[0]) ** 2 + (dy_um / self.fwhm_um[1]) ** 2
        return float(np.exp(-4.0 * np.log(2.0) * exponent))


class SimulatedWorld:
    """Sample, diffractometer and detector without any control system.

    Motors write their positions here, detectors take exposures from here. The n-th exposure after construction draws
    its noise from (seed, n): two equal worlds scanned in the same way deliver identical frames, whichever detector is
    used.

    Parameters
    ----------
    sample
        The particles on the holder.
    geometry
        The diffractometer with the scanned circle at its Bragg angle, where every particle diffracts into the middle
        of the frame.
    beam, nuisances
        Beam and detector artefacts.
    seed
        Seed of the noise.
    kept_scans
        Number of rocking curves kept in memory by `precompute`; the oldest is dropped first.
    """

    def __init__(
        self,
        sample: SimulatedSample,
        geometry: RockingGeometry,
        *,
        beam: BeamSpec | None = None,
        nuisances: NuisanceSpec | None = None,
        seed: int = 0,
        kept_scans: int = 2,
    ) -> None:
        self.sample = sample
        self.geometry = geometry
        self.beam = beam or BeamSpec()
        self.nuisances = nuisances or NuisanceSpec()
        self.seed = seed
        self.exposures = 0
        self.x_um = 0.0
        self.y_um = 0.0
        self.angle_deg = self.bragg_angle_deg
        self._models = Bounded[int, RockingModel](kept_scans)
        self._scans = Bounded[tuple[int, bytes], dict[float, NDArray[np.float32]]](kept_scans)
        self._lock = threading.Lock()

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Shape of a delivered frame, (rows, columns)."""
        return self.geometry.frame_shape

    @property
    def bragg_angle_deg(self) -> float:
        """Reading of the scanned circle at which the Bragg condition is met."""
        return scanned_angle_deg(self.geometry)

    def illuminated(self) -> list[tuple[Particle, float]]:
        """Return the particles in the beam at the motor positions, with their fraction of the peak intensity."""
        lit: list[tuple[Particle, float]] = []
        for particle in self.sample.particles:
            fraction = self.beam.fraction(particle.x_um - self.x_um, particle.y_um - self.y_um)
            if fraction * particle.peak_counts >= self.beam.negligible_counts:
                lit.append((particle, fraction))
        return lit

    def precompute(self, angles_deg: Sequence[float] | NDArray[np.float64]) -> None:
        """Compute the rocking curve of the illuminated particles in advance, for the following exposures.

        A block of frames takes a third of the time of single frames. Exposures at other angles still work.
        """
        angles = np.asarray(angles_deg, dtype=np.float64)
        for particle, _ in self.illuminated():
            key = (particle.index, angles.tobytes())
            with self._lock:
                if key in self._scans:
                    self._scans.move_to_end(key)
                    continue
                counts = self._model(particle).expected_counts(angles)
                self._scans[key] = dict(zip(angles.tolist(), counts, strict=True))

    def expected_counts(self, angle_deg: float | None = None) -> NDArray[np.float32]:
        """Compute expected counts of one frame, (rows, columns) float32; arguments as in `expose`."""
        at = self.angle_deg if angle_deg is None else angle_deg
        total = np.zeros(self.frame_shape, dtype=np.float32)
        for particle, fraction in self.illuminated():
            total += np.float32(fraction) * self._expected_of(particle, at)
        return total

    def expose(self, angle_deg: float | None = None) -> NDArray[np.uint32]:
        """Take one exposure.

        Parameters
        ----------
        angle_deg
            Reading of the scanned circle during the exposure, degrees; None: its current position. During a sweep the
            detector gives the angle of its pulse.

        Returns
        -------
        (rows, columns) uint32.
        """
        expected = self.expected_counts(angle_deg)
        with self._lock:
            number = self.exposures
            self.exposures += 1
        return detect(expected, self.nuisances, np.random.default_rng((self.seed, number)))

    def _expected_of(self, particle: Particle, angle_deg: float) -> NDArray[np.float32]:
        with self._lock:
            for (index, _), frames in self._scans.items():
                if index == particle.index and angle_deg in frames:
                    return frames[angle_deg]
            return self._model(particle).expected_counts(np.array([angle_deg]))[0]

    def _model(self, particle: Particle) -> RockingModel:
        known = self._models.get(particle.index)
        if known is not None:
            self._models.move_to_end(particle.index)
            return known
        crystal = build_crystal(particle.crystal)
        rows, columns = self.frame_shape
        middle = pixel_q(self.geometry, self.bragg_angle_deg, (rows - 1) / 2, (columns - 1) / 2)
        orientation = bragg_orientation(crystal.g_inv_nm, middle, particle.azimuth_deg)
        model = RockingModel(crystal, self.geometry, orientation, particle.peak_counts)
        self._models[particle.index] = model
        return model
