"""Patterns on which a bundle is tried hard, a row of them for each difficulty, one difficulty at a time.

Every row takes the population of ``populations/anywhere.json`` with its other difficulties switched off: compact
crystals of weak strain, no artefacts, lines within 0.25 of the centre.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np

from braggwatch.sim.cxdp.artefacts import NO_ARTEFACTS, UNSPOILT, Artefacts
from braggwatch.sim.cxdp.crystal import Crystal, PopulationSpec, build_crystal, random_crystal_spec
from braggwatch.sim.cxdp.dataset_spec import DatasetSpec, Sample
from braggwatch.sim.cxdp.datasets import Preprocess, scan_of
from braggwatch.sim.cxdp.diffraction_setup import DiffractionSetup
from braggwatch.sim.cxdp.grid_patterns import Framing, grid_sample, second_particle

ROW_SEED = 7104
"""Seed of these rows: no data set for training, calibration or testing may have it."""

NO_CLASS = "no class"
"""Truth of a pattern that is to be refused."""

Spoiling = Literal["gap of 2 px", "a blank frame", "two blank frames", "three frames attenuated tenfold"]

_CALM_STRAIN_RAD = 0.2
_MIDDLE = (0.0, 0.25)
_RINGS = (_MIDDLE, (0.25, 0.35), (0.35, 0.45), (0.45, float("inf")))
_BLURS = (0.3, 0.4)
_SPOILINGS: tuple[Spoiling, ...] = (
    "gap of 2 px",
    "a blank frame",
    "two blank frames",
    "three frames attenuated tenfold",
)
_TWO_PARTICLES = "two_particles"
_APART = (0.7, 2.0)
_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class HardRow:
    """One difficulty.

    Attributes
    ----------
    group, condition
        Names for reports; with ``label`` they decide the row's crystals.
    label
        Class of the crystals.
    population
        Their distribution.
    distance
        Distances from the centre within which lines lie, in cube roots of the volume; for crystals with a line.
    shape
        Changes of the crystals' shape, of `ShapeSpec`.
    strain_rad
        Root mean square of the smooth strain's phase in every crystal (`Crystal.strain_rad`), radians; None: as drawn.
    blur
        Sigma of the partial coherence along every axis, fringes, beside the usual nuisances.
    spoiling
        What spoils the scan through its peak.
    second
        Whether there is another particle as bright in the beam: then no class is right.
    """

    group: str
    condition: str
    label: Literal["perfect", "screw", "edge"]
    population: PopulationSpec
    distance: tuple[float, float] = _MIDDLE
    shape: Mapping[str, object] = field(default_factory=dict[str, object])
    strain_rad: float | None = None
    blur: float = 0.0
    spoiling: Spoiling | None = None
    second: bool = False

    @property
    def truth(self) -> str:
        """The correct class, or `NO_CLASS`."""
        return NO_CLASS if self.second else self.label

    @property
    def spec(self) -> DatasetSpec:
        """Specification that the row's samples are stored with."""
        update = {"population": self.population, "artefacts": NO_ARTEFACTS, "classes": (self.label,)}
        return _anywhere().model_copy(update=update | {"seed": ROW_SEED})

    @property
    def slug(self) -> str:
        """Name for files."""
        return "-".join("".join(c if c.isalnum() else " " for c in f"{self.condition} {self.label}").split())

    def rng(self, number: int) -> np.random.Generator:
        """Return the generator of one sample's draws; it depends on the row's name, not on its place among others."""
        name = f"{self.group}/{self.condition}/{self.label}"
        return np.random.default_rng((ROW_SEED, zlib.crc32(name.encode()), number))


def hard_rows() -> tuple[HardRow, ...]:
    """Return every row, in the order of reports."""
    calm = _calm()
    even = {"elongation": (1.0, 1.0, 1.0)}
    sphere = even | {"ball": 0.6, "interface": None}
    unstrained = calm.model_copy(update={"unstrained_fraction": 1.0})
    plates = unstrained.model_copy(update={"plate_fraction": 1.0, "plate_aspect": (4.0, 4.0)})
    rods = unstrained.model_copy(update={"rod_fraction": 1.0, "rod_aspect": (3.0, 3.0)})
    rows = [
        HardRow("shape", "plates, aspect 4", "perfect", plates, shape=even),
        HardRow("shape", "rods, aspect 3", "perfect", rods, shape=even),
        HardRow("shape", "spheres", "perfect", unstrained, shape=sphere),
    ]
    for strain in (1.0, 1.5, 2.0):
        update = {"unstrained_fraction": 0.0, "strong_fraction": 1.0, "strong_strain_rad": (strain, strain)}
        strained = calm.model_copy(update=update)
        rows.append(HardRow("strain", f"strain {strain:.1f} rad", "perfect", strained, strain_rad=strain))
    for ring in _RINGS:
        where = f"{ring[0]:g} to {ring[1]:g}" if np.isfinite(ring[1]) else f"beyond {ring[0]:g}"
        rows += [HardRow("rim", f"line at {where}", label, calm, ring) for label in ("screw", "edge")]
    rows += [
        HardRow("blur", f"blur {blur:g} fringe", label, calm, blur=blur)
        for blur in _BLURS
        for label in ("perfect", "screw")
    ]
    rows += [
        HardRow("spoilt", f"{spoiling} at the peak", label, calm, spoiling=spoiling)
        for spoiling in _SPOILINGS
        for label in ("perfect", "screw")
    ]
    apart = f"two equal particles, {_APART[0]:g} to {_APART[1]:g} fringes apart"
    return (*rows, HardRow("spoilt", apart, "perfect", calm, second=True))


def hard_sample(row: HardRow, number: int, preprocess: Preprocess, framing: Framing) -> Sample | str:
    """Make one sample of a row, or return the reason why it was rejected.

    Rows with a second particle are made on the model's grid, as expected intensities: the caller adds the noise. All
    others are scans, with noise, through the preprocessing.

    Parameters
    ----------
    preprocess, framing
        Of live data.
    """
    rng = row.rng(number)
    crystal = _crystal(row, rng)
    if row.second:
        other = second_particle(row.spec, crystal, rng, share=(1.0, 1.0), fringes=_APART)
        return grid_sample(row.spec, crystal, framing, rng, config=number, second=other, label=_TWO_PARTICLES)
    return scan_of(row.spec, crystal, preprocess, rng, config=number, spoil=lambda setup: artefacts_of(row, setup))


def artefacts_of(row: HardRow, setup: DiffractionSetup) -> Artefacts:
    """Return what spoils a row's scans in one set-up: widths there are whole pixels or frames."""
    blur = (row.blur, row.blur, row.blur)
    frame, pixel = 1.0 / setup.fringe[0], 1.0 / setup.fringe[1]  # in fringes; pixels are square
    match row.spoiling:
        case "gap of 2 px":
            return Artefacts(blur, "gap", middle=0.5 * pixel, width=1.2 * pixel)
        case "a blank frame":
            return Artefacts(blur, "blank_frames", middle=0.0, width=0.5 * frame)
        case "two blank frames":
            return Artefacts(blur, "blank_frames", middle=0.5 * frame, width=1.2 * frame)
        case "three frames attenuated tenfold":
            return Artefacts(blur, "attenuated_frames", middle=0.0, width=2.5 * frame, factor=0.1)
        case None:
            return Artefacts(blur, None) if row.blur else UNSPOILT


def _crystal(row: HardRow, rng: np.random.Generator) -> Crystal:
    for _ in range(_DRAWS):
        spec = random_crystal_spec(rng, row.label, row.population)
        if spec.line is None or row.distance[0] <= float(np.hypot(*spec.line.offset)) < row.distance[1]:
            crystal = build_crystal(spec.model_copy(update={"shape": spec.shape.model_copy(update=row.shape)}))
            return crystal if row.strain_rad is None else _strained(crystal, row.strain_rad)
    raise RuntimeError(f"no line of {_DRAWS} lies where the row {row.condition!r} wants it")


def _strained(crystal: Crystal, strain_rad: float) -> Crystal:
    """Return the crystal with its strain made stronger or weaker: without its mean slope, which only moves the peak."""
    strain = crystal.spec.strain
    factor = strain_rad / crystal.strain_rad
    scaled = {
        "random_rad": tuple(factor * one for one in strain.random_rad),
        "facet_rad": factor * strain.facet_rad,
        "bend_rad": factor * strain.bend_rad,
        "surface_rad": factor * strain.surface_rad,
    }
    return build_crystal(crystal.spec.model_copy(update={"strain": strain.model_copy(update=scaled)}))


def _calm() -> PopulationSpec:
    update = {
        "plate_fraction": 0.0,
        "rod_fraction": 0.0,
        "round_fraction": 0.0,
        "strong_fraction": 0.0,
        "strain_rad": _CALM_STRAIN_RAD,
    }
    return _anywhere().population.model_copy(update=update)


@cache
def _anywhere() -> DatasetSpec:
    text = files("braggwatch.sim").joinpath("populations", "anywhere.json").read_text(encoding="utf-8")
    return DatasetSpec.model_validate_json(text)
