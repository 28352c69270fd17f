"""Where to cut a map of scores in two, from the map itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from braggwatch.sim.errors import InputError

_BINS = 512


@dataclass(frozen=True, slots=True)
class Cut:
    """A threshold and how well it separates.

    Attributes
    ----------
    threshold
        Values above are ordered.
    separability
        Between-class over total variance at Otsu's cut, 0 to 1; 2/π = 0.64 for one normal distribution.
    rule
        Where it is from: 'given', 'bundle', 'control', 'otsu' or 'even odds'.
    """

    threshold: float
    separability: float
    rule: str


def otsu(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return Otsu's threshold of the finite values and its separability (Otsu, IEEE Trans. SMC 9, 62 (1979)).

    Raises
    ------
    InputError
        If fewer than two values are finite.
    """
    finite = np.asarray(values, dtype=np.float64)[np.isfinite(values)]
    if finite.size < 2:
        raise InputError("a threshold needs at least two values")
    low, high = np.percentile(finite, (0.01, 99.99))
    if low == high:
        return float(low), 0.0
    counts, edges = np.histogram(np.clip(finite, low, high), bins=_BINS, range=(low, high))
    middles = (edges[1:] + edges[:-1]) / 2
    weight = np.cumsum(counts)[:-1] / finite.size
    sums = np.cumsum(counts * middles)[:-1] / finite.size
    total = float((counts * middles).sum() / finite.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((total * weight - sums) ** 2 / (weight * (1 - weight)))
    # several equal maxima: the middle of an empty gap
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    at = int(best[len(best) // 2])
    variance = float((counts * (middles - total) ** 2).sum() / finite.size)
    return float(edges[at + 1]), float(between[at] / variance) if variance > 0 else 0.0


def smooth(values: NDArray[np.floating], sigma_voxels: float) -> NDArray[np.float32]:
    """Smooth a map by a Gaussian; what isn't finite has no weight and stays NaN."""
    known = np.isfinite(values)
    weight = gaussian_filter(known.astype(np.float64), sigma_voxels, mode="constant")
    filled = gaussian_filter(np.where(known, values, 0.0).astype(np.float64), sigma_voxels, mode="constant")
    return np.where(known, filled / np.maximum(weight, 1e-12), np.nan).astype(np.float32)


def cut_log_odds(
    log_odds: NDArray[np.floating],
    *,
    given: float | None = None,
    stated: float | None = None,
    null: NDArray[np.floating] | None = None,
    false_share: float = 1e-3,
) -> Cut:
    """Choose the threshold of a map of log odds.

    The one ``given`` by a user; else the one that the bundle ``stated``, but never below what only ``false_share`` of a
    control without order exceeds. Where a bundle states none, Otsu's and even odds take its place: a map without
    precipitates has no two classes, and Otsu alone would halve its noise.

    Parameters
    ----------
    null
        Log odds of the randomised-label control.
    """
    found, separability = otsu(log_odds)
    if given is not None:
        return Cut(given, separability, "given")
    bounds = {"bundle": stated} if stated is not None else {"otsu": found, "even odds": 0.0}
    if null is not None:
        finite = null[np.isfinite(null)]
        if finite.size:
            bounds["control"] = float(np.quantile(finite, 1 - false_share))
    rule = max(bounds, key=lambda name: bounds[name])
    return Cut(bounds[rule], separability, rule)
