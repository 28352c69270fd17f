"""The frames of a data set's sample as a detector delivers them, for whoever preprocesses them in several ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.cxdp.datasets import CrystalSource, DatasetSpec, make_sample
from braggwatch.sim.geometry.model import RockingGeometry


@dataclass(frozen=True, slots=True)
class ScanFrames:
    """One simulated scan.

    Attributes
    ----------
    frames, angles_deg, present
        (N, R, C) counts, (N,) readings of the scanned circle, and (N,) which frames arrived.
    dead
        (R, C) pixels without a reading.
    geometry
        The exact one.
    """

    frames: NDArray[np.generic]
    angles_deg: NDArray[np.float64]
    present: NDArray[np.bool_]
    dead: NDArray[np.bool_]
    geometry: RockingGeometry


def scan_frames(spec: DatasetSpec, number: int, crystals: CrystalSource | None = None) -> ScanFrames:
    """Simulate the scan of one sample; arguments as in `make_sample`.

    Raises
    ------
    ValueError
        If there is no such sample.
    """
    kept: list[ScanFrames] = []

    def keep(
        frames: NDArray[np.generic],
        angles_deg: NDArray[np.float64],
        present: NDArray[np.bool_],
        geometry: RockingGeometry,
        dead: NDArray[np.bool_],
        fringe_period_voxels: float,  # noqa: ARG001 - a preprocessing's signature
    ) -> tuple[None, str]:
        kept.append(ScanFrames(frames, angles_deg, present, dead, geometry))
        return None, "only its frames are kept"

    reason = make_sample(spec, number, keep, crystals)
    if not kept:
        raise ValueError(f"sample {number} has no scan: {reason}")
    return kept[0]
