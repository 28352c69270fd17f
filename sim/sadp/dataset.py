"""Data sets of electron diffraction patterns: every structure along every zone, under varied microscope conditions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from math import radians, sin, sqrt
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.sadp.bloch import BlochSettings, BlochZone
from braggwatch.sim.sadp.kinematic import BeamSettings, KinematicZone, relrod_reach_inv_A
from braggwatch.sim.sadp.labels import class_of, effective_group
from braggwatch.sim.sadp.microscope import Detector, wavelength_A, zone_frame
from braggwatch.sim.sadp.model import ZONES, Direction, PatternFacts, SpotPattern
from braggwatch.sim.sadp.pattern_set import StructureFacts
from braggwatch.sim.sadp.scattering import Reflections, reflections
from braggwatch.sim.sadp.structure import CrystalStructure

MIN_SPOTS = 4
"""Fewer spots don't identify a zone: the camera length is shortened until there are this many."""
_VISIBLE = 1e-3
_WIDER = 1.25
_WIDEST_INV_A = 6.0
_LARGEST_TILT_SIGMA = 6.0


class PatternSpec(BaseModel):
    """Specification of a data set; its hash identifies it.

    Camera lengths follow from the half side of the picture, which is drawn uniformly from ``half_width_inv_A`` (1/Å);
    thicknesses are drawn log-uniformly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    zones: tuple[Direction, ...] = ZONES
    per_zone: int = Field(default=20, ge=1, description="Patterns of each structure along each zone.")
    dynamical: bool = Field(default=False, description="Bloch waves instead of kinematic intensities.")
    voltages_kV: tuple[float, ...] = (100.0, 120.0, 200.0, 300.0)
    half_width_inv_A: tuple[float, float] = (1.0, 2.0)
    thickness_A: tuple[float, float] = (50.0, 500.0)
    thickness_spread: float = Field(
        default=0.15, ge=0, description="Kinematic only: relative spread of the thickness over the area."
    )
    tilt_deg: float = Field(default=0.1, ge=0, description="Standard deviation of the tilt about each axis, degrees.")
    floor: float = Field(
        default=1e-4, gt=0, lt=1, description="Share of the brightest spot below which spots are dropped."
    )
    beams: int = Field(default=150, ge=2, description="Dynamical only: most beams in the structure matrix.")
    absorption: float = Field(default=0.05, ge=0, description="Dynamical only: imaginary part of the potential.")
    detector_px: int = Field(default=256, ge=16)
    seed: int = 1

    def digest(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the specification."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def facts_of(structure: CrystalStructure) -> StructureFacts:
    """Return the facts of a structure that the data set stores.

    Raises
    ------
    ValueError
        If the classes don't cover its space group.
    """
    return StructureFacts(
        id=structure.id,
        formula=structure.formula,
        prototype=structure.prototype,
        space_group=structure.space_group,
        effective_group=effective_group(structure),
        source=structure.source,
    )


def patterns_of(structure: CrystalStructure, spec: PatternSpec) -> Iterator[tuple[SpotPattern, PatternFacts]]:
    """Make all patterns of one structure; they depend only on the specification and the structure's id.

    Raises
    ------
    ValueError
        If the classes don't cover its space group.
    """
    facts = facts_of(structure)
    known = reflections(structure, spec.half_width_inv_A[1] * sqrt(2))
    for zone in spec.zones:
        rng = np.random.default_rng([spec.seed, crc32(structure.id.encode()), *zone])
        label = class_of(facts.effective_group, zone)
        view = _ZoneView(structure, zone, spec, known)
        for number in range(spec.per_zone):
            voltage = spec.voltages_kV[number % len(spec.voltages_kV)]
            settings = BeamSettings(
                voltage_kV=voltage,
                thickness_A=float(np.exp(rng.uniform(*np.log(spec.thickness_A)))),
                thickness_spread=spec.thickness_spread,
                tilt_deg=view.tilt_deg(voltage, rng),
                half_width_inv_A=float(rng.uniform(*spec.half_width_inv_A)),
                floor=spec.floor,
            )
            spots, settings = view.pattern(settings)
            detector = Detector(size_px=spec.detector_px, pixel_um=40_000.0 / spec.detector_px)
            camera_length = detector.camera_length_mm(voltage, settings.half_width_inv_A)
            yield (
                spots,
                PatternFacts(
                    structure=facts.id,
                    prototype=facts.prototype,
                    space_group=facts.space_group,
                    effective_group=facts.effective_group,
                    zone=zone,
                    class_label=label,
                    voltage_kV=voltage,
                    camera_length_mm=camera_length,
                    inv_A_per_px=detector.inv_A_per_px(voltage, camera_length),
                    thickness_A=settings.thickness_A,
                    tilt_deg=settings.tilt_deg,
                    dynamical=spec.dynamical,
                ),
            )


class _ZoneView:
    """One zone of one structure: the parts computed once for many patterns."""

    def __init__(self, structure: CrystalStructure, zone: Direction, spec: PatternSpec, known: Reflections) -> None:
        self._structure = structure
        self._zone = zone
        self._spec = spec
        self._g_max = spec.half_width_inv_A[1] * sqrt(2)
        self._kinematic: KinematicZone | None = None
        self._known = known
        self._bloch: dict[float, BlochZone] = {}
        self._tilts: dict[float, tuple[float, float]] = {}

    def tilt_deg(self, voltage_kV: float, rng: np.random.Generator) -> tuple[float, float]:
        """Draw a tilt; dynamical patterns of one voltage share theirs, as they share the eigenproblem."""
        drawn = (float(rng.normal(0, self._spec.tilt_deg)), float(rng.normal(0, self._spec.tilt_deg)))
        return self._tilts.setdefault(voltage_kV, drawn) if self._spec.dynamical else drawn

    def pattern(self, settings: BeamSettings) -> tuple[SpotPattern, BeamSettings]:
        """Return the pattern and the settings that give at least four visible spots, with a wider view if need be."""
        while True:
            spots = self._spots(settings)
            if int((spots.intensity >= _VISIBLE).sum()) >= MIN_SPOTS or settings.half_width_inv_A > _WIDEST_INV_A:
                return spots, settings
            settings = replace(settings, half_width_inv_A=settings.half_width_inv_A * _WIDER)

    def _spots(self, settings: BeamSettings) -> SpotPattern:
        needed = settings.half_width_inv_A * sqrt(2)
        if needed > self._g_max:
            self._g_max = needed * _WIDER
            # Bloch waves need the crystal's centring, which the reflections near the sphere may not reveal
            wanted = None if self._spec.dynamical else self._near_sphere
            self._known = reflections(self._structure, self._g_max, wanted)
            self._bloch.clear()
            self._kinematic = None
        if self._spec.dynamical:
            return self._bloch_zone(settings).pattern(settings.thickness_A, settings.half_width_inv_A, settings.floor)
        if self._kinematic is None:
            self._kinematic = KinematicZone(self._structure, self._zone, self._g_max, self._known)
        return self._kinematic.pattern(settings)

    def _near_sphere(self, g_inv_A: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether reflections (N, 3) may be excited at any of the voltages, thicknesses and tilts: (N,) bool."""
        along = g_inv_A @ zone_frame(self._structure, self._zone)[2]
        across = np.maximum((g_inv_A**2).sum(axis=1) - along**2, 0.0)
        slack = relrod_reach_inv_A(self._spec.thickness_A[0])
        slack += np.sqrt(across) * sin(radians(_LARGEST_TILT_SIGMA * self._spec.tilt_deg))
        waves = [1.0 / wavelength_A(voltage) for voltage in self._spec.voltages_kV]
        low, high = (-across / (k + np.sqrt(np.maximum(k * k - across, 0.0))) for k in (min(waves), max(waves)))
        return np.asarray((along >= low - slack) & (along <= high + slack), dtype=np.bool_)

    def _bloch_zone(self, settings: BeamSettings) -> BlochZone:
        made = self._bloch.get(settings.voltage_kV)
        if made is None:
            beam = BlochSettings(
                voltage_kV=settings.voltage_kV,
                tilt_deg=settings.tilt_deg,
                g_max_inv_A=self._g_max,
                beams=self._spec.beams,
                absorption=self._spec.absorption,
            )
            made = self._bloch[settings.voltage_kV] = BlochZone(self._structure, self._zone, beam, self._known)
        return made
