"""How often a verdict made before a scan is over is right, and the same as the one made at its end.

``python docs/measure_provisional.py [SCANS]`` simulates scans as `braggwatch sim cxdp` does, of crystals that no bundle
has learnt from, and cuts each short; 300 take some four minutes on a core.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.run.curve import peak_is_behind
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.cxdp.scores import wilson_interval
from braggwatch.models.verdict import Verdict
from braggwatch.services.cxdp.training.shard_making import live_preprocessing
from braggwatch.sim.cxdp.datasets import DatasetSpec, make_sample
from braggwatch.sim.geometry.model import RockingGeometry

SHARES = (0.55, 0.6, 0.65, 0.7, 0.75, 0.85, 1.0)
FIRST = 2_000_000
Cut = tuple[bool, Verdict | None]


@cache
def classifier() -> BundleClassifier:
    """Load the bundle that serves."""
    return BundleClassifier.load(Registry().resolve("production"), threads=1)


def judge(number: int) -> tuple[str, dict[float, Cut]] | None:
    """Return one scan's truth, and at each share whether the peak was behind and what was said."""
    said: dict[float, Cut] = {}

    def cut_short(
        frames: NDArray[np.generic],
        angles_deg: NDArray[np.float64],
        present: NDArray[np.bool_],
        geometry: RockingGeometry,
        dead: NDArray[np.bool_],
        fringe_period_voxels: float,
    ) -> tuple[NDArray[np.float32] | None, str]:
        curve = np.stack([angles_deg, frames.reshape(len(frames), -1).sum(axis=1, dtype=np.float64)], axis=1)
        preprocess = partial(
            live_preprocessing, geometry=geometry, dead=dead, fringe_period_voxels=fringe_period_voxels
        )
        volume, reason = None, ""
        for share in SHARES:
            n = round(share * len(frames))
            volume, reason = preprocess(frames[:n], angles_deg[:n], present[:n])
            verdict = None if volume is None else classifier().classify(volume)
            said[share] = share == 1.0 or peak_is_behind(curve[:n]), verdict
        return volume, reason

    sample = make_sample(DatasetSpec(), number, cut_short)
    return None if isinstance(sample, str) else (sample.info.label, said)


def main() -> None:
    """Print the table."""
    scans = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = [one for one in pool.map(judge, range(FIRST, FIRST + scans), chunksize=5) if one is not None]
    lines = [
        "| share of the frames | peak behind | a class is named | and right | and as at the end |",
        "|---|---|---|---|---|",
    ]
    for share in SHARES:
        judged = [
            (label, cuts[share][1], cuts[1.0][1])
            for label, cuts in found
            if cuts[share][0] and cuts[share][1] is not None
        ]
        named = [(label, now.label, end.label if end else None) for label, now, end in judged if now and now.label]
        right = sum(label == now for label, now, _ in named)
        both = [(now, end) for _, now, end in named if end is not None]
        same = sum(now == end for now, end in both)
        lines.append(
            f"| {share:.0%} | {len(judged)} of {len(found)} | {len(named)} | {_share(right, len(named))} | "
            f"{_share(same, len(both))} |"
        )
    sys.stdout.write(f"{classifier().identity.id}, {len(found)} scans\n\n" + "\n".join(lines) + "\n")


def _share(count: int, of: int) -> str:
    if not of:
        return ""
    low, high = wilson_interval(count, of)
    return f"{count / of:.1%} ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
