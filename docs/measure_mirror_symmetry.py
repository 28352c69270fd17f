"""How far patterns are from being their own mirror image through the peak, by class, strain and distance of the line.

``python docs/measure_mirror_symmetry.py FOLDER`` reads the shards of ``braggwatch cxdp simulate``; best those of
``--config sim/populations/lines-anywhere-grid.json`` or another noiseless set, since noise breaks the symmetry, too.
It prints the 5, 50 and 95 % quantiles of A = sum |s(q) - s(-q)| / sum s(q) for the intensity to the power 0.3, s, over
the 63³ voxels that have an opposite, and of the distance of the best centre of symmetry from the middle voxel.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.services.cxdp.training.labelled_shards import LabelledShards, find_shards
from braggwatch.sim.cxdp.datasets import SampleInfo
from braggwatch.sim.cxdp.labels import CLASSES

_POWER = 0.3
_SIDE = 64
_MOST = 900
_STRAINS = (0.0, 0.1, 0.3, 0.6, 1.0, np.inf)
_DISTANCES = (0.0, 0.2, 0.4, 0.5, 0.6, np.inf)


def asymmetry(intensity: NDArray[np.float64]) -> float:
    """Return A of a (64, 64, 64) pattern, from 0 for its own mirror image towards 2."""
    inner = intensity[1:, 1:, 1:] ** _POWER
    return float(np.abs(inner - inner[::-1, ::-1, ::-1]).sum() / inner.sum())


def off_centre(intensity: NDArray[np.float64]) -> float:
    """Return how far the best centre of symmetry lies from the middle voxel along the worst axis, in voxels.

    The correlation of the amplitude with its mirror image has its maximum at twice the centre.
    """
    double = 2 * _SIDE
    spectrum = np.fft.rfftn(np.sqrt(intensity), (double,) * 3, axes=(0, 1, 2))
    found = np.fft.irfftn(spectrum**2, (double,) * 3, axes=(0, 1, 2))
    top = np.unravel_index(int(found.argmax()), found.shape)
    worst = 0.0
    for axis in range(3):
        along = np.moveaxis(found, axis, -1)[tuple(top[a] for a in range(3) if a != axis)]
        line = np.take(along, top[axis] + np.arange(-1, 2), mode="wrap")
        bend = line[0] - 2 * line[1] + line[2]
        peak = top[axis] + (0.5 * (line[0] - line[2]) / bend if bend else 0.0)
        worst = max(worst, abs(float(peak) / 2 - _SIDE // 2))
    return worst


def row_of(info: SampleInfo) -> str:
    """Return the row that a sample counts in: a perfect crystal by its strain, a line by its distance."""
    if info.label == "perfect":
        return f"perfect, strain {_bin(info.strain_rad or 0.0, _STRAINS)} rad rms"
    return f"{info.label}, line at {_bin(info.line_distance, _DISTANCES)} of the size"


def _bin(value: float, edges: tuple[float, ...]) -> str:
    at = int(np.clip(np.searchsorted(edges, value, side="right"), 1, len(edges) - 1))
    return f"from {edges[at - 1]:g}" if np.isinf(edges[at]) else f"{edges[at - 1]:g} to {edges[at]:g}"


def main(folder: Path) -> None:
    """Print one table of all shards in a folder."""
    samples = LabelledShards(find_shards(folder, "cxdp-*.h5"))
    rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for index in range(min(_MOST, len(samples))):
        info = samples.infos[index]
        if info.label in CLASSES and info.artefact is None:
            volumes, _ = samples.batch(np.asarray([index]))
            intensity = np.expm1(volumes[0].astype(np.float64))
            rows[row_of(info)].append((asymmetry(intensity), off_centre(intensity)))
    lines = ["| patterns | number | A: 5, 50, 95 % | centre off by: 5, 50, 95 % (voxels) |", "|---|---|---|---|"]
    for name, found in sorted(rows.items()):
        quantiles = np.quantile(np.asarray(found), (0.05, 0.5, 0.95), axis=0)
        cells = (", ".join(f"{value:.3f}" for value in column) for column in quantiles.T)
        lines.append(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
