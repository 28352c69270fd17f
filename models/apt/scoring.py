"""A score for every voxel of a reconstruction: how much the network takes it for ordered, and how sure it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.cube_scan import CubeScan
from braggwatch.models.apt.modulation import plane_modulation
from braggwatch.models.apt.neighbourhood import neighbourhood_log_odds
from braggwatch.models.apt.order_bundle import order_rule
from braggwatch.models.apt.order_rule import OrderRule
from braggwatch.models.apt.sdm_input import PAIRS
from braggwatch.models.apt.threshold import smooth
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.runtimes.base import Runtime, RuntimeOutput
from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons

# larger ones fall out of the processor's cache
_BATCH = 256
_MEMBER_FEATURES = 16
_LEAST_IONS_SHARE = 0.3
_SMOOTHING_VOXELS = 0.7


@dataclass(frozen=True, slots=True)
class VoxelScores:
    """Scores of a grid's voxels, float32 of its shape, NaN where a cube holds too few ions.

    Attributes
    ----------
    logit
        Log odds of L1₂ against fcc at the bundle's temperature, mean of the members.
    spread
        Standard deviation of the members' log odds.
    distance
        Mahalanobis distance of the features from what was trained on; see `OrderScorer.ood`.
    superlattice, planes, pairs
        What needs no network; see `braggwatch.models.apt.modulation`. NaN where the bundle's maps are of other pairs.
    """

    logit: NDArray[np.float32]
    spread: NDArray[np.float32]
    distance: NDArray[np.float32]
    superlattice: NDArray[np.float32]
    planes: NDArray[np.float32]
    pairs: NDArray[np.float32]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which voxels have a score."""
        return np.isfinite(self.logit)

    def stacked(self) -> NDArray[np.float32]:
        """(6, nx, ny, nz) in the order of the fields."""
        return np.stack([getattr(self, one.name) for one in fields(self)])

    @classmethod
    def joined(cls, parts: list[NDArray[np.float32]]) -> VoxelScores:
        """Join (6, nx, ny, nz) parts along x."""
        return cls(*np.concatenate(parts, axis=1))

    def maps(self) -> dict[str, NDArray[np.float32]]:
        """Return what a rule looks at, by the names of `braggwatch.models.apt.order_rule.FIELDS`."""
        return {
            "score": self.logit,
            "spread": self.spread,
            "superlattice": self.superlattice,
            "planes": self.planes,
            "pairs": self.pairs,
        }

    def where(self, inside: NDArray[np.bool_]) -> VoxelScores:
        """Return the scores of some voxels, NaN elsewhere."""
        return VoxelScores(*np.where(inside, self.stacked(), np.float32(np.nan)))


SCORE_FIELDS = len(fields(VoxelScores))


class OrderScorer:
    """Scores voxels with an order bundle.

    Parameters
    ----------
    bundle
        Of task ``apt-order``.
    runtime
        What runs it.

    Raises
    ------
    BundleError
        If the bundle isn't one of spatial distribution maps.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        self._scan = CubeScan(bundle, runtime)
        self.sdm = self._scan.sdm
        self.id = bundle.manifest.id
        """Name and version of the bundle."""
        self.rule: OrderRule | None = order_rule(bundle.manifest)
        """How its scores become ordered or not; None: no more than smoothed."""
        self.fingerprint = _fingerprint(bundle)
        """Digest of all that a score depends on: a bundle may be made anew under the same name."""
        self._temperature = bundle.manifest.temperature
        self._members = bundle.manifest.features // (_MEMBER_FEATURES + 1)
        # distances as those of `MahalanobisDetector.score`, in a tenth of its time
        self._whitening = np.linalg.cholesky(bundle.trust.detector.precision)
        self._means = bundle.trust.detector.class_means @ self._whitening
        self.ood = bundle.manifest.thresholds.ood
        """Distance above which a voxel looks like nothing that was trained on."""

    @property
    def threshold(self) -> float | None:
        """Log odds above which a voxel is ordered, as the bundle states; None: it doesn't."""
        return None if self.rule is None else self.rule.threshold

    def log_odds(self, scores: VoxelScores) -> NDArray[np.float32]:
        """Return the log odds of order, (nx, ny, nz) float32, NaN without a score: by the rule, else smoothed."""
        if self.rule is None:
            return smooth(scores.logit, _SMOOTHING_VOXELS)
        return neighbourhood_log_odds(self.rule, scores.maps(), scores.known)

    def score(
        self,
        ions: LabelledIons,
        grid: VoxelGrid,
        progress: Callable[[int, int], None] | None = None,
        *,
        least_ions: float | None = None,
    ) -> VoxelScores:
        """Score all voxels of a grid.

        Parameters
        ----------
        ions
            Named host and solute (`braggwatch.models.apt.channels`), levelled.
        progress
            Called with (slabs done, all).
        least_ions
            Ions that a cube needs for a score; None: 0.3 of the median cube's.
        """
        half = self.sdm.cube_voxels // 2
        edge = grid.voxel_nm
        ox, oy, oz = grid.origin_nm
        nx, ny, nz = grid.shape
        wide = VoxelGrid(
            (ox - half * edge, oy - half * edge, oz - half * edge), (nx + 2 * half, ny + 2 * half, nz + 2 * half), edge
        )
        if least_ions is None:
            least_ions = typical_ions(ions, grid, self.sdm.cube_voxels) * _LEAST_IONS_SHARE
        return VoxelScores(
            *self._scan.run(
                ions,
                wide,
                self._judge,
                progress,
                fields=SCORE_FIELDS,
                least_ions=least_ions,
                batch=_BATCH,
            )
        )

    def _judge(self, output: RuntimeOutput, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        logit = (output.logits[:, 1] - output.logits[:, 0]) / self._temperature
        spread = output.features[:, : self._members].std(axis=1) / self._temperature
        white = output.features @ self._whitening
        distance = np.sqrt(((white[:, None, :] - self._means) ** 2).sum(axis=2).min(axis=1))
        modulation = plane_modulation(maps, self.sdm) if self.sdm.pairs == PAIRS else np.full((3, len(maps)), np.nan)
        return np.stack([logit, spread, distance, *modulation]).astype(np.float32)


def _fingerprint(bundle: Bundle) -> str:
    manifest, detector = bundle.manifest, bundle.trust.detector
    digest = hashlib.sha256(bundle.sha256.encode())
    digest.update(f"{manifest.temperature!r} {manifest.input.model_dump_json()}".encode())
    for values in (detector.class_means, detector.precision, detector.feature_mean):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def typical_ions(ions: LabelledIons, grid: VoxelGrid, cube_voxels: int) -> float:
    """Return the median number of ions of a cube, over voxels that have any."""
    counts = grid.count(ions.positions_nm)
    return float(np.median(counts[counts > 0])) * cube_voxels**3 if (counts > 0).any() else 0.0


def slices_along_x(grid: VoxelGrid, thickness: int) -> Generator[tuple[int, VoxelGrid]]:
    """Cut a grid into slices of so many voxels along x: (first voxel, slice), for work that can be taken up again."""
    ox, oy, oz = grid.origin_nm
    nx, ny, nz = grid.shape
    for first in range(0, nx, thickness):
        last = min(first + thickness, nx)
        yield first, VoxelGrid((ox + first * grid.voxel_nm, oy, oz), (last - first, ny, nz), grid.voxel_nm)
