"""Labelled SDMs of single-phase cubes, disordered or L1₂, to train and test networks that classify whole cubes.

Cubes partly filled by precipitates, for networks that classify voxels, are made by
`braggwatch.models.apt.training.training_world`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.apt.alloys import AlloyName, load_alloy
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.imaging import Imaging
from braggwatch.sim.apt.model import label_ions
from braggwatch.sim.apt.precipitates import Precipitates
from braggwatch.sim.apt.scan import ScanSettings, scan_sdm
from braggwatch.sim.apt.sdm import FIVE_CHANNELS, PAPER, Z_ONLY, SdmWindow
from braggwatch.sim.apt.volume import SimulatedVolume, VolumeSpec, simulate_volume

Range = tuple[float, float]
LibraryName = Literal["published", "equal"]
WindowName = Literal["paper", "five-channels", "z"]

WINDOWS: dict[WindowName, SdmWindow] = {"paper": PAPER, "five-channels": FIVE_CHANNELS, "z": Z_ONLY}
"""Windows of the maps by name."""


class LibrarySpec(BaseModel):
    """Specification of a library: each parameter is drawn uniformly from its range, independently for each sample.

    A sample is a cube of one phase, alternately disordered and ordered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    alloy: AlloyName = "al-li"
    pole: tuple[int, int, int] = (0, 1, 1)
    pairs: tuple[tuple[str, str], ...] = (("Al", "Al"),)
    window: WindowName = "five-channels"
    cube_voxels: int = Field(default=4, ge=1, le=8)
    voxel_nm: float = Field(default=1.0, gt=0)
    tilt_deg: Range = (-1.0, 1.0)
    azimuth_deg: Range = (-1.0, 1.0)
    sigma_xy_nm: Range = (0.2, 0.8)
    sigma_z_disordered_nm: Range = (0.01, 0.04)
    sigma_z_ordered_nm: Range = (0.03, 0.055)
    efficiency: Range = (0.35, 0.8)
    depth_scale: Range = (1.0, 1.0)
    displaced: Range = (0.0, 0.0)
    background: Range = (0.0, 0.0)
    matrix_solute: Range | None = Field(default=None, description="None: as in the alloy.")
    corner_solute: Range | None = Field(default=None, description="None: as in the alloy.")

    def digest(self) -> str:
        """Return twelve hexadecimal digits that change with the specification, but not with its description."""
        plain = self.model_dump(mode="json", exclude={"description"})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def sdm_window(self) -> SdmWindow:
        """Window of the maps."""
        return WINDOWS[self.window]

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(pairs, bins_z, bins_x): shape of one sample's maps."""
        return len(self.pairs), *self.sdm_window.shape


@dataclass(frozen=True, slots=True)
class SdmSample:
    """One labelled sample.

    Attributes
    ----------
    maps
        (pairs, bins_z, bins_x) float32 counts.
    ordered
        1 for an L1₂ cube, 0 for a disordered one.
    ions
        Ions in the cube.
    parameters
        Drawn parameters, with units in the names.
    """

    maps: NDArray[np.float32]
    ordered: float
    ions: int
    parameters: dict[str, float]


def load_library_spec(name: LibraryName) -> LibrarySpec:
    """Return a library specification from the package (``presets/libraries.json``)."""
    table = json.loads(files("braggwatch.sim.apt").joinpath("presets/libraries.json").read_text())
    return LibrarySpec.model_validate(table[name])


def make_sample(spec: LibrarySpec, seed: int, number: int) -> SdmSample:
    """Make a sample of the library: a cube in the middle of a crystal of one phase, L1₂ if the number is odd."""
    rng = np.random.default_rng([seed, 2, number])
    ordered = number % 2 == 1
    sigma_z = _one(rng, spec.sigma_z_ordered_nm if ordered else spec.sigma_z_disordered_nm)
    world = _world(spec, rng, spec.cube_voxels * spec.voxel_nm, sigma_z)
    middle = np.array([world.size_nm]) / 2
    # an ordered cube lies in one sphere that holds the whole box
    sphere = Precipitates(middle, np.array([2 * math.hypot(*world.size_nm)]), rng.integers(0, 4, 1, dtype=np.uint8))
    volume = simulate_volume(world, _seed(rng), precipitates=sphere if ordered else _NO_PRECIPITATES)
    maps, ions = _cubes(spec, world, volume, _grid(spec, world, spec.cube_voxels))
    return SdmSample(maps[0, 0, 0], float(ordered), int(ions[0, 0, 0]), _parameters(world))


_NO_PRECIPITATES = Precipitates(np.empty((0, 3)), np.empty(0), np.empty(0, dtype=np.uint8))


def _world(spec: LibrarySpec, rng: np.random.Generator, edge_nm: float, sigma_z_nm: float) -> VolumeSpec:
    """Draw a world around a cube of ``edge_nm``, large enough to include its ions' neighbours after blurring."""
    alloy = load_alloy(spec.alloy)
    alloy = alloy.with_solute(
        None if spec.matrix_solute is None else _one(rng, spec.matrix_solute),
        None if spec.corner_solute is None else _one(rng, spec.corner_solute),
    )
    imaging = Imaging(
        sigma_xy_nm=_one(rng, spec.sigma_xy_nm),
        sigma_z_matrix_nm=sigma_z_nm,
        sigma_z_ordered_nm=sigma_z_nm,
        efficiency=_one(rng, spec.efficiency),
        depth_scale=_one(rng, spec.depth_scale),
        displaced=_one(rng, spec.displaced),
        background=_one(rng, spec.background),
    )
    reach_x, reach_y, reach_z = (min(reach, edge_nm) for reach in spec.sdm_window.reach_nm)
    aside = 2.5 * imaging.sigma_xy_nm
    along = 4 * sigma_z_nm + 0.1 * edge_nm
    size = (edge_nm + 2 * (reach_x + aside), edge_nm + 2 * (reach_y + aside), edge_nm + 2 * (reach_z + along))
    tilt = _one(rng, spec.tilt_deg), _one(rng, spec.tilt_deg)
    return VolumeSpec(
        alloy=alloy,
        size_nm=size,
        pole=spec.pole,
        azimuth_deg=_one(rng, spec.azimuth_deg),
        tilt_deg=tilt,
        imaging=imaging,
    )


def _grid(spec: LibrarySpec, world: VolumeSpec, voxels: int) -> VoxelGrid:
    """Return the grid in the middle of the reconstructed box."""
    half = voxels * spec.voxel_nm / 2
    x, y, z = world.size_nm
    origin = (x / 2 - half, y / 2 - half, z / 2 * world.imaging.depth_scale - half)
    return VoxelGrid(origin, (voxels, voxels, voxels), spec.voxel_nm)


def _cubes(
    spec: LibrarySpec, world: VolumeSpec, volume: SimulatedVolume, grid: VoxelGrid
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    ions = label_ions(volume.cloud, world.resolved_alloy().ranges())
    settings = ScanSettings(window=spec.sdm_window, voxel_nm=spec.voxel_nm, cube_voxels=spec.cube_voxels)
    scanned = scan_sdm(ions, spec.pairs, settings, grid=grid)
    return scanned.maps, scanned.ions


def _parameters(world: VolumeSpec) -> dict[str, float]:
    alloy, imaging = world.resolved_alloy(), world.imaging
    return {
        "tilt_x_deg": world.tilt_deg[0],
        "tilt_y_deg": world.tilt_deg[1],
        "azimuth_deg": world.azimuth_deg,
        "sigma_xy_nm": imaging.sigma_xy_nm,
        "sigma_z_matrix_nm": imaging.sigma_z_matrix_nm,
        "sigma_z_ordered_nm": imaging.sigma_z_ordered_nm,
        "efficiency": imaging.efficiency,
        "depth_scale": imaging.depth_scale,
        "displaced": imaging.displaced,
        "background": imaging.background,
        "matrix_solute": alloy.matrix[-1],
        "corner_solute": alloy.corner[-1],
    }


def _one(rng: np.random.Generator, limits: Range) -> float:
    return float(rng.uniform(*limits))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**62))
