"""Scan a reconstruction for precipitates: planes, levelling, scores, threshold, sizes, controls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.apt.level import Levelling, fit_levelling
from braggwatch.callbacks.apt.planes import PlaneSearch
from braggwatch.callbacks.apt.pole import PlaneMap, map_planes, require_planes
from braggwatch.models.apt.channels import as_host_and_solute, chosen_elements
from braggwatch.models.apt.components import PrecipitateMap, SizeDistribution, find_precipitates, size_distribution
from braggwatch.models.apt.injection import DetectionLimit, blur_from_signal, detection_limit, matrix_places
from braggwatch.models.apt.isoconcentration import concentration, isoconcentration_cuts
from braggwatch.models.apt.phase_sdm import PhaseSdm, phase_sdms
from braggwatch.models.apt.scoring import SCORE_FIELDS, OrderScorer, VoxelScores, slices_along_x, typical_ions
from braggwatch.models.apt.threshold import Cut, cut_log_odds
from braggwatch.services.apt.files import RangedShare
from braggwatch.services.batch.resumable_arrays import keep_slice, kept_slice
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons
from braggwatch.sim.errors import InputError

Say = Callable[[str, int, int], None]
_SLICE = 12
_CONTROL_VOXELS = 30_000
_PLACES = 10


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """Options of a scan.

    Attributes
    ----------
    host, solute
        Elements; None: the most and the second most abundant.
    threshold
        Log odds above which a voxel is ordered; None: the bundle's, or higher if the control requires it
        (`braggwatch.models.apt.threshold.cut_log_odds`).
    least_voxels
        Voxels of the smallest precipitate kept.
    isoconcentration
        Solute fraction of an additional isoconcentration surface, e.g. 0.08; Otsu's is always shown.
    pole_only
        Score only regions with resolved planes.
    controls
        Run the control with randomised labels.
    injected
        Measure the detection limit.
    search
        Planes to search for.
    """

    host: str | None = None
    solute: str | None = None
    threshold: float | None = None
    least_voxels: int = 4
    isoconcentration: float | None = None
    pole_only: bool = True
    controls: bool = True
    injected: bool = True
    search: PlaneSearch = field(default_factory=PlaneSearch)


@dataclass(frozen=True, slots=True)
class ControlResult:
    """The same scan of a part of the data with species shuffled among the ions: everything found there is false.

    Attributes
    ----------
    voxels
        Number of scored voxels.
    above
        Fraction of them above the threshold.
    precipitates
        Number of false precipitates.
    log_odds
        (n,) float32 log odds of the scored voxels.
    """

    voxels: int
    above: float
    precipitates: int
    log_odds: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Precipitates found by an isoconcentration surface."""

    name: str
    part: float
    found: PrecipitateMap
    sizes: SizeDistribution


@dataclass(frozen=True, slots=True)
class OrderScan:
    """Everything that a scan found. The grid is in levelled coordinates: z is depth across the planes.

    ``log_odds``, (nx, ny, nz) float32, is what the threshold applies to: the log odds of order given a voxel's
    neighbourhood, NaN without a score.
    """

    host: str
    solute: str
    ions: LabelledIons
    ranged: RangedShare
    planes: PlaneMap
    level: Levelling
    grid: VoxelGrid
    scores: VoxelScores
    log_odds: NDArray[np.float32]
    cut: Cut
    found: PrecipitateMap
    sizes: SizeDistribution
    concentration: NDArray[np.float32]
    baselines: tuple[Baseline, ...]
    phases: tuple[PhaseSdm, ...]
    control: ControlResult | None
    limit: DetectionLimit | None
    ood_share: float
    bundle: str

    @property
    def known(self) -> NDArray[np.bool_]:
        """Voxels with a score."""
        return np.isfinite(self.log_odds)


def scan_reconstruction(
    ions: LabelledIons,
    scorer: OrderScorer,
    options: ScanOptions,
    *,
    work: Path | None = None,
    say: Say | None = None,
) -> OrderScan:
    """Find ordered precipitates.

    Parameters
    ----------
    ions
        Ranged ions as read.
    work
        Folder for finished slices: a scan with the same data, elements and network resumes from them.
    say
        Called with (step, units done, units in total).

    Raises
    ------
    UnresolvedPlanesError
        If the data don't resolve lattice planes.
    InputError
        If an element is absent, or there are too few data to scan.
    """
    tell = say or (lambda _step, _done, _total: None)
    host, solute = chosen_elements(ions, options.host, options.solute)
    tell("lattice planes", 0, 1)
    planes = require_planes(map_planes(ions.positions_nm, search=options.search))
    level = fit_levelling(planes, scorer.sdm.plane_spacing_nm)
    tell("lattice planes", 1, 1)
    flat = LabelledIons(level.apply(ions.positions_nm), ions.species, ions.names)
    pair = as_host_and_solute(flat, host, solute)
    grid = VoxelGrid.around(flat.positions_nm, scorer.sdm.voxel_nm)
    least_ions = typical_ions(pair, grid, scorer.sdm.cube_voxels) * 0.3
    fingerprint = _fingerprint(flat, host, solute, scorer.fingerprint)
    scores = _scored(scorer, pair, grid, least_ions, work, fingerprint, tell)
    if options.pole_only:
        scores = _within_pole(scores, planes, level, grid)
    log_odds = scorer.log_odds(scores)
    known = scores.known
    if not known.any():
        raise InputError("no voxel contains enough ions for a score: is the host the most abundant element?")
    null = _shuffled_log_odds(scorer, pair, grid, least_ions, tell) if options.controls else None
    cut = cut_log_odds(log_odds, given=options.threshold, stated=scorer.threshold, null=null)
    ordered = np.nan_to_num(log_odds, nan=-np.inf) > cut.threshold
    height = log_odds - cut.threshold
    found = find_precipitates(ordered, grid, known=known, least_voxels=options.least_voxels, height=height)
    part = concentration(flat, solute, grid)
    baselines = tuple(
        _baseline(name, at, part, grid, known, options)
        for name, at in isoconcentration_cuts(np.where(known, part, np.nan), options.isoconcentration).items()
    )
    tell("maps of both phases", 0, 1)
    phases = phase_sdms(pair, grid, found.ordered, known & ~ordered)
    tell("maps of both phases", 1, 1)
    limit = None
    if options.injected:
        limit = _limit(scorer, pair, grid, planes, scores, found, cut, least_ions, tell)
    return OrderScan(
        host=host,
        solute=solute,
        ions=ions,
        ranged=RangedShare.of(ions),
        planes=planes,
        level=level,
        grid=grid,
        scores=scores,
        log_odds=log_odds,
        cut=cut,
        found=found,
        sizes=size_distribution(found, known, grid.voxel_nm),
        concentration=part,
        baselines=baselines,
        phases=phases,
        control=None if null is None else _control(null, cut, grid, options),
        limit=limit,
        ood_share=float((scores.distance[known] > scorer.ood).mean()),
        bundle=scorer.id,
    )


def _fingerprint(ions: LabelledIons, host: str, solute: str, network: str) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(ions.positions_nm).view(np.uint8).data)
    digest.update(ions.species.data)
    digest.update(json.dumps([host, solute, network, _SLICE]).encode())
    return digest.hexdigest()


def _scored(
    scorer: OrderScorer,
    pair: LabelledIons,
    grid: VoxelGrid,
    least_ions: float,
    work: Path | None,
    fingerprint: str,
    tell: Say,
) -> VoxelScores:
    parts: list[NDArray[np.float32]] = []
    for first, part in slices_along_x(grid, _SLICE):
        tell("order, voxel by voxel", first, grid.shape[0])
        path = None if work is None else work / f"slice-{first:05d}-{fingerprint[:16]}.npy"
        scores = kept_slice(path, (SCORE_FIELDS, *part.shape))
        if scores is None:
            low = part.origin_nm[0] - 2.5
            high = part.origin_nm[0] + part.shape[0] * part.voxel_nm + 2.5
            near = (pair.positions_nm[:, 0] >= low) & (pair.positions_nm[:, 0] < high)
            local = LabelledIons(pair.positions_nm[near], pair.species[near], pair.names)
            scores = scorer.score(local, part, least_ions=least_ions).stacked()
            keep_slice(path, scores)
        parts.append(scores)
    tell("order, voxel by voxel", grid.shape[0], grid.shape[0])
    return VoxelScores.joined(parts)


def _within_pole(scores: VoxelScores, planes: PlaneMap, level: Levelling, grid: VoxelGrid) -> VoxelScores:
    """Remove the scores where planes aren't resolved; the regions are in the data's own coordinates."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    middles = (np.array(grid.origin_nm) + (index + 0.5) * grid.voxel_nm).astype(np.float32)
    inside = planes.contains(level.undo(middles)).reshape(grid.shape)
    return scores.where(inside)


def _shuffled_log_odds(
    scorer: OrderScorer, pair: LabelledIons, grid: VoxelGrid, least: float, tell: Say
) -> NDArray[np.float32]:
    """Return the log odds of slices around the middle with randomly permuted species."""
    tell("control with random labels", 0, 1)
    thickness = max(4, min(grid.shape[0], _CONTROL_VOXELS // (grid.shape[1] * grid.shape[2])))
    first = (grid.shape[0] - thickness) // 2 if thickness < grid.shape[0] else 0
    x0 = grid.origin_nm[0] + first * grid.voxel_nm
    part = VoxelGrid(
        (x0, grid.origin_nm[1], grid.origin_nm[2]), (min(thickness, grid.shape[0]), *grid.shape[1:]), grid.voxel_nm
    )
    x = pair.positions_nm[:, 0]
    near = (x >= x0 - 2.5) & (x < x0 + thickness * grid.voxel_nm + 2.5)
    species = pair.species[near].copy()
    named = np.flatnonzero(species < 2)
    species[named] = np.random.default_rng(0).permutation(species[named])
    local = LabelledIons(pair.positions_nm[near], species, pair.names)
    scores = scorer.score(local, part, least_ions=least)
    tell("control with random labels", 1, 1)
    return scorer.log_odds(scores)


def _control(null: NDArray[np.float32], cut: Cut, grid: VoxelGrid, options: ScanOptions) -> ControlResult:
    known = np.isfinite(null)
    above = np.nan_to_num(null, nan=-np.inf) > cut.threshold
    box = VoxelGrid(grid.origin_nm, (null.shape[0], null.shape[1], null.shape[2]), grid.voxel_nm)
    false = find_precipitates(above, box, known=known, least_voxels=options.least_voxels)
    return ControlResult(int(known.sum()), float(above[known].mean()), len(false), null[known])


def _baseline(
    name: str,
    at: float,
    part: NDArray[np.float32],
    grid: VoxelGrid,
    known: NDArray[np.bool_],
    options: ScanOptions,
) -> Baseline:
    above = np.nan_to_num(part, nan=-1.0) > at
    found = find_precipitates(above, grid, known=known, least_voxels=options.least_voxels, height=part - at)
    return Baseline(name, at, found, size_distribution(found, known, grid.voxel_nm))


def _limit(
    scorer: OrderScorer,
    pair: LabelledIons,
    grid: VoxelGrid,
    planes: PlaneMap,
    scores: VoxelScores,
    found: PrecipitateMap,
    cut: Cut,
    least: float,
    tell: Say,
) -> DetectionLimit | None:
    tell("detection limit", 0, 1)
    matrix = scores.known & ~found.ordered
    places = np.empty((0, 3))
    for clearance in (4.0, 3.0, 2.0, 1.0):
        places = matrix_places(matrix, grid, count=_PLACES, clearance_nm=clearance)
        if len(places) == _PLACES:
            break
    if len(places) < _PLACES:
        return None
    resolved = planes.resolved
    ions = float(np.median(planes.signal[resolved]))
    per_region = (
        float(len(pair)) * planes.edge_nm**3 / max(1.0, float((matrix.sum() + found.voxels.sum()) * grid.voxel_nm**3))
    )
    sigma = blur_from_signal(ions, per_region, scorer.sdm.plane_spacing_nm)
    inside = grid.flat_index(pair.positions_nm)
    ordered = np.zeros(len(pair), dtype=np.bool_)
    ordered[inside >= 0] = found.ordered.ravel()[inside[inside >= 0]]
    named = ordered & (pair.species < 2)
    part = float((pair.species[named] == 1).mean()) if named.sum() > 200 else 0.2
    limit = detection_limit(
        scorer,
        pair,
        grid,
        scores,
        places,
        threshold=cut.threshold,
        least_ions=least,
        solute_part=min(max(part, 0.02), 0.5),
        sigma_z_nm=max(sigma, 0.005),
    )
    tell("detection limit", 1, 1)
    return limit
