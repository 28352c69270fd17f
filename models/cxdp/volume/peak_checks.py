"""Measures of one peak's fringes, shape and wholeness, and the limits that good crystals keep to.

What takes away what a class is read from is told here from the volume alone: fringes washed out by a beam that is not
coherent over the crystal, a crystal longer or flatter than any that was learnt from, a fainter peak beside the first,
and a gap or blank frames through the peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from braggwatch.models.bundling.manifest import PeakLimits, RingLimit
from braggwatch.models.cxdp.volume.volume_checks import SmoothedVolume
from braggwatch.sim.errors import InputError

RING_FRINGES = (2.5, 3.0, 4.0, 5.0, 6.0)
"""Where the rings begin in which a second peak is looked for, in fringe periods; the last has no end."""

_NEAREST_FRINGE = 1.2
_FARTHEST_VOXELS = 26.0
_DIP_VOXELS = 3000
_DIP_QUANTILE = 0.05
_EMPTY = 0.05
_HOLE_VOXELS = 8
_SHAPE_VOXELS = 32
_SHAPE_NOISE = 13.5


@dataclass(frozen=True, slots=True)
class PeakMeasures:
    """What one peak looks like.

    Attributes
    ----------
    fringe_contrast
        Contrast of the dark fringes, 0 to 1: (G - I) / (G + I), with G the geometric mean of what lies half a fringe
        further in and out, reached by one in twenty of the 3000 brightest voxels beyond 1.2 fringes of the centre. A
        beam whose coherence blurs the pattern fills the dark fringes up.
    aspect
        Longest over shortest axis of the particle, from the second moments of the squared autocorrelation; a plate of
        aspect 4 measures about 3, a rod of 3 about 2.5.
    ring_ratios
        Largest value in each ring of `RING_FRINGES` around the maximum, relative to it, after a 3x3x3 box average.
    hole_ratio
        Light about voxels that hold next to none: the 8th largest 3x3x3 box average about a voxel of at most a
        twentieth of it, relative to the largest average.
    """

    fringe_contrast: float
    aspect: float
    ring_ratios: tuple[float, ...]
    hole_ratio: float


def measure_peak(counts: NDArray[np.floating] | SmoothedVolume, fringe_period_voxels: float) -> PeakMeasures:
    """Measure one peak.

    Parameters
    ----------
    counts
        (64, 64, 64) finite, non-negative, not all zero, the peak at voxel (32, 32, 32); or smoothed already.
    fringe_period_voxels
        That the volume was made at.

    Raises
    ------
    ValueError
        If the volume is no cube of at least 64 voxels a side, or has no positive, finite maximum.
    """
    from braggwatch.models.cxdp.volume.peak_kernels import (
        autocorrelation_moments,
        fringe_dips,
        rings_and_holes,
    )  # numba: bundles are read without

    smoothed = counts if isinstance(counts, SmoothedVolume) else SmoothedVolume.of(counts)
    volume, smooth, peak = smoothed.counts, smoothed.averages, smoothed.peak
    if len(set(volume.shape)) != 1 or volume.shape[0] < 2 * _SHAPE_VOXELS:
        raise ValueError(f"a peak is measured in a cube of at least {2 * _SHAPE_VOXELS} voxels, got {volume.shape}")
    step = 0.5 * fringe_period_voxels
    farthest = min(_FARTHEST_VOXELS, volume.shape[0] // 2 - 2.0 - step)
    dips = fringe_dips(volume, smooth, _NEAREST_FRINGE * fringe_period_voxels, farthest, step, _DIP_VOXELS)
    holes = np.zeros(_HOLE_VOXELS, dtype=np.float32)
    table = _ring_table(volume.shape[0], fringe_period_voxels)
    rings = rings_and_holes(volume, smooth, smoothed.place, table, len(RING_FRINGES), _EMPTY, holes)
    low, high = (volume.shape[0] - _SHAPE_VOXELS) // 2, (volume.shape[0] + _SHAPE_VOXELS) // 2
    transform = np.asarray(fft.rfftn(volume[low:high, low:high, low:high]), dtype=np.complex64)
    axes = np.linalg.eigvalsh(autocorrelation_moments(transform, _SHAPE_NOISE))
    return PeakMeasures(
        fringe_contrast=max(0.0, -float(np.quantile(dips, _DIP_QUANTILE))) if dips.size else 0.0,
        aspect=float(np.sqrt(axes[2] / axes[0])) if axes[0] > 0.0 else 1.0,
        ring_ratios=tuple(float(value) / peak for value in rings),
        hole_ratio=float(holes[0]) / peak,
    )


@lru_cache(maxsize=8)
def _ring_table(size: int, fringe_period_voxels: float) -> NDArray[np.int64]:
    distance = np.sqrt(np.arange(3 * size * size + 1, dtype=np.float64))
    starts = np.asarray(RING_FRINGES) * fringe_period_voxels
    return np.searchsorted(starts, distance, side="right").astype(np.int64) - 1


def fit_peak_limits(
    measures: list[PeakMeasures], fringe_period_voxels: float, quantile: float = 0.995, margin: float = 1.1
) -> PeakLimits:
    """Turn the measures of held-out good crystals into limits.

    Parameters
    ----------
    measures
        From :func:`measure_peak`, of the bundle's own calibration volumes.
    fringe_period_voxels
        That they were made at.
    quantile
        Fraction of the calibration volumes that each limit lets pass.
    margin
        Factor by which each limit is then loosened, at least 1: twice for rings and holes, which have long tails; not
        for the contrast, where the price of a false alarm is no more than ``unsure``.
    """
    if not measures:
        raise InputError("limits need at least one measured volume")
    if not 0.5 < quantile < 1.0 or margin < 1.0:
        raise ValueError(f"quantile must lie in (0.5, 1) and margin be at least 1, got {quantile}, {margin}")

    def high(values: list[float]) -> float:
        return float(np.quantile(values, quantile, method="higher"))

    contrast = float(np.quantile([one.fringe_contrast for one in measures], 1.0 - quantile, method="lower"))
    rings = zip(*(one.ring_ratios for one in measures), strict=True)
    return PeakLimits(
        min_fringe_contrast=contrast,
        max_aspect=max(high([one.aspect for one in measures]), 1.0) * margin,
        max_hole_ratio=max(high([one.hole_ratio for one in measures]) * margin**2, 0.01),
        rings=tuple(
            RingLimit(from_voxels=start * fringe_period_voxels, max_ratio=max(high(list(ratios)) * margin**2, 1e-3))
            for start, ratios in zip(RING_FRINGES, rings, strict=True)
        ),
    )


def second_peaks(measures: PeakMeasures, limits: PeakLimits) -> str | None:
    """Say at what distance something is brighter than one crystal's fringes are there; None where nothing is."""
    if limits.rings is None:
        return None
    broken = [
        (ratio / ring.max_ratio, ratio, ring)
        for ratio, ring in zip(measures.ring_ratios, limits.rings, strict=True)
        if ratio > ring.max_ratio
    ]
    if not broken:
        return None
    _, ratio, ring = max(broken, key=lambda one: one[0])
    return (
        f"something of {ratio:.2%} of the peak lies {ring.from_voxels:.0f} or more voxels beside it "
        f"(one crystal's fringes there reach {ring.max_ratio:.2%})"
    )


def lost(measures: PeakMeasures, limits: PeakLimits) -> tuple[str, ...]:
    """Say in words what a class can't be read from this peak for; empty where nothing is lost."""
    found: list[str] = []
    if limits.max_hole_ratio is not None and measures.hole_ratio > limits.max_hole_ratio:
        found.append(
            f"a gap or blank frames through the peak (voxels without counts beside {measures.hole_ratio:.1%} of the "
            f"peak's, at most {limits.max_hole_ratio:.1%})"
        )
    if limits.min_fringe_contrast is not None and measures.fringe_contrast < limits.min_fringe_contrast:
        found.append(
            f"the fringes have lost contrast, as in a beam that isn't coherent over the crystal "
            f"({measures.fringe_contrast:.2f}, at least {limits.min_fringe_contrast:.2f})"
        )
    if limits.max_aspect is not None and measures.aspect > limits.max_aspect:
        found.append(
            f"longer or flatter than the crystals learnt from (aspect {measures.aspect:.1f}, "
            f"at most {limits.max_aspect:.1f})"
        )
    return tuple(found)
