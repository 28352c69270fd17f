"""Spherical precipitates: their positions, and which one contains a site."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.errors import InputError

_TRIES = 2000
_CELL_NM = 2.0


class PrecipitateSpec(BaseModel):
    """Precipitates of a volume: radii drawn from a normal distribution, spheres that don't touch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volume_fraction: float = Field(default=0.12, ge=0, le=0.3, description="Volume fraction of the box.")
    radius_nm: float = Field(default=2.5, gt=0, description="Mean radius by number.")
    radius_sd_nm: float = Field(default=1.0, ge=0)
    radius_limits_nm: tuple[float, float] = Field(default=(0.5, 5.5), description="Radii outside are drawn again.")
    gap_nm: float = Field(default=0.5, ge=0, description="Smallest distance between two surfaces.")


@dataclass(frozen=True, slots=True)
class Precipitates:
    """Spherical precipitates.

    Attributes
    ----------
    centres_nm
        (M, 3) float64.
    radii_nm
        (M,) float64.
    variant
        (M,) uint8: the site of the cell, 0 to 3, that the solute occupies.
    """

    centres_nm: NDArray[np.float64]
    radii_nm: NDArray[np.float64]
    variant: NDArray[np.uint8]

    def __len__(self) -> int:
        return self.radii_nm.size


def place_precipitates(
    spec: PrecipitateSpec, size_nm: tuple[float, float, float], rng: np.random.Generator
) -> Precipitates:
    """Fill a box from (0, 0, 0) to ``size_nm`` with precipitates that lie entirely inside, the largest first.

    Raises
    ------
    InputError
        If they don't fit.
    """
    low, high = spec.radius_limits_nm
    if not low <= spec.radius_nm <= high:
        raise InputError(f"a mean radius of {spec.radius_nm:g} nm is outside the limits {low:g} to {high:g} nm")
    remaining = spec.volume_fraction * math.prod(size_nm)
    radii: list[float] = []
    while remaining > 0:
        radius = spec.radius_nm + spec.radius_sd_nm * float(rng.standard_normal())
        if low <= radius <= high:
            volume = 4 / 3 * math.pi * radius**3
            # the last precipitate is added only if that brings the total volume closer to its target
            if volume > 2 * remaining:
                break
            radii.append(radius)
            remaining -= volume
    radii.sort(reverse=True)
    box = np.array(size_nm)
    centres = np.empty((len(radii), 3))
    for n, radius in enumerate(radii):
        if 2 * radius > box.min():
            raise InputError(f"a precipitate of radius {radius:.2f} nm doesn't fit into a box of {size_nm} nm")
        least2 = (np.array(radii[:n]) + radius + spec.gap_nm) ** 2
        for _ in range(_TRIES):
            place = radius + rng.random(3) * (box - 2 * radius)
            if (((centres[:n] - place) ** 2).sum(axis=1) >= least2).all():
                centres[n] = place
                break
        else:
            raise InputError(
                f"only {n} of {len(radii)} precipitates fit: ask for a smaller volume fraction or a larger box"
            )
    return Precipitates(centres, np.array(radii), rng.integers(0, 4, len(radii), dtype=np.uint8))


@dataclass(frozen=True, slots=True)
class PrecipitateIndex:
    """Cells of 2 nm with the precipitates that reach into each, to look sites up quickly."""

    centres_nm: NDArray[np.float64]
    radii_nm: NDArray[np.float64]
    start: NDArray[np.int64]
    members: NDArray[np.int32]
    shape: NDArray[np.int64]

    @classmethod
    def of(cls, precipitates: Precipitates, size_nm: tuple[float, float, float]) -> PrecipitateIndex:
        """Index precipitates over a box; sites outside it are looked up in the nearest cell."""
        shape = np.maximum(np.ceil(np.array(size_nm) / _CELL_NM), 1).astype(np.int64)
        members: list[list[int]] = [[] for _ in range(int(shape.prod()))]
        for n, (centre, radius) in enumerate(zip(precipitates.centres_nm, precipitates.radii_nm, strict=True)):
            # sites outside the box belong to its outermost cells, and so do the parts of spheres outside
            first = np.clip(np.floor((centre - radius) / _CELL_NM), 0, shape - 1).astype(int)
            last = np.clip(np.floor((centre + radius) / _CELL_NM), 0, shape - 1).astype(int)
            for i in range(first[0], last[0] + 1):
                for j in range(first[1], last[1] + 1):
                    for k in range(first[2], last[2] + 1):
                        members[(i * int(shape[1]) + j) * int(shape[2]) + k].append(n)
        start = np.zeros(len(members) + 1, dtype=np.int64)
        np.cumsum([len(m) for m in members], out=start[1:])
        flat = np.array([n for m in members for n in m], dtype=np.int32)
        return cls(precipitates.centres_nm, precipitates.radii_nm, start, flat, shape)

    def owner(self, positions_nm: NDArray[np.float32]) -> NDArray[np.int32]:
        """(N,) number of the precipitate that holds each position, -1 for the matrix."""
        owner = np.empty(len(positions_nm), dtype=np.int32)
        _find(positions_nm, self.centres_nm, self.radii_nm, self.start, self.members, self.shape, owner)
        return owner


@njit(cache=True, nogil=True, error_model="numpy")
def _find(  # pragma: no cover - compiled
    p: NDArray[np.float32],
    centres: NDArray[np.float64],
    radii: NDArray[np.float64],
    start: NDArray[np.int64],
    members: NDArray[np.int32],
    shape: NDArray[np.int64],
    owner: NDArray[np.int32],
) -> None:
    for n in range(p.shape[0]):
        i = min(max(int(p[n, 0] / _CELL_NM), 0), shape[0] - 1)
        j = min(max(int(p[n, 1] / _CELL_NM), 0), shape[1] - 1)
        k = min(max(int(p[n, 2] / _CELL_NM), 0), shape[2] - 1)
        cell = (i * shape[1] + j) * shape[2] + k
        owner[n] = -1
        for m in range(start[cell], start[cell + 1]):
            q = members[m]
            dx = p[n, 0] - centres[q, 0]
            dy = p[n, 1] - centres[q, 1]
            dz = p[n, 2] - centres[q, 2]
            if dx * dx + dy * dy + dz * dz <= radii[q] * radii[q]:
                owner[n] = q
                break
