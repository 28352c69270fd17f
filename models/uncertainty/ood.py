"""Is this pattern anything like the training data? Mahalanobis distance of the network's features.

Lee, Lee, Lee and Shin, "A simple unified framework for detecting out-of-distribution samples", NeurIPS 2018: one mean
for each class, one shared covariance, distance to the nearest mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from braggwatch.models.uncertainty.calibration import checked_labels
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class MahalanobisDetector:
    """Class means and shared precision of the network's features.

    Attributes
    ----------
    class_means
        (K, F) float64.
    precision
        (F, F) float64, inverse of the shrunk within-class covariance, symmetric.
    feature_mean
        (F,) float64, mean of all training features.
    """

    class_means: NDArray[np.float64]
    precision: NDArray[np.float64]
    feature_mean: NDArray[np.float64]

    @classmethod
    def fit(cls, features: NDArray[np.floating], labels: ArrayLike, shrinkage: float = 0.05) -> MahalanobisDetector:
        """Estimate means and precision.

        Parameters
        ----------
        features
            (N, F), or (N, A, F) with A symmetry copies, each counted as a sample.
        labels
            (N,) class indices, every class from 0 to the largest present.
        shrinkage
            0 to 1: weight of the scaled identity in the covariance. Features that never vary in training get a
            small variance instead of none, so that an outlier that moves them still counts.

        Raises
        ------
        ValueError
            If shapes disagree, values are not finite, a class is absent or all features are constant.
        """
        array = np.asarray(features, dtype=np.float64)
        if array.ndim not in (2, 3) or not np.isfinite(array).all():
            raise InputError("features must be a finite (N, F) or (N, A, F) array")
        if not 0.0 < shrinkage <= 1.0:
            raise ValueError(f"shrinkage must lie in (0, 1], got {shrinkage}")
        classes = int(np.max(labels)) + 1
        index = checked_labels(labels, array.shape[0], classes)
        if array.ndim == 3:
            index = np.repeat(index, array.shape[1])
            array = array.reshape(-1, array.shape[2])
        missing = sorted(set(range(classes)) - set(index.tolist()))
        if missing:
            raise InputError(f"no sample of class {missing}")
        means = np.stack([array[index == number].mean(axis=0) for number in range(classes)])
        residual = array - means[index]
        covariance = residual.T @ residual / max(array.shape[0] - classes, 1)
        scale = float(np.trace(covariance)) / covariance.shape[0]
        if scale <= 0.0:
            raise InputError("all features are constant within their classes")
        shrunk = (1.0 - shrinkage) * covariance + shrinkage * scale * np.eye(covariance.shape[0])
        precision = np.linalg.inv(shrunk)
        return cls(means, 0.5 * (precision + precision.T), array.mean(axis=0))

    def score(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Distance to the nearest class mean; larger is stranger.

        Parameters
        ----------
        features
            (..., F). Copies of one pattern are averaged by the caller, after this.

        Returns
        -------
        NDArray
            (...) float64, not negative, in units of the within-class spread.
        """
        array = np.asarray(features, dtype=np.float64)
        if array.shape[-1] != self.class_means.shape[1]:
            raise ValueError(f"expected {self.class_means.shape[1]} features, got shape {array.shape}")
        difference = array[..., None, :] - self.class_means
        squared = np.einsum("...kf,fg,...kg->...k", difference, self.precision, difference, optimize=True)
        return np.sqrt(np.clip(squared.min(axis=-1), 0.0, None))


def sample_scores(detector: MahalanobisDetector, features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Score of each pattern: the mean over its symmetry copies of each copy's distance.

    The mean of distances, not the distance of the mean: its expectation doesn't depend on how many copies there are,
    so that one threshold serves a classifier that averages fewer.

    Parameters
    ----------
    features
        (N, F) or (N, A, F).

    Returns
    -------
    NDArray
        (N,) float64.
    """
    score = detector.score(features)
    return score if score.ndim == 1 else np.asarray(score.mean(axis=1))


def ood_threshold(scores: NDArray[np.floating], quantile: float = 0.99) -> float:
    """Score below which a fraction ``quantile`` of held-out in-distribution scores lies."""
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise InputError("scores must be a finite, non-empty, one-dimensional array")
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile must lie between 0 and 1, got {quantile}")
    return float(np.quantile(array, quantile, method="higher"))


def auroc(in_distribution: NDArray[np.floating], outlier: NDArray[np.floating]) -> float:
    """Probability that an outlier scores higher than an in-distribution sample, ties counted half (Mann-Whitney)."""
    inside, outside = np.asarray(in_distribution, dtype=np.float64), np.asarray(outlier, dtype=np.float64)
    if inside.size == 0 or outside.size == 0:
        raise InputError("both groups need at least one score")
    ranks = rankdata(np.concatenate([inside, outside]))
    rank_sum = float(ranks[inside.size :].sum())
    return (rank_sum - outside.size * (outside.size + 1) / 2.0) / (inside.size * outside.size)
