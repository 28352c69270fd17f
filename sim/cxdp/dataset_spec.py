"""Specification of a data set, and the properties of one sample."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.cxdp.artefacts import NO_ARTEFACTS, ArtefactSpec
from braggwatch.sim.cxdp.crystal import PopulationSpec
from braggwatch.sim.cxdp.crystal.population import DEFAULT_POPULATION
from braggwatch.sim.cxdp.labels import CLASSES, Label

NuisanceWord = Literal["measured", "none"]
CLEAN_PEAK = 1e6
"""Peak of a pattern without noise, in counts."""

# Digests are part of file names and must not change, so they cover the fields of the first version; a field added
# later counts only if it is not at its default.
_FIRST_FIELDS = frozenset(
    ("population", "classes", "visible", "peak_counts", "fringe_period_voxels", "fringe_jitter", "seed")
)
_FIRST_POPULATION_FIELDS = frozenset(
    (
        "elements",
        "reflections",
        "size_nm",
        "points_across",
        "centred_fraction",
        "max_line_offset",
        "unstrained_fraction",
        "strain_rad",
        "strong_fraction",
        "strong_strain_rad",
        "facet_jitter",
    )
)


class DatasetSpec(BaseModel):
    """Specification of a data set; its hash identifies it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    population: PopulationSpec = DEFAULT_POPULATION
    classes: tuple[Label, ...] = CLASSES
    visible: bool = Field(default=True, description="False: only lines invisible at the reflection (g·b = 0).")
    peak_counts: tuple[float, float] = (1e3, 1e6)
    fringe_period_voxels: float = Field(default=3.5, description="The preprocessing's target fringe period, in voxels.")
    fringe_jitter: float = Field(default=0.08, description="Relative spread of that target from sample to sample.")
    seed: int = 1
    nuisance: NuisanceWord = Field(
        default="measured",
        description="'measured': counts with noise, gaps, blur, aliens. 'none': expected intensities, which get noise "
        "while training.",
    )
    artefacts: ArtefactSpec = NO_ARTEFACTS
    route: Literal["detector", "grid"] = Field(
        default="detector",
        description="'detector': a scan in a random diffractometer, then the preprocessing of live data. 'grid': "
        "expected intensities straight on the model's grid, scaled and centred like live data; three times as fast, "
        "three crystals of each number, which differ in their defect alone.",
    )

    def digest(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the specification."""
        unset = _at_default(self, _FIRST_FIELDS)
        unset_of_population = unset_population_fields(self.population)
        text = self.model_dump_json(exclude=dict.fromkeys(unset, True) | {"population": unset_of_population})
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def unset_population_fields(population: PopulationSpec) -> set[str]:
    """Return the fields that came after the first version and are at their defaults: they leave digests alone."""
    return _at_default(population, _FIRST_POPULATION_FIELDS)


def _at_default(model: BaseModel, first_fields: frozenset[str]) -> set[str]:
    fields = type(model).model_fields
    return {name for name in fields if name not in first_fields and getattr(model, name) == fields[name].default}


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """Properties of one sample, stored with its volume.

    Attributes
    ----------
    config
        Number of the crystal: samples of one crystal must not be divided between training and test.
    label, element, hkl, g_dot_b
        The crystal and its reflection; the label may also be a kind of outlier.
    line_distance
        Distance of the line from the centre, in particle sizes; -1 without a line.
    peak_counts
        Expected counts of the brightest pixel.
    size_nm
        Cube root of the particle's volume.
    coverage, completeness
        Share of the frames that arrived.
    source
        'continuum', or the library of the relaxed crystal.
    burgers
        Twice the Burgers vector in lattice parameters; None without a line or if unknown.
    character_deg
        Angle between line and Burgers vector, degrees; None likewise.
    strain_rad
        Root mean square of the smooth strain's phase over the crystal, radians (`sim.crystal.Crystal.strain_rad`);
        None if the sample is not a crystal, and in shards older than this field.
    crystal
        What stands for a relaxed crystal itself, in whichever library and data set; None for continuum crystals, which
        the specification's seed and ``config`` determine, and in shards older than this field.
    aspect
        Longest over shortest extent of the particle (rms along its principal axes); None likewise.
    blur_fringes
        Largest sigma, over the three axes, of the blur of partial coherence, in fringes; None in older shards.
    artefact
        What spoils the pattern, of `braggwatch.sim.cxdp.artefacts.ArtefactKind`; None where nothing does.
    lattice
        Of the crystal; hkl and ``burgers`` are in its terms.
    """

    config: int
    label: str
    element: str
    hkl: tuple[int, int, int]
    g_dot_b: float
    line_distance: float
    peak_counts: float
    size_nm: float
    coverage: float
    completeness: float = 1.0
    source: str = "continuum"
    burgers: tuple[int, int, int] | None = None
    character_deg: float | None = None
    strain_rad: float | None = None
    crystal: str | None = None
    aspect: float | None = None
    blur_fringes: float | None = None
    artefact: str | None = None
    lattice: str = "fcc"


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled model input; ``intensity`` is (64, 64, 64) float32 counts, or expected counts if noiseless."""

    intensity: NDArray[np.float32]
    info: SampleInfo
