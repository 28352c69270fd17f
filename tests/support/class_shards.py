"""Shards of patterns that a network tells apart at a glance, made in no time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from braggwatch.sim.cxdp.datasets import DatasetSpec, Sample, SampleInfo, store_samples
from braggwatch.sim.cxdp.labels import CLASSES

MEASURED = DatasetSpec()
CLEAN = DatasetSpec(nuisance="none")


def volume(label: str, rng: np.random.Generator, *, noisy: bool) -> np.ndarray:
    """A peak that is longest along the axis that stands for its class."""
    width = rng.uniform(2.4, 2.8, size=3)
    width[CLASSES.index(label) if label in CLASSES else 0] *= 1.8
    grid = np.indices((64, 64, 64)) - 32
    shape = np.exp(-0.5 * ((grid / width[:, None, None, None]) ** 2).sum(axis=0))
    if label not in CLASSES:
        return rng.poisson(300.0, (64, 64, 64)).astype(np.float32)
    return rng.poisson(5000 * shape + 0.02).astype(np.float32) if noisy else (1e6 * shape).astype(np.float32)


def write_shard(
    folder: Path,
    spec: DatasetSpec,
    numbers: range,
    labels: Sequence[str] = CLASSES,
    source: str = "continuum",
    crystal: str | None = None,
) -> Path:
    def samples():
        for number in numbers:
            label = labels[number % len(labels)]
            rng = np.random.default_rng(number)
            info = SampleInfo(
                config=number,
                label=label,
                element=("Pt", "Au")[number % 2],
                hkl=((1, -1, 1), (2, 0, 0))[number % 2],
                g_dot_b=0.0 if label == "perfect" else 1.0,
                line_distance=-1.0 if label == "perfect" else 0.1,
                peak_counts=5e3,
                size_nm=300.0,
                coverage=1.0,
                source=source,
                character_deg=30.0 if label == "mixed" else None,
                strain_rad=0.2,
                crystal=None if crystal is None else f"{crystal}{number}",
            )
            noisy = spec.nuisance == "measured"
            yield number, Sample(volume(label, rng, noisy=noisy), info)

    folder.mkdir(parents=True, exist_ok=True)
    prefix = "cxdp" if labels[0] in CLASSES else "outlier-all"
    path = folder / f"{prefix}-{spec.digest()}-{numbers.start:06d}.h5"
    list(store_samples(path, spec, samples(), numbers))
    return path
