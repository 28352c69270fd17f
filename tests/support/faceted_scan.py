"""Simulated scans of crystals whose facets are lattice planes."""

from __future__ import annotations

import numpy as np

from braggwatch.callbacks.cxdp.records import RockingCurve
from braggwatch.sim.cxdp.crystal import Crystal, build_crystal, random_crystal_spec
from braggwatch.sim.cxdp.datasets import DatasetSpec
from braggwatch.sim.cxdp.scan_frames import scan_frames


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
    made = scan_frames(DatasetSpec(nuisance="none"), number, Drawn(**shape))
    frames = made.frames.astype(np.int32)
    frames[:, made.dead] = 0
    frames = np.rint(frames * (1e5 / float(frames.max()))).astype(np.int32)
    return RockingCurve("run", frames, made.angles_deg, made.present, None, None, (0, 0), made.geometry)
