"""The random small volumes that the centre-voxel network learns from, and the maps cut out of them.

Every nuisance is drawn from the same range for ordered and disordered atoms, each its own: where blur along z differs
between the classes by rule, as in the table of Li et al. (2021), a network may learn the blur instead of the order.
Clusters with the composition of a precipitate but no order, and order without a difference in composition, are both
among them, so that composition predicts nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.models.apt.sdm_input import HOST, SOLUTE, SdmInput
from braggwatch.sim.apt.alloys import Alloy, MassLine, Species
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.imaging import Imaging
from braggwatch.sim.apt.model import label_ions
from braggwatch.sim.apt.precipitates import PrecipitateSpec
from braggwatch.sim.apt.scan import scan_sdm
from braggwatch.sim.apt.volume import SimulatedVolume, VolumeSpec, simulate_volume

_SPECIES = (
    Species(name=HOST, lines=(MassLine(mass_to_charge_Da=27.0, weight=1.0),), volume_nm3=0.0166, color="33CCFF"),
    Species(name=SOLUTE, lines=(MassLine(mass_to_charge_Da=7.0, weight=1.0),), volume_nm3=0.0216, color="FF0000"),
)
_LARGEST_COUNT = 2048


class TrainingWorld(BaseModel):
    """Ranges of everything that is drawn, uniform unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edge_nm: float = Field(default=13.0, ge=9, description="Edge of a volume.")
    samples_per_volume: int = Field(default=160, ge=1)
    lattice_parameter_nm: float = 0.405
    pole: tuple[int, int, int] = (0, 1, 1)
    spacing: tuple[float, float] = Field(default=(0.95, 1.05), description="Scale of the depth.")
    largest_tilt_deg: float = Field(default=5.0, ge=0)
    sigma_z_nm: tuple[float, float] = Field(default=(0.015, 0.06), description="Blur along z, each phase its own.")
    sigma_xy_nm: tuple[float, float] = (0.2, 0.8)
    efficiency: tuple[float, float] = (0.3, 0.8)
    largest_background: float = 0.05
    magnification: tuple[float, float] = (0.85, 1.15)
    matrix_solute: tuple[float, float] = Field(default=(0.01, 0.2), description="Logarithmic.")
    corner_solute: tuple[float, float] = Field(default=(0.6, 1.0), description="Solute on the solute's site.")
    radius_nm: tuple[float, float] = (0.8, 5.5)
    volume_fraction: tuple[float, float] = (0.03, 0.3)
    disordered_share: float = Field(default=0.1, ge=0, le=1, description="Volumes without precipitates.")
    flat_share: float = Field(
        default=0.25, ge=0, le=1, description="Volumes with order, but the same composition everywhere."
    )
    cluster_share: float = Field(
        default=0.15, ge=0, le=1, description="Volumes whose precipitates are clusters without order."
    )


@dataclass(frozen=True, slots=True)
class CutMaps:
    """Samples of one volume; see `braggwatch.models.apt.training.samples.SdmSamples`.

    ``fraction`` is the ordered fraction of the central voxel, (N,) float32.
    """

    maps: NDArray[np.uint16]
    labels: NDArray[np.int64]
    fraction: NDArray[np.float32]


def draw_volume(world: TrainingWorld, rng: np.random.Generator) -> tuple[VolumeSpec, bool]:
    """Draw the specification of a volume, and whether its precipitates are ordered."""

    def uniform(limits: tuple[float, float]) -> float:
        return float(rng.uniform(*limits))

    matrix = float(np.exp(rng.uniform(*np.log(world.matrix_solute))))
    corner = uniform(world.corner_solute)
    kind = rng.random()
    ordered = True
    face = 0.0
    if kind < world.flat_share:
        matrix = corner / 4
    elif kind < world.flat_share + world.cluster_share:
        corner = face = corner / 4
        ordered = False
    empty = rng.random() < world.disordered_share
    radius = uniform(world.radius_nm)
    # a part of every precipitate may be anywhere between none and all of a cube
    fraction = 0.0 if empty else uniform(world.volume_fraction)
    return (
        VolumeSpec(
            alloy=Alloy(
                description="random, to learn from",
                lattice_parameter_nm=world.lattice_parameter_nm,
                species=_SPECIES,
                matrix=(1 - matrix, matrix),
                corner=(1 - corner, corner),
                face=(1 - face, face),
            ),
            size_nm=(world.edge_nm, world.edge_nm, world.edge_nm),
            pole=world.pole,
            azimuth_deg=float(rng.uniform(0, 360)),
            tilt_deg=(
                float(rng.uniform(-world.largest_tilt_deg, world.largest_tilt_deg)),
                float(rng.uniform(-world.largest_tilt_deg, world.largest_tilt_deg)),
            ),
            precipitates=PrecipitateSpec(
                volume_fraction=fraction,
                radius_nm=radius,
                radius_sd_nm=0.3 * radius,
                radius_limits_nm=(0.5 * radius, min(1.5 * radius, world.edge_nm / 2 - 0.6)),
            ),
            imaging=Imaging(
                sigma_xy_nm=uniform(world.sigma_xy_nm),
                sigma_z_matrix_nm=uniform(world.sigma_z_nm),
                sigma_z_ordered_nm=uniform(world.sigma_z_nm),
                efficiency=uniform(world.efficiency),
                magnification=uniform(world.magnification),
                depth_scale=uniform(world.spacing),
                background=uniform((0.0, world.largest_background)),
            ),
        ),
        ordered,
    )


def draw_until_it_fits(world: TrainingWorld, rng: np.random.Generator) -> tuple[VolumeSpec, bool, SimulatedVolume]:
    """Draw volumes until one's precipitates fit into it: (specification, whether they are ordered, volume)."""
    while True:
        spec, ordered = draw_volume(world, rng)
        try:
            return spec, ordered, simulate_volume(spec, int(rng.integers(2**31)))
        except ValueError:
            continue


def cut_samples(world: TrainingWorld, sdm: SdmInput, seed: int, number: int) -> CutMaps:
    """Simulate a volume, scan it and keep some cubes: as many with an ordered central voxel as without, if there are.

    The same seed and number give the same samples.
    """
    rng = np.random.default_rng([seed, number])
    spec, ordered, volume = draw_until_it_fits(world, rng)
    alloy = spec.resolved_alloy()
    ions = label_ions(volume.cloud, alloy.ranges())
    grid = VoxelGrid.around(ions.positions_nm, sdm.voxel_nm)
    scanned = scan_sdm(ions, sdm.pairs, sdm.scan_settings(), grid=grid)
    half = sdm.cube_voxels // 2
    inner = tuple(slice(half, half + n) for n in scanned.ions.shape)
    truth = volume.truth.ordered & ordered
    fraction = np.nan_to_num(grid.fraction(ions.positions_nm, truth)[inner]).ravel()
    # cubes at the rim that hold hardly any ions say nothing
    usable = scanned.ions.ravel() > 0.3 * np.median(scanned.ions)
    inside, outside = np.flatnonzero(usable & (fraction >= 0.3)), np.flatnonzero(usable & (fraction < 0.3))
    wanted = min(len(inside), world.samples_per_volume // 2)
    chosen = np.concatenate(
        [
            rng.choice(inside, wanted, replace=False),
            rng.choice(outside, min(len(outside), world.samples_per_volume - wanted), replace=False),
        ]
    )
    maps = scanned.maps.reshape(-1, *sdm.shape)[chosen]
    return CutMaps(
        np.minimum(maps, _LARGEST_COUNT).astype(np.uint16),
        (rng.random(len(chosen)) < fraction[chosen]).astype(np.int64),
        fraction[chosen].astype(np.float32),
    )
