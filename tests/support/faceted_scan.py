"""Simulated scans of crystals whose facets are lattice planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.records import RockingCurve
from braggwatch.sim.cxdp.crystal import Crystal, build_crystal, random_crystal_spec
from braggwatch.sim.cxdp.datasets import DatasetSpec, make_sample
from braggwatch.sim.geometry.model import RockingGeometry


class Drawn:
    """Unstrained crystals whose facets are lattice planes, unless the shape says otherwise."""

    name = "drawn"

    def __init__(self, **shape: object) -> None:
        self._shape = shape

    def configuration(self, number: int) -> int:
        return number

    def draw(self, rng: np.random.Generator, config: int) -> Crystal:
        spec = random_crystal_spec(rng, ("perfect", "screw")[config % 2], DatasetSpec().population)
        strain = spec.strain.model_copy(update={"random_rad": (), "correlation": (), "facet_rad": 0.0, "bend_rad": 0.0})
        update = {"shape": spec.shape.model_copy(update={"elongation": (1.0, 1.0, 1.0), **self._shape})}
        return build_crystal(spec.model_copy(update={**update, "strain": strain}))


def faceted_scan(number: int, **shape: object) -> RockingCurve:
    """A noiseless scan with 1e5 counts at the peak and its exact geometry; fields of the shape may be changed."""
    kept: list[RockingCurve] = []

    def keep(
        frames: NDArray[np.generic],
        angles_deg: NDArray[np.float64],
        present: NDArray[np.bool_],
        geometry: RockingGeometry,
        dead: NDArray[np.bool_],
        fringe_period_voxels: float,
    ) -> tuple[None, str]:
        counts = frames.astype(np.int32)
        counts[:, dead] = 0
        kept.append(RockingCurve("run", counts, angles_deg, present, None, None, (0, 0), geometry))
        return None, "only kept"

    make_sample(DatasetSpec(nuisance="none"), number, keep, Drawn(**shape))
    counts = kept[0].frames.astype(np.float64)
    return replace(kept[0], frames=np.rint(counts * (1e5 / float(counts.max()))).astype(np.int32))
