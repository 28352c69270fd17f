"""A reconstruction from file to precipitates: planes, level, scores, threshold, sizes, controls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.apt.level import Levelling, fit_levelling
from braggwatch.callbacks.apt.planes import PlaneSearch
from braggwatch.callbacks.apt.pole import PlaneMap, map_planes, require_planes
from braggwatch.models.apt.channels import as_host_and_solute, most_abundant
from braggwatch.models.apt.components import PrecipitateMap, SizeDistribution, find_precipitates, size_distribution
from braggwatch.models.apt.injection import DetectionLimit, blur_from_signal, detection_limit, matrix_places
from braggwatch.models.apt.isoconcentration import concentration, isoconcentration_cuts
from braggwatch.models.apt.phase_sdm import PhaseSdm, phase_sdms
from braggwatch.models.apt.scoring import OrderScorer, VoxelScores, slices_along_x, typical_ions
from braggwatch.models.apt.threshold import Cut, cut_scores, smooth
from braggwatch.services.apt_files import RangedShare
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons
from braggwatch.sim.whole_file import whole_file

Say = Callable[[str, int, int], None]
_SLICE = 12
_CONTROL_VOXELS = 30_000
_PLACES = 10
# Smoothing draws the log odds at a precipitate's surface towards the matrix's, which lie far below 0.
_LEAST_LOG_ODDS = -0.5


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a user can choose.

    Attributes
    ----------
    host, solute
        Elements; None: the most and the second most abundant.
    threshold
        Log odds above which a voxel is ordered; None: from the data (`braggwatch.models.apt.threshold.cut_scores`).
    smoothing_voxels
        Standard deviation of the Gaussian that the log odds are smoothed by.
    least_voxels
        Smallest precipitate kept.
    isoconcentration
        Solute part of the baseline's given surface, e.g. 0.08; Otsu's is shown in any case.
    pole_only
        Score only regions whose planes are resolved.
    controls
        Run the randomised-label control.
    injected
        Measure the detection limit.
    search
        Planes that are looked for.
    """

    host: str | None = None
    solute: str | None = None
    threshold: float | None = None
    smoothing_voxels: float = 0.7
    least_voxels: int = 4
    isoconcentration: float | None = None
    pole_only: bool = True
    controls: bool = True
    injected: bool = True
    search: PlaneSearch = field(default_factory=PlaneSearch)


@dataclass(frozen=True, slots=True)
class ControlResult:
    """The same scan of a part of the data whose species were shuffled among the ions: what is found there is false.

    Attributes
    ----------
    voxels
        Scored voxels of the part.
    above
        Fraction of them above the threshold.
    precipitates
        False ones.
    smoothed
        Smoothed log odds, (n,) float32.
    """

    voxels: int
    above: float
    precipitates: int
    smoothed: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Precipitates by an isoconcentration surface."""

    name: str
    part: float
    found: PrecipitateMap
    sizes: SizeDistribution


@dataclass(frozen=True, slots=True)
class OrderScan:
    """Everything that a scan found. The grid is in levelled coordinates: z is depth across the planes."""

    host: str
    solute: str
    ions: LabelledIons
    ranged: RangedShare
    planes: PlaneMap
    level: Levelling
    grid: VoxelGrid
    scores: VoxelScores
    smoothed: NDArray[np.float32]
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
        return np.isfinite(self.smoothed)


def scan_reconstruction(
    ions: LabelledIons,
    scorer: OrderScorer,
    options: ScanOptions,
    *,
    work: Path | None = None,
    say: Say | None = None,
    bundle: str = "",
) -> OrderScan:
    """Find ordered precipitates.

    Parameters
    ----------
    ions
        Ranged, as read.
    work
        Folder for finished slices: the same data, options and bundle go on from them.
    say
        Called with (what is being done, done, all).
    bundle
        Its name, for the record.

    Raises
    ------
    UnresolvedPlanesError
        If the data show no lattice planes.
    ValueError
        If an element isn't there, or the data are too few to scan.
    """
    tell = say or (lambda _what, _done, _of: None)
    host, solute = _elements(ions, options)
    tell("lattice planes", 0, 1)
    planes = require_planes(map_planes(ions.positions_nm, search=options.search))
    level = fit_levelling(planes, scorer.sdm.plane_spacing_nm)
    tell("lattice planes", 1, 1)
    flat = LabelledIons(level.apply(ions.positions_nm), ions.species, ions.names)
    pair = as_host_and_solute(flat, host, solute)
    grid = VoxelGrid.around(flat.positions_nm, scorer.sdm.voxel_nm)
    scores = _scored(scorer, pair, grid, work, _fingerprint(flat, host, solute, bundle), tell)
    if options.pole_only:
        scores = _within_pole(scores, planes, level, grid)
    smoothed = smooth(scores.logit, options.smoothing_voxels)
    if not np.isfinite(smoothed).any():
        raise ValueError("no voxel holds enough ions for a score: is the host the element that most ions are of?")
    least_ions = typical_ions(pair, grid, scorer.sdm.cube_voxels) * 0.3
    null = _shuffled_scores(scorer, pair, grid, least_ions, options, tell) if options.controls else None
    cut = (
        cut_scores(smoothed, least=_LEAST_LOG_ODDS, null=null)
        if options.threshold is None
        else Cut(options.threshold, cut_scores(smoothed, least=_LEAST_LOG_ODDS).separability, "given")
    )
    known = np.isfinite(smoothed)
    ordered = np.nan_to_num(smoothed, nan=-np.inf) > cut.threshold
    found = find_precipitates(ordered, grid, known=known, least_voxels=options.least_voxels)
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
        limit = _limit(scorer, pair, grid, planes, found, known & ~ordered, cut, least_ions, options, tell)
    return OrderScan(
        host=host,
        solute=solute,
        ions=ions,
        ranged=RangedShare.of(ions),
        planes=planes,
        level=level,
        grid=grid,
        scores=scores,
        smoothed=smoothed,
        cut=cut,
        found=found,
        sizes=size_distribution(found, known, grid.voxel_nm),
        concentration=part,
        baselines=baselines,
        phases=phases,
        control=None if null is None else _control(null, cut, grid, options),
        limit=limit,
        ood_share=float((scores.distance[known] > scorer.ood).mean()),
        bundle=bundle,
    )


def _elements(ions: LabelledIons, options: ScanOptions) -> tuple[str, str]:
    if options.host is not None and options.solute is not None:
        for name in (options.host, options.solute):
            ions.index(name)
        return options.host, options.solute
    first, second = most_abundant(ions)
    host = options.host or (first if options.solute != first else second)
    return host, options.solute or (second if host != second else first)


def _fingerprint(ions: LabelledIons, host: str, solute: str, bundle: str) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(ions.positions_nm).view(np.uint8).data)
    digest.update(ions.species.data)
    digest.update(json.dumps([host, solute, bundle, _SLICE]).encode())
    return digest.hexdigest()


def _scored(
    scorer: OrderScorer, pair: LabelledIons, grid: VoxelGrid, work: Path | None, fingerprint: str, tell: Say
) -> VoxelScores:
    least = typical_ions(pair, grid, scorer.sdm.cube_voxels) * 0.3
    parts: list[NDArray[np.float32]] = []
    for first, part in slices_along_x(grid, _SLICE):
        tell("order, voxel by voxel", first, grid.shape[0])
        kept = None if work is None else work / f"slice-{first:05d}-{fingerprint[:16]}.npy"
        found = _kept_slice(kept, (3, *part.shape))
        if found is None:
            low = part.origin_nm[0] - 2.5
            high = part.origin_nm[0] + part.shape[0] * part.voxel_nm + 2.5
            near = (pair.positions_nm[:, 0] >= low) & (pair.positions_nm[:, 0] < high)
            local = LabelledIons(pair.positions_nm[near], pair.species[near], pair.names)
            found = scorer.score(local, part, least_ions=least).stacked()
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(kept) as partial, partial.open("wb") as stream:
                    np.save(stream, found)
        parts.append(found)
    tell("order, voxel by voxel", grid.shape[0], grid.shape[0])
    return VoxelScores.joined(parts)


def _kept_slice(path: Path | None, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    if path is None or not path.exists():
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape else None


def _within_pole(scores: VoxelScores, planes: PlaneMap, level: Levelling, grid: VoxelGrid) -> VoxelScores:
    """Take the scores away where planes aren't resolved; the regions are in the data's own coordinates."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    middles = (np.array(grid.origin_nm) + (index + 0.5) * grid.voxel_nm).astype(np.float32)
    inside = planes.contains(level.undo(middles)).reshape(grid.shape)
    none = np.float32(np.nan)
    return VoxelScores(
        np.where(inside, scores.logit, none),
        np.where(inside, scores.spread, none),
        np.where(inside, scores.distance, none),
    )


def _shuffled_scores(
    scorer: OrderScorer, pair: LabelledIons, grid: VoxelGrid, least: float, options: ScanOptions, tell: Say
) -> NDArray[np.float32]:
    """Smoothed scores of slices about the middle with the species drawn at random."""
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
    return smooth(scores.logit, options.smoothing_voxels)


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
    found = find_precipitates(np.nan_to_num(part, nan=-1.0) > at, grid, known=known, least_voxels=options.least_voxels)
    return Baseline(name, at, found, size_distribution(found, known, grid.voxel_nm))


def _limit(
    scorer: OrderScorer,
    pair: LabelledIons,
    grid: VoxelGrid,
    planes: PlaneMap,
    found: PrecipitateMap,
    matrix: NDArray[np.bool_],
    cut: Cut,
    least: float,
    options: ScanOptions,
    tell: Say,
) -> DetectionLimit | None:
    tell("detection limit", 0, 1)
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
        places,
        threshold=cut.threshold,
        smoothing_voxels=options.smoothing_voxels,
        least_ions=least,
        solute_part=min(max(part, 0.02), 0.5),
        sigma_z_nm=max(sigma, 0.005),
    )
    tell("detection limit", 1, 1)
    return limit


def summary(scan: OrderScan) -> dict[str, object]:
    """Return what a script wants to know of a scan, as JSON values."""
    resolved = scan.planes.resolved
    return {
        "schema": 1,
        "bundle": scan.bundle,
        "host": scan.host,
        "solute": scan.solute,
        "ions": len(scan.ions),
        "ions_by_species": scan.ranged.by_name,
        "ranged": scan.ranged.ranged,
        "planes": {
            "resolved_share": scan.planes.share,
            "spacing_nm": scan.planes.median_spacing_nm,
            "tilt_x_deg": float(np.median(scan.planes.tilt_x_deg[resolved])),
            "tilt_y_deg": float(np.median(scan.planes.tilt_y_deg[resolved])),
            "median_signal": float(np.median(scan.planes.signal[resolved])),
            "residual_tilt_deg": scan.level.residual_deg,
        },
        "voxels": {"scored": int(scan.known.sum()), "edge_nm": scan.grid.voxel_nm, "shape": list(scan.grid.shape)},
        "threshold": asdict(scan.cut),
        "precipitates": asdict(scan.sizes),
        "far_from_training_share": scan.ood_share,
        "median_spread": float(np.nanmedian(scan.scores.spread)),
        "isoconcentration": [{"name": b.name, "part": b.part, **asdict(b.sizes)} for b in scan.baselines],
        "random_label_control": None
        if scan.control is None
        else {
            "voxels": scan.control.voxels,
            "above_threshold": scan.control.above,
            "false_precipitates": scan.control.precipitates,
        },
        "detection_limit": None if scan.limit is None else asdict(scan.limit),
    }
