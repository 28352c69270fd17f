"""Scan a reconstruction as in Li et al. 2021: cubes of 4 nm are classified, and 62 of 64 votes make a voxel ordered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.apt.level import Levelling, fit_levelling
from braggwatch.callbacks.apt.planes import PlaneSearch
from braggwatch.callbacks.apt.pole import map_planes, require_planes
from braggwatch.models.apt.channels import as_host_and_solute, chosen_elements
from braggwatch.models.apt.components import PrecipitateMap, SizeDistribution, find_precipitates, size_distribution
from braggwatch.models.apt.cube_votes import PAPER_VOTES, CubeCaller, votes
from braggwatch.models.apt.scoring import typical_ions
from braggwatch.services.batch.resumable_arrays import keep_slice, kept_slice
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons
from braggwatch.sim.whole_file import whole_file

_SLICE = 8


@dataclass(frozen=True, slots=True)
class PaperScan:
    """Result of the published rule. The grid is in levelled coordinates: z is depth across the planes.

    Attributes
    ----------
    calls
        (nx - 3, ny - 3, nz - 3) float32 probability of L1₂ of each cube, NaN if it contains too few ions.
    votes
        (nx, ny, nz) int64 number of cubes classified as L1₂ that contain the voxel, 0 to 64.
    """

    host: str
    solute: str
    level: Levelling
    grid: VoxelGrid
    calls: NDArray[np.float32]
    votes: NDArray[np.int64]
    threshold: int
    found: PrecipitateMap
    sizes: SizeDistribution


def scan_by_votes(
    ions: LabelledIons,
    caller: CubeCaller,
    *,
    host: str | None = None,
    solute: str | None = None,
    threshold: int = PAPER_VOTES,
    search: PlaneSearch | None = None,
    work: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PaperScan:
    """Find precipitates by the published rule.

    Parameters
    ----------
    ions
        Ranged ions as read; they are levelled first.
    host, solute
        Elements; None: the most and the second most abundant.
    threshold
        Votes from which a voxel is ordered.
    search
        Planes to search for.
    work
        Folder for finished slices: a scan with the same data and bundle resumes from them.
    progress
        Called with (slabs of cubes done, slabs in total).

    Raises
    ------
    UnresolvedPlanesError
        If the data don't resolve lattice planes.
    ValueError
        If an element is absent, or no cube fits into the data.
    """
    host, solute = chosen_elements(ions, host, solute)
    planes = require_planes(map_planes(ions.positions_nm, search=search or PlaneSearch()))
    level = fit_levelling(planes, caller.sdm.plane_spacing_nm)
    pair = as_host_and_solute(LabelledIons(level.apply(ions.positions_nm), ions.species, ions.names), host, solute)
    grid = VoxelGrid.around(pair.positions_nm, caller.sdm.voxel_nm)
    calls = call_cubes(pair, caller, grid, work=work, progress=progress)
    counted = votes(calls, caller.sdm.cube_voxels)
    known = votes(np.isfinite(calls).astype(np.float64), caller.sdm.cube_voxels) > 0
    found = find_precipitates(counted >= threshold, grid, known=known, least_voxels=1)
    sizes = size_distribution(found, known, grid.voxel_nm)
    return PaperScan(host, solute, level, grid, calls, counted, threshold, found, sizes)


def call_cubes(
    pair: LabelledIons,
    caller: CubeCaller,
    grid: VoxelGrid,
    *,
    work: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Classify all cubes of a grid, slice by slice along x; finished slices are stored in ``work`` and reused.

    Parameters
    ----------
    pair
        Levelled ions, with species named host and solute.

    Returns
    -------
    As `CubeCaller.call`; cubes with less than 0.3 of the median number of ions per voxel aren't classified.
    """
    k = caller.sdm.cube_voxels
    least = typical_ions(pair, grid, k) * 0.3
    cubes = grid.cubes(k)
    digest = hashlib.sha256(np.ascontiguousarray(pair.positions_nm).view(np.uint8).data)
    digest.update(pair.species.tobytes())
    digest.update(caller.sha256.encode())
    reach = caller.sdm.window.reach_nm[0]
    parts: list[NDArray[np.float32]] = []
    for first in range(0, cubes[0], _SLICE):
        last = min(first + _SLICE, cubes[0])
        path = None if work is None else work / f"cubes-{first:05d}-{digest.hexdigest()[:16]}.npy"
        part = kept_slice(path, (last - first, *cubes[1:]))
        if part is None:
            x = grid.origin_nm[0] + first * grid.voxel_nm
            voxels = last - first + k - 1
            of_slice = VoxelGrid((x, *grid.origin_nm[1:]), (voxels, *grid.shape[1:]), grid.voxel_nm)
            at = pair.positions_nm[:, 0]
            near = (at >= x - reach) & (at <= x + voxels * grid.voxel_nm + reach)
            local = LabelledIons(pair.positions_nm[near], pair.species[near], pair.names)
            part = caller.call(local, of_slice, least_ions=least)
            keep_slice(path, part)
        parts.append(part)
        if progress is not None:
            progress(last, cubes[0])
    return np.concatenate(parts)


def paper_summary(scan: PaperScan, bundle: str) -> dict[str, object]:
    """Return the summary of a scan as JSON values."""
    return {
        "schema": 1,
        "bundle": bundle,
        "host": scan.host,
        "solute": scan.solute,
        "cubes": int(np.isfinite(scan.calls).sum()),
        "cubes_called_ordered": int((np.nan_to_num(scan.calls, nan=0.0) > 0.5).sum()),
        "threshold_votes": scan.threshold,
        "largest_votes": int(scan.votes.max()),
        "voxels_ordered": int(scan.found.ordered.sum()),
        "precipitates": asdict(scan.sizes),
    }


def write_paper_scan(path: Path, scan: PaperScan, bundle: str) -> None:
    """Write HDF5: ``votes`` and ``ordered`` of the voxels, ``probability`` of the cubes, and the grid."""
    with whole_file(path) as partial, h5py.File(partial, "w") as file:
        for name, values, meaning in (
            ("votes", scan.votes, "cubes called L1_2 that hold the voxel, of 64"),
            ("probability", scan.calls, "of L1_2, cube by cube; cube (i, j, k) begins at voxel (i, j, k)"),
            ("ordered", scan.found.ordered, "voxels with enough votes"),
        ):
            file.create_dataset(name, data=values, compression="gzip", shuffle=True).attrs["meaning"] = meaning
        file.attrs["bundle"] = bundle
        file.attrs["threshold_votes"] = scan.threshold
        file.attrs["origin_nm"] = scan.grid.origin_nm
        file.attrs["voxel_nm"] = scan.grid.voxel_nm
        file.attrs["coordinates"] = "levelled: z is depth across the planes"
