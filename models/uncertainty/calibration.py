"""Probabilities that mean what they say: temperature scaling and how to check it.

Temperature scaling: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult, minimize_scalar
from scipy.special import log_softmax, logsumexp

from braggwatch.sim.errors import InputError

_MIN_TEMPERATURE = 0.05
_MAX_TEMPERATURE = 20.0


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Samples whose confidence fell between ``lower`` (exclusive, but for the first bin) and ``upper``."""

    lower: float
    upper: float
    samples: int
    mean_confidence: float
    accuracy: float


def checked_labels(labels: ArrayLike, samples: int, classes: int) -> NDArray[np.int64]:
    """Return labels as (samples,) int64.

    Raises
    ------
    ValueError
        If there are none, their number differs from ``samples``, they are not whole or not in ``[0, classes)``.
    """
    array = np.asarray(labels)
    if array.shape != (samples,) or samples == 0:
        raise InputError(f"expected {samples} labels (at least one), got shape {array.shape}")
    whole = array.astype(np.int64)
    if not np.array_equal(whole, array) or whole.min() < 0 or whole.max() >= classes:
        raise ValueError(f"labels must be whole numbers from 0 to {classes - 1}")
    return whole


def mean_log_probabilities(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Logarithm of the probabilities averaged over symmetry copies.

    Parameters
    ----------
    logits
        (N, K), or (N, A, K) with A symmetry copies.
    temperature
        Divides the logits, > 0.

    Returns
    -------
    NDArray
        (N, K) float64.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if scaled.ndim == 2:
        return np.asarray(log_softmax(scaled, axis=1))
    if scaled.ndim != 3:
        raise ValueError(f"logits must be (N, K) or (N, A, K), got shape {scaled.shape}")
    return np.asarray(logsumexp(log_softmax(scaled, axis=2), axis=1) - np.log(scaled.shape[1]))


def negative_log_likelihood(logits: NDArray[np.floating], labels: ArrayLike, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of the labels, in nats; shapes as in :func:`mean_log_probabilities`."""
    log_p = mean_log_probabilities(logits, temperature)
    index = checked_labels(labels, log_p.shape[0], log_p.shape[1])
    return float(-np.mean(log_p[np.arange(index.size), index]))


def fit_temperature(logits: NDArray[np.floating], labels: ArrayLike) -> float:
    """Find the temperature that minimises the negative log-likelihood of held-out labels.

    Where symmetry copies are averaged at inference, give the logits of all copies, (N, A, K): a mean of
    probabilities is less sure of itself than each of them, and this temperature makes up for it.

    Parameters
    ----------
    logits
        (N, K) or (N, A, K), finite.
    labels
        (N,) class indices.

    Returns
    -------
    float
        Between 0.05 and 20, never worse than 1 on the given data.

    Raises
    ------
    InputError
        If shapes disagree or a logit is not finite.
    """
    array = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InputError("logits must be finite")
    index = checked_labels(labels, array.shape[0], array.shape[-1])

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(array, index, float(np.exp(log_temperature)))

    bounds = (float(np.log(_MIN_TEMPERATURE)), float(np.log(_MAX_TEMPERATURE)))
    # A mean over copies need not be unimodal in the temperature: a coarse scan finds the basin first.
    grid = np.linspace(*bounds, 25)
    losses = [loss(float(value)) for value in grid]
    best = int(np.argmin(losses))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, grid.size - 1)])
    found = cast("OptimizeResult", minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-5}))
    candidates = {float(found.x): float(found.fun), float(grid[best]): losses[best], 0.0: loss(0.0)}
    return float(np.exp(min(candidates, key=lambda key: candidates[key])))


def reliability_table(
    probabilities: NDArray[np.floating], labels: ArrayLike, bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """Accuracy against confidence in ``bins`` equal-width bins of the largest probability.

    Parameters
    ----------
    probabilities
        (N, K), rows sum to one.
    labels
        (N,) class indices.
    bins
        Number of equal-width bins over [0, 1]; state it with every error quoted.
    """
    array = np.asarray(probabilities, dtype=np.float64)
    if array.ndim != 2 or bins < 1:
        raise ValueError(f"need (N, K) probabilities and at least one bin, got {array.shape} and {bins}")
    index = checked_labels(labels, array.shape[0], array.shape[1])
    confidence = array.max(axis=1)
    right = array.argmax(axis=1) == index
    position = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    rows: list[ReliabilityBin] = []
    for number in range(bins):
        members = position == number
        count = int(members.sum())
        rows.append(
            ReliabilityBin(
                lower=number / bins,
                upper=(number + 1) / bins,
                samples=count,
                mean_confidence=float(confidence[members].mean()) if count else 0.0,
                accuracy=float(right[members].mean()) if count else 0.0,
            )
        )
    return tuple(rows)


def expected_calibration_error(probabilities: NDArray[np.floating], labels: ArrayLike, bins: int = 15) -> float:
    """Sample-weighted mean of |accuracy - confidence| over equal-width bins, 0 to 1.

    It depends on ``bins``: quote both. Shapes as in :func:`reliability_table`.
    """
    table = reliability_table(probabilities, labels, bins)
    total = sum(row.samples for row in table)
    return float(sum(row.samples * abs(row.accuracy - row.mean_confidence) for row in table) / total)
