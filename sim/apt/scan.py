"""Sliding scan: the SDMs of all overlapping cubes of a reconstruction, evaluating each pair of ions once.

A cube's map has its centres in the cube and its neighbours anywhere, so it is the sum of its voxels' maps. Each voxel's
map is counted once; box sums of ``cube_voxels`` along z, y and x, in integers, then give the map of every cube, equal
to the result of `braggwatch.sim.apt.sdm.kdtree_sdm` for that cube alone.

The scan proceeds in slabs of one voxel along x; it needs memory for ``cube_voxels + 3`` slabs of maps, whatever the
length along x, and slabs that would be too large are divided along y.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray

from braggwatch.sim.apt.columns import sort_into_columns
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import UNRANGED, LabelledIons
from braggwatch.sim.apt.sdm import SdmWindow, bin_of, column_reach, kernel_limits
from braggwatch.sim.errors import InputError

_COLUMNS_PER_VOXEL = 2


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """Settings of a scan.

    Attributes
    ----------
    window
        Offsets and bins of the maps.
    voxel_nm
        Stride of the scan and edge of a voxel, nm.
    cube_voxels
        Edge of a cube, voxels.
    memory_MB
        Target for the memory of the maps, 1e6 bytes; sorting needs another 75 bytes per ion beforehand.
    """

    window: SdmWindow = field(default_factory=SdmWindow)
    voxel_nm: float = 1.0
    cube_voxels: int = 4
    memory_MB: float = 256.0

    def __post_init__(self) -> None:
        if self.cube_voxels < 1:
            raise InputError("a cube has at least one voxel")
        if not self.voxel_nm > 0 or not self.memory_MB > 0:
            raise InputError("voxel and memory must be positive")


@dataclass(frozen=True, slots=True)
class SdmBlock:
    """Maps of some of the cubes: those with index ``i`` along x, ``j`` to ``j + maps.shape[0]`` along y, all along z.

    Attributes
    ----------
    maps
        (ny, nz, pairs, bins_z, bins_x) float32 counts; the array is not reused.
    ions
        (ny, nz) int32: ions of any species in each cube.
    """

    i: int
    j: int
    maps: NDArray[np.float32]
    ions: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ScannedSdm:
    """Maps of all cubes of a grid: cube (i, j, k) holds the voxels i to i + cube_voxels - 1, and so on.

    Attributes
    ----------
    maps
        (nx, ny, nz, pairs, bins_z, bins_x) float32 counts.
    ions
        (nx, ny, nz) int32: ions of any species in each cube.
    """

    grid: VoxelGrid
    cube_voxels: int
    pairs: tuple[tuple[str, str], ...]
    window: SdmWindow
    maps: NDArray[np.float32]
    ions: NDArray[np.int32]


def scan_sdm(
    ions: LabelledIons,
    pairs: tuple[tuple[str, str], ...],
    settings: ScanSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    grid: VoxelGrid | None = None,
) -> ScannedSdm:
    """Scan a reconstruction and keep all maps: 4 bytes per bin, pair and cube; see `scan_blocks` if that is too much.

    Parameters and errors are those of `scan_blocks`.
    """
    settings = ScanSettings() if settings is None else settings
    grid = VoxelGrid.around(ions.positions_nm, settings.voxel_nm) if grid is None else grid
    cubes = grid.cubes(settings.cube_voxels)
    maps = np.empty((*cubes, len(pairs), *settings.window.shape), dtype=np.float32)
    inside = np.empty(cubes, dtype=np.int32)
    for block in scan_blocks(ions, pairs, settings, progress, grid=grid):
        rows = slice(block.j, block.j + block.maps.shape[0])
        maps[block.i, rows] = block.maps
        inside[block.i, rows] = block.ions
    return ScannedSdm(grid, settings.cube_voxels, pairs, settings.window, maps, inside)


def scan_blocks(
    ions: LabelledIons,
    pairs: tuple[tuple[str, str], ...],
    settings: ScanSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    grid: VoxelGrid | None = None,
) -> Generator[SdmBlock]:
    """Scan a reconstruction, block after block of cubes.

    Parameters
    ----------
    ions
        Ions outside the grid and unranged ones are not centres; ions outside still count as neighbours.
    pairs
        (centre, neighbour) species of each channel, e.g. ``(("Al", "Al"), ("Li", "Li"))``; each pair once.
    progress
        Called with (slabs done, slabs in total).
    grid
        Voxels to scan; None: a grid around all ions. Its voxel edge overrides that of the settings.

    Raises
    ------
    ValueError
        If a species isn't among the ions', a pair is repeated, no cube fits, or a position isn't finite.
    """
    settings = ScanSettings() if settings is None else settings
    grid = VoxelGrid.around(ions.positions_nm, settings.voxel_nm) if grid is None else grid
    channel = _channels(ions, pairs)
    k = settings.cube_voxels
    cubes = grid.cubes(k)
    wanted = np.zeros(UNRANGED + 1, dtype=np.bool_)
    wanted[: len(ions.names)] = (channel >= 0).any(axis=0) | (channel >= 0).any(axis=1)
    used = np.flatnonzero(wanted[ions.species])
    edge = grid.voxel_nm / _COLUMNS_PER_VOXEL
    least = grid.shape[0] * _COLUMNS_PER_VOXEL, grid.shape[1] * _COLUMNS_PER_VOXEL
    columns = sort_into_columns(ions.positions_nm[used], grid.origin_nm[:2], edge, least)
    used = used[columns.order]
    positions, species = ions.positions_nm[used], ions.species[used]
    reach = column_reach(settings.window, edge, columns.shape)
    inside = box_sum(grid.count(ions.positions_nm).astype(np.int32), k)
    bins = len(pairs) * settings.window.bins_z * settings.window.bins_x
    tile = _tile(cubes[1], k, grid.shape[2] * bins * 4, settings.memory_MB * 1e6)
    starts = range(0, cubes[1], tile)
    shape = (grid.shape[2] - k + 1, len(pairs), *settings.window.shape)
    done = 0
    for j in starts:
        rows = min(tile, cubes[1] - j)
        voxels = np.empty((rows + k - 1, grid.shape[2], bins), dtype=np.int32)
        recent = np.zeros((k, rows, cubes[2], bins), dtype=np.int32)
        running = np.zeros((rows, cubes[2], bins), dtype=np.int32)
        for i in range(grid.shape[0]):
            voxels[:] = 0
            _count_slab(
                positions,
                species,
                columns.start,
                columns.shape,
                columns.offset,
                grid.origin_nm[2],
                grid.voxel_nm,
                reach,
                channel,
                kernel_limits(settings.window),
                settings.window.shape,
                i,
                j,
                voxels,
            )
            _slide(voxels, recent[i % k], running, k)
            done += 1
            if progress is not None:
                progress(done, grid.shape[0] * len(starts))
            if i >= k - 1:
                at = i - k + 1
                yield SdmBlock(at, j, running.reshape(rows, *shape).astype(np.float32), inside[at, j : j + rows])


def box_sum(values: NDArray[np.int32], edge: int) -> NDArray[np.int32]:
    """Sum an (nx, ny, nz) array over all cubes of ``edge`` voxels, (nx - edge + 1, ...) int32."""
    total = values.astype(np.int64)
    for axis in range(3):
        sums = np.cumsum(total, axis=axis)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis=axis)), sums], axis=axis)
        n = values.shape[axis]
        total = sums.take(range(edge, n + 1), axis=axis) - sums.take(range(n - edge + 1), axis=axis)
    return total.astype(np.int32)


def _tile(cubes: int, k: int, row_bytes: int, most_bytes: float) -> int:
    """Return the number of rows of cubes along y per block, from the memory of all arrays of maps."""
    rows = int(most_bytes / row_bytes - (k - 1)) // (k + 3)
    return min(max(rows, k), cubes)


def _channels(ions: LabelledIons, pairs: tuple[tuple[str, str], ...]) -> NDArray[np.int32]:
    """Return the channel of each centre and neighbour species, (species, species); -1 for other pairs."""
    if not pairs:
        raise InputError("no pairs of species to map")
    channel = np.full((len(ions.names), len(ions.names)), -1, dtype=np.int32)
    for n, (centre, neighbour) in enumerate(pairs):
        a, b = ions.index(centre), ions.index(neighbour)
        if channel[a, b] >= 0:
            raise InputError(f"the pair {centre}-{neighbour} is listed twice")
        channel[a, b] = n
    return channel


@njit(cache=True, nogil=True, error_model="numpy")
def _count_slab(  # pragma: no cover - compiled
    p: NDArray[np.float32],
    species: NDArray[np.uint8],
    start: NDArray[np.int64],
    columns: tuple[int, int],
    offset: tuple[int, int],
    origin_z: float,
    voxel: float,
    reach: tuple[int, int],
    channel: NDArray[np.int32],
    limits: tuple[float, float, float, float, float, float],
    bins: tuple[int, int],
    slab: int,
    first_row: int,
    voxels: NDArray[np.int32],
) -> None:
    half_z = limits[2]
    per_map = bins[0] * bins[1]
    rows, layers, _ = voxels.shape
    for cx in range(offset[0] + 2 * slab, offset[0] + 2 * slab + 2):
        for cy in range(offset[1] + 2 * first_row, offset[1] + 2 * (first_row + rows)):
            own = cx * columns[1] + cy
            if start[own] == start[own + 1]:
                continue
            row = (cy - offset[1]) // 2 - first_row
            for nx in range(max(cx - reach[0], 0), min(cx + reach[0] + 1, columns[0])):
                for ny in range(max(cy - reach[1], 0), min(cy + reach[1] + 1, columns[1])):
                    low = start[nx * columns[1] + ny]
                    end = start[nx * columns[1] + ny + 1]
                    for i in range(start[own], start[own + 1]):
                        z = np.float64(p[i, 2])
                        while low < end and np.float64(p[low, 2]) - z < -half_z:
                            low += 1
                        layer = math.floor((z - origin_z) / voxel)
                        if layer < 0 or layer >= layers:
                            continue
                        x = np.float64(p[i, 0])
                        y = np.float64(p[i, 1])
                        for j in range(low, end):
                            dz = np.float64(p[j, 2]) - z
                            if dz >= half_z:
                                break
                            c = channel[species[i], species[j]]
                            if c < 0 or j == i:
                                continue
                            at = bin_of(np.float64(p[j, 0]) - x, np.float64(p[j, 1]) - y, dz, limits, bins[0], bins[1])
                            if at >= 0:
                                voxels[row, layer, c * per_map + at] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _slide(  # pragma: no cover - compiled
    voxels: NDArray[np.int32], oldest: NDArray[np.int32], running: NDArray[np.int32], k: int
) -> None:
    """Sum a slab over ``k`` along z and y, replace the oldest slab with it, and update the running sum."""
    rows, layers, bins = oldest.shape
    # along z in place and in ascending order: each voxel adds the following ones, which aren't summed yet
    for r in range(voxels.shape[0]):
        for z in range(layers):
            for d in range(1, k):
                for b in range(bins):
                    voxels[r, z, b] += voxels[r, z + d, b]
    for r in range(rows):
        for z in range(layers):
            for b in range(bins):
                running[r, z, b] -= oldest[r, z, b]
                oldest[r, z, b] = voxels[r, z, b]
            for d in range(1, k):
                for b in range(bins):
                    oldest[r, z, b] += voxels[r + d, z, b]
            for b in range(bins):
                running[r, z, b] += oldest[r, z, b]
