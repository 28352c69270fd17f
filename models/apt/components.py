"""Precipitates: ordered voxels that hang together, and how large they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from braggwatch.models.apt.splitting import split_parts
from braggwatch.models.apt.threshold import smooth
from braggwatch.sim.apt.grid import VoxelGrid

_HEIGHT_SMOOTHING = 0.5
_TOUCHING = ndimage.generate_binary_structure(3, 1)


@dataclass(frozen=True, slots=True)
class PrecipitateMap:
    """Precipitates of a map.

    Attributes
    ----------
    label
        (nx, ny, nz) int32: number of the precipitate a voxel belongs to, -1 for the matrix.
    centres_nm
        (M, 3) float32 centres of mass.
    radii_nm
        (M,) float32: of the sphere of the same volume.
    voxels
        (M,) int64.
    at_edge
        (M,) bool: touches the edge of what was scored, so that its size is a lower bound.
    """

    label: NDArray[np.int32]
    centres_nm: NDArray[np.float32]
    radii_nm: NDArray[np.float32]
    voxels: NDArray[np.int64]
    at_edge: NDArray[np.bool_]

    def __len__(self) -> int:
        return self.radii_nm.size

    @property
    def ordered(self) -> NDArray[np.bool_]:
        """(nx, ny, nz) bool."""
        return self.label >= 0


def find_precipitates(
    ordered: NDArray[np.bool_],
    grid: VoxelGrid,
    *,
    known: NDArray[np.bool_] | None = None,
    least_voxels: int = 4,
    height: NDArray[np.floating] | None = None,
) -> PrecipitateMap:
    """Give the connected parts (common faces) of a mask numbers, largest first; parts that are smaller are dropped.

    Parameters
    ----------
    known
        Voxels that have a score; None: all.
    height
        How far each voxel lies above the threshold: parts are divided where it shows that several touch
        (`braggwatch.models.apt.splitting`); None: they aren't.
    """
    known = np.ones_like(ordered) if known is None else known
    mask = ordered & known
    if height is None:
        parts = np.zeros(ordered.shape, dtype=np.int32)
        ndimage.label(mask, _TOUCHING, output=parts)
        parts -= 1
    else:
        ground = smooth(np.where(mask, height, 0.0), _HEIGHT_SMOOTHING)
        parts = split_parts(mask, ground, least_voxels=least_voxels)
    sizes = np.bincount(parts[mask], minlength=1)
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] >= least_voxels]
    number = np.full(len(sizes) + 1, -1, dtype=np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    # -1 is the last entry
    label: NDArray[np.int32] = number[parts]
    rim = np.logical_not(ndimage.binary_erosion(known, _TOUCHING))
    at_edge = np.isin(np.arange(len(order)), label[rim & (label >= 0)])
    middle = np.array(ndimage.center_of_mass(label >= 0, label, np.arange(len(order)))).reshape(-1, 3)
    centres = np.array(grid.origin_nm) + (middle + 0.5) * grid.voxel_nm
    volume = sizes[order] * grid.voxel_nm**3
    return PrecipitateMap(
        label,
        centres.astype(np.float32),
        np.cbrt(3 * volume / (4 * np.pi)).astype(np.float32),
        sizes[order].astype(np.int64),
        at_edge,
    )


@dataclass(frozen=True, slots=True)
class SizeDistribution:
    """Radii of precipitates, nm; those at the edge left out of mean, spread and histogram.

    Attributes
    ----------
    counts, edges_nm
        Histogram: (B,) and (B + 1,).
    density_per_m3
        Precipitates of the whole scored volume, 1/m³, one at the edge counting half.
    volume_fraction
        Ordered voxels over scored ones.
    """

    precipitates: int
    at_edge: int
    mean_nm: float | None
    sd_nm: float | None
    counts: tuple[int, ...]
    edges_nm: tuple[float, ...]
    density_per_m3: float
    volume_fraction: float


def size_distribution(found: PrecipitateMap, known: NDArray[np.bool_], voxel_nm: float) -> SizeDistribution:
    """Sum up the sizes."""
    whole = found.radii_nm[~found.at_edge]
    top = max(1.0, float(np.ceil(found.radii_nm.max(initial=0.0) * 2) / 2))
    edges = np.arange(0.0, top + 0.5, 0.5)
    volume_m3 = float(known.sum()) * (voxel_nm * 1e-9) ** 3
    return SizeDistribution(
        precipitates=len(found),
        at_edge=int(found.at_edge.sum()),
        mean_nm=float(whole.mean()) if whole.size else None,
        sd_nm=float(whole.std(ddof=1)) if whole.size > 1 else None,
        counts=tuple(int(n) for n in np.histogram(whole, edges)[0]),
        edges_nm=tuple(float(e) for e in edges),
        density_per_m3=(len(found) - 0.5 * int(found.at_edge.sum())) / volume_m3 if volume_m3 else 0.0,
        volume_fraction=float((found.ordered & known).sum() / max(1, known.sum())),
    )
