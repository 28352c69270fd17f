"""Whole synthetic reconstructions with the truth of each ion."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.apt.alloys import Alloy, AlloyName, load_alloy
from braggwatch.sim.apt.imaging import (
    BACKGROUND_Da,
    Imaging,
    blur,
    detection_probability,
    influence,
    magnify,
    reconstruct,
)
from braggwatch.sim.apt.lattice import orientation, sites_in_box
from braggwatch.sim.apt.model import IonCloud, VolumeTruth
from braggwatch.sim.apt.precipitates import PrecipitateIndex, Precipitates, PrecipitateSpec, place_precipitates
from braggwatch.sim.errors import InputError

_SLAB_NM = 4.0
_ASPECT = (38.0, 36.0, 88.0)

VolumeKind = Literal["A", "B", "C", "D"]


class VolumeSpec(BaseModel):
    """Specification of a synthetic volume, without its seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    alloy: AlloyName | Alloy = "al-li"
    size_nm: tuple[float, float, float] = Field(default=_ASPECT, description="Size of the box along x, y, z, nm.")
    pole: tuple[int, int, int] = Field(default=(0, 1, 1), description="Crystal direction along z.")
    azimuth_deg: float = 0.0
    tilt_deg: tuple[float, float] = (0.0, 0.0)
    precipitates: PrecipitateSpec = PrecipitateSpec()
    imaging: Imaging = Imaging()

    def resolved_alloy(self) -> Alloy:
        """Return the alloy, from the table if only its name is given."""
        return load_alloy(self.alloy) if isinstance(self.alloy, str) else self.alloy

    def sized_for(self, ions: float) -> VolumeSpec:
        """Return the same world in a box of proportions 38 : 36 : 88 in which about this many ions are detected.

        Raises
        ------
        InputError
            If that box would be less than 4 nm wide.
        """
        density = self.resolved_alloy().sites_per_nm3 * self.imaging.efficiency
        scale = (ions * (1 - self.imaging.background) / density / math.prod(_ASPECT)) ** (1 / 3)
        width, depth, height = (round(edge * scale, 3) for edge in _ASPECT)
        if min(width, depth, height) < 4:
            raise InputError(f"{ions:g} ions fill a box of {width} x {depth} x {height} nm: too small to scan")
        return self.model_copy(update={"size_nm": (width, depth, height)})


@dataclass(frozen=True, slots=True)
class SimulatedVolume:
    """A synthetic reconstruction; its ions are in random order within slabs of 4 nm of depth.

    Attributes
    ----------
    cloud
        The reconstruction as an instrument delivers it.
    truth
        The truth of each ion and each precipitate.
    """

    cloud: IonCloud
    truth: VolumeTruth


def load_volume_spec(kind: VolumeKind) -> VolumeSpec:
    """Return one of the package's four worlds (``presets/volumes.json``)."""
    table = json.loads(files("braggwatch.sim.apt").joinpath("presets/volumes.json").read_text())
    return VolumeSpec.model_validate(table[kind])


def simulate_volume(
    spec: VolumeSpec,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    precipitates: Precipitates | None = None,
) -> SimulatedVolume:
    """Simulate a reconstruction, slab after slab of depth: the same seed gives the same ions.

    Parameters
    ----------
    progress
        Called with (slabs done, slabs in total).
    precipitates
        Precipitates of the volume; None: drawn from the specification.

    Raises
    ------
    ValueError
        If the precipitates don't fit.
    """
    alloy = spec.resolved_alloy()
    rng = np.random.default_rng([seed, 0])
    if precipitates is None:
        precipitates = place_precipitates(spec.precipitates, spec.size_nm, rng)
    world = _World(spec, alloy, precipitates, rng.random(3))
    slabs = max(1, round(spec.size_nm[2] / _SLAB_NM))
    parts: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]] = []
    for slab in range(slabs):
        low, high = spec.size_nm[2] * slab / slabs, spec.size_nm[2] * (slab + 1) / slabs
        parts.append(world.slab(low, high, np.random.default_rng([seed, 1, slab])))
        if progress is not None:
            progress(slab + 1, slabs)
    positions = np.concatenate([p[0] for p in parts])
    ratios = np.concatenate([p[1] for p in parts])
    owner = np.concatenate([p[2] for p in parts])
    centres = precipitates.centres_nm.astype(np.float32)
    reconstruct(spec.imaging, centres, spec.size_nm)
    return SimulatedVolume(
        IonCloud(positions, ratios), VolumeTruth(owner, centres, precipitates.radii_nm.astype(np.float32))
    )


class _World:
    """Parts of a volume shared by all slabs."""

    def __init__(self, spec: VolumeSpec, alloy: Alloy, precipitates: Precipitates, shift: NDArray[np.float64]) -> None:
        self._spec = spec
        self._alloy = alloy
        self._edges = orientation(spec.pole, spec.azimuth_deg, spec.tilt_deg) * alloy.lattice_parameter_nm
        self._origin = np.array(spec.size_nm) / 2 + self._edges @ shift
        self._variant = np.append(precipitates.variant, np.uint8(0))
        self._index = PrecipitateIndex.of(precipitates, spec.size_nm)
        around = Precipitates(precipitates.centres_nm, influence(self._index), precipitates.variant)
        self._reach = PrecipitateIndex.of(around, spec.size_nm)
        self._occupancy = alloy.occupancy()

    def slab(
        self, low_z: float, high_z: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """Return the ions evaporated from ``low_z`` to ``high_z``: positions, mass-to-charge ratios, precipitate."""
        imaging, size = self._spec.imaging, self._spec.size_nm
        low, high = np.array([0.0, 0.0, low_z]), np.array([size[0], size[1], high_z])
        positions, site = sites_in_box(self._edges, self._origin, low, high)
        seen = rng.random(len(positions), dtype=np.float32) < detection_probability(imaging, positions, size)
        positions, site = positions[seen], site[seen]
        owner = self._index.owner(positions)
        # 0 matrix, 1 a precipitate's face sites, 2 its solute site
        kind = np.where(owner < 0, 0, 1 + (site == self._variant[owner]))
        drawn = rng.random(len(positions), dtype=np.float32)
        species = (drawn[:, None] >= self._occupancy[kind][:, :-1]).sum(axis=1).astype(np.uint8)
        ratios = self._alloy.mass_to_charge(species, rng)
        magnify(imaging, positions, self._index, self._reach)
        blur(imaging, positions, owner >= 0, rng)
        if imaging.displaced > 0:
            lost = rng.random(len(positions), dtype=np.float32) < imaging.displaced
            positions[lost] = _anywhere(int(lost.sum()), low, high, rng)
            owner[lost] = self._index.owner(positions[lost])
        if imaging.background > 0:
            extra = rng.poisson(len(positions) * imaging.background / (1 - imaging.background))
            added = _anywhere(extra, low, high, rng)
            positions = np.concatenate([positions, added])
            ratios = np.concatenate([ratios, rng.uniform(*BACKGROUND_Da, extra).astype(np.float32)])
            owner = np.concatenate([owner, self._index.owner(added)])
        reconstruct(imaging, positions, size)
        order = rng.permutation(len(positions))
        return positions[order], ratios[order], owner[order]


def _anywhere(
    count: int, low: NDArray[np.float64], high: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    return (low + rng.random((count, 3)) * (high - low)).astype(np.float32)
