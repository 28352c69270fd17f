"""The arrays behind a verdict's uncertainty (``calibration.npz``) and how they are fitted."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from braggwatch.models.bundling.manifest import Thresholds, VolumeLimits
from braggwatch.models.uncertainty.calibration import checked_labels, fit_temperature, mean_log_probabilities
from braggwatch.models.uncertainty.conformal import ConformalCalibration
from braggwatch.models.uncertainty.named_right import confidence_for_each_class
from braggwatch.models.uncertainty.ood import MahalanobisDetector, ood_threshold, sample_scores
from braggwatch.models.uncertainty.outlier_head import OutlierHead
from braggwatch.sim.errors import InputError

_QUANTILE_LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class TrustArrays:
    """Everything in ``calibration.npz``.

    Attributes
    ----------
    detector
        Out-of-distribution score of the features.
    conformal
        Class-conditional calibration scores.
    ood_levels, ood_quantiles
        (L,) float64 each: quantiles of held-out in-distribution scores, to tell how usual a score is.
    outlier_head
        The network's output for what it learnt to refuse; None where it was shown nothing of the kind.
    """

    detector: MahalanobisDetector
    conformal: ConformalCalibration
    ood_levels: NDArray[np.float64]
    ood_quantiles: NDArray[np.float64]
    outlier_head: OutlierHead | None = None

    def to_bytes(self) -> bytes:
        """Pack as a compressed npz without pickles."""
        scores = self.conformal.scores
        buffer = io.BytesIO()
        optional: dict[str, NDArray[np.float64]] = {}
        if self.outlier_head is not None:
            optional["foreign_row"] = np.append(self.outlier_head.weight, self.outlier_head.bias)
        np.savez_compressed(
            buffer,
            allow_pickle=False,
            **optional,
            class_means=self.detector.class_means,
            precision=self.detector.precision,
            feature_mean=self.detector.feature_mean,
            conformal_scores=np.concatenate(scores),
            conformal_sizes=np.array([values.size for values in scores], dtype=np.int64),
            ood_levels=self.ood_levels,
            ood_quantiles=self.ood_quantiles,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, classes: int, features: int) -> TrustArrays:
        """Unpack and check shapes.

        Raises
        ------
        InputError
            If it isn't an npz, an array is missing, not finite or of another shape than K classes and F features.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: np.asarray(archive[name]) for name in archive.files}
        except (BadZipFile, OSError, EOFError) as error:
            raise InputError(f"calibration arrays can't be read: {error}") from error
        expected: dict[str, tuple[int | None, ...]] = {
            "class_means": (classes, features),
            "precision": (features, features),
            "feature_mean": (features,),
            "conformal_scores": (None,),
            "conformal_sizes": (classes,),
            "ood_levels": (None,),
            "ood_quantiles": (None,),
        }
        if "foreign_row" in arrays:
            expected["foreign_row"] = (features + 1,)
        for name, shape in expected.items():
            if name not in arrays:
                raise InputError(f"calibration array {name!r} is missing")
            array = arrays[name]
            if array.ndim != len(shape) or any(
                want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
            ):
                raise InputError(f"calibration array {name!r} has shape {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise InputError(f"calibration array {name!r} holds values that are not finite")
        sizes = arrays["conformal_sizes"].astype(np.int64)
        if sizes.min() < 1 or int(sizes.sum()) != arrays["conformal_scores"].size:
            raise InputError("conformal scores and their sizes per class disagree")
        pieces = np.split(arrays["conformal_scores"].astype(np.float64), np.cumsum(sizes)[:-1])
        return cls(
            detector=MahalanobisDetector(
                arrays["class_means"].astype(np.float64),
                arrays["precision"].astype(np.float64),
                arrays["feature_mean"].astype(np.float64),
            ),
            conformal=ConformalCalibration(tuple(np.sort(piece) for piece in pieces)),
            ood_levels=arrays["ood_levels"].astype(np.float64),
            ood_quantiles=arrays["ood_quantiles"].astype(np.float64),
            outlier_head=_head_of(arrays.get("foreign_row")),
        )


def _head_of(row: NDArray[np.generic] | None) -> OutlierHead | None:
    if row is None:
        return None
    values = row.astype(np.float64)
    return OutlierHead(values[:-1], float(values[-1]))


@dataclass(frozen=True, slots=True)
class CalibrationOutputs:
    """What a network said of the samples to calibrate with.

    Attributes
    ----------
    logits
        (N, A, K) float32, A symmetry copies.
    features
        (N, A, F) float32.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FittedTrust:
    """Result of :func:`fit_trust`: put ``temperature`` into the graph, the rest into the bundle."""

    temperature: float
    arrays: TrustArrays
    thresholds: Thresholds

    def with_volume_limits(self, limits: VolumeLimits) -> FittedTrust:
        """Add the bounds of the checks on the volume to what was fitted to the outputs."""
        return replace(self, thresholds=self.thresholds.model_copy(update={"volume": limits}))


def fit_trust(
    outputs: CalibrationOutputs,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    confidence: float = 0.7,
    significance: float = 0.05,
    ood_quantile: float = 0.99,
    shrinkage: float = 0.05,
    folds: int = 5,
    outlier_head: OutlierHead | None = None,
    outlier_quantile: float = 0.995,
    claimed: ArrayLike | None = None,
    named_right: float | None = None,
    names: tuple[str, ...] = (),
) -> FittedTrust:
    """Fit temperature, conformal scores, the OOD detector and their thresholds on one held-out set.

    The OOD threshold comes from scores of samples that the detector at hand was not fitted to (cross-fitting by
    group); the detector that is returned is then fitted to all of them.

    Parameters
    ----------
    outputs
        N samples that the network was not trained on.
    labels
        (N,) class indices, every class present.
    groups
        (N,) configuration identifiers: samples of one configuration stay in one fold. None: each sample by itself.
    confidence
        Calibrated probability below which a verdict is unsure.
    significance
        Conformal error rate.
    ood_quantile
        Fraction of in-distribution samples that pass the OOD gate.
    shrinkage, folds
        Of the covariance; of the cross-fitting.
    outlier_head
        The network's output for what it learnt to refuse, where it has one.
    outlier_quantile
        Fraction of in-distribution samples that this output lets pass.
    claimed
        (N,) bool, the samples that prediction sets speak of; None: all. A class some of whose samples nobody can tell
        from another's would else stay in nearly every set.
    named_right
        Share of the names that must be right, in each class by itself: raises ``confidence`` to what that takes.
    names
        Of the classes, for the error where no confidence is enough.

    Raises
    ------
    InputError
        If shapes disagree, a class is absent, a fold leaves a class without samples, or the samples don't show
        ``named_right`` at any confidence.
    """
    samples, _, classes = outputs.logits.shape
    index = checked_labels(labels, samples, classes)
    group = np.arange(samples) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if group.shape != (samples,):
        raise ValueError(f"expected {samples} groups, got shape {group.shape}")
    spoken_of = np.ones(samples, dtype=bool) if claimed is None else np.asarray(claimed, dtype=bool)
    if spoken_of.shape != (samples,):
        raise ValueError(f"expected {samples} samples that are spoken of or not, got shape {spoken_of.shape}")
    temperature = fit_temperature(outputs.logits, index)
    probabilities = np.exp(mean_log_probabilities(outputs.logits, temperature))

    held_out = np.full(samples, np.nan)
    # Group numbers follow the order of identifiers, which may follow the class: shuffle before dealing them out.
    shuffled = np.random.default_rng(0).permutation(int(group.max()) + 1)[group]
    for fold in range(folds):
        inside = shuffled % folds == fold
        if not inside.any():
            continue
        detector = MahalanobisDetector.fit(outputs.features[~inside], index[~inside], shrinkage)
        held_out[inside] = sample_scores(detector, outputs.features[inside])
    detector = MahalanobisDetector.fit(outputs.features, index, shrinkage)
    conformal = ConformalCalibration.fit(probabilities[spoken_of], index[spoken_of])
    farthest = ood_threshold(held_out, ood_quantile)
    foreign: float | None = None
    passes = held_out <= farthest
    if outlier_head is not None:
        outlier_scores = outlier_head.score(outputs.logits, outputs.features)
        foreign = ood_threshold(outlier_scores, outlier_quantile)
        passes &= outlier_scores <= foreign
    if named_right is not None:
        best = probabilities.argmax(axis=1)
        alone = [
            conformal.prediction_set(one, significance) == (name,)
            for one, name in zip(probabilities, best, strict=True)
        ]
        named = passes & np.asarray(alone, dtype=bool)
        asked = confidence_for_each_class(
            probabilities[named].max(axis=1), best[named], index[named], names, named_right
        )
        confidence = max(confidence, asked)
    levels = np.array(_QUANTILE_LEVELS)
    return FittedTrust(
        temperature=temperature,
        arrays=TrustArrays(detector, conformal, levels, np.quantile(held_out, levels), outlier_head),
        thresholds=Thresholds(confidence=confidence, ood=farthest, significance=significance, foreign=foreign),
    )
