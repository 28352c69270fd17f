"""How a found map of order compares with what is true of a simulated volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.components import PrecipitateMap
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import VolumeTruth

_RADIUS_STEP_NM = 0.5


@dataclass(frozen=True, slots=True)
class Agreement:
    """A map against the truth.

    Attributes
    ----------
    precision, recall, f1
        Of voxels, true ones being those with at least half of their ions from precipitates.
    smallest_found_nm
        Lower end of the smallest 0.5-nm class of true radii from which on at least 80 % are found in every class;
        None: of no class. A precipitate is found if at least half of its voxels (one at least) are.
    found_by_radius
        (lower end of the class in nm, found, all).
    false_components
        Found precipitates less than a tenth of whose voxels are true.
    radius_error_nm
        Mean of found minus true radius over pairs that are each other's own, None where there are none. A pair is a
        found and a true precipitate each of which shares more voxels with the other than with any else.
    error_by_radius
        (lower end of the class of true radii in nm, pairs, mean error, its standard deviation over the pairs).
    """

    precision: float
    recall: float
    f1: float
    smallest_found_nm: float | None
    found_by_radius: tuple[tuple[float, int, int], ...]
    false_components: int
    radius_error_nm: float | None
    error_by_radius: tuple[tuple[float, int, float, float], ...]


def true_owner(positions_nm: NDArray[np.float32], truth: VolumeTruth, grid: VoxelGrid) -> NDArray[np.int32]:
    """(nx, ny, nz) number of the precipitate most of a voxel's ions come from, -1 where less than half do."""
    flat = grid.flat_index(positions_nm)
    inside = flat >= 0
    voxels = int(np.prod(grid.shape))
    total = np.bincount(flat[inside], minlength=voxels)
    ordered = inside & (truth.precipitate >= 0)
    keys, counts = np.unique(
        flat[ordered] * np.int64(len(truth.radii_nm) or 1) + truth.precipitate[ordered], return_counts=True
    )
    where, number = np.divmod(keys, len(truth.radii_nm) or 1)
    share = np.bincount(where, weights=counts, minlength=voxels) / np.maximum(total, 1)
    owner = np.full(voxels, -1, dtype=np.int32)
    order = np.argsort(counts, kind="stable")
    owner[where[order]] = number[order]
    owner[share < 0.5] = -1
    return owner.reshape(grid.shape)


def compare(found: PrecipitateMap, owner: NDArray[np.int32], truth: VolumeTruth, known: NDArray[np.bool_]) -> Agreement:
    """Compare a map with the truth, over the voxels that have a score."""
    true, said = (owner >= 0) & known, found.ordered & known
    hits = int((true & said).sum())
    precision, recall = hits / max(1, int(said.sum())), hits / max(1, int(true.sum()))
    precipitates = len(truth.radii_nm)
    size = np.bincount(owner[true], minlength=precipitates)
    seen = np.bincount(owner[true & said], minlength=precipitates)
    is_found = (seen > 0) & (seen >= 0.5 * size)
    classes: list[tuple[float, int, int]] = []
    for low in np.arange(0.0, float(truth.radii_nm.max(initial=0.0)) + 1e-6, _RADIUS_STEP_NM):
        inside = (truth.radii_nm >= low) & (truth.radii_nm < low + _RADIUS_STEP_NM)
        if inside.any():
            classes.append((float(low), int(is_found[inside].sum()), int(inside.sum())))
    smallest = None
    for low, hit, of in reversed(classes):
        if hit < 0.8 * of:
            break
        smallest = low
    pairs = _own_pairs(found, owner)
    errors = found.radii_nm[pairs[:, 0]] - truth.radii_nm[pairs[:, 1]]
    step = np.floor(truth.radii_nm[pairs[:, 1]] / _RADIUS_STEP_NM).astype(int)
    overlap = np.bincount(found.label[true & said], minlength=len(found))
    false = int((overlap < 0.1 * found.voxels).sum()) if len(found) else 0
    return Agreement(
        precision,
        recall,
        2 * precision * recall / max(precision + recall, 1e-12),
        smallest,
        tuple(classes),
        false,
        float(errors.mean()) if errors.size else None,
        tuple(
            (
                float(one * _RADIUS_STEP_NM),
                int((step == one).sum()),
                float(errors[step == one].mean()),
                float(errors[step == one].std()),
            )
            for one in np.unique(step)
        ),
    )


def _own_pairs(found: PrecipitateMap, owner: NDArray[np.int32]) -> NDArray[np.int64]:
    """(P, 2) numbers of found and true precipitates that are each other's own."""
    both = (found.label >= 0) & (owner >= 0)
    pairs, counts = np.unique(np.stack([found.label[both], owner[both]]), axis=1, return_counts=True)
    best_of_found: dict[int, tuple[int, int]] = {}
    best_of_true: dict[int, tuple[int, int]] = {}
    for (mine, theirs), n in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        best_of_found[mine] = max(best_of_found.get(mine, (0, -1)), (n, theirs))
        best_of_true[theirs] = max(best_of_true.get(theirs, (0, -1)), (n, mine))
    own = [(mine, theirs) for mine, (_, theirs) in best_of_found.items() if best_of_true[theirs][1] == mine]
    return np.array(own, dtype=np.int64).reshape(-1, 2)
