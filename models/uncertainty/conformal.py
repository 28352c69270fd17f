"""Class-conditional (Mondrian) split conformal prediction.

Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", section 4.5: a class's p-value is the rank of
the new sample's nonconformity among calibration samples of that class, so the error rate holds for each class by
itself as long as new samples are exchangeable with the calibration ones. Domain shift breaks that: gate on
:mod:`braggwatch.models.uncertainty.ood` first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from braggwatch.models.uncertainty.calibration import checked_labels
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class ConformalCalibration:
    """Sorted nonconformity scores ``1 - p(true class)`` of held-out samples, one array for each class.

    Attributes
    ----------
    scores
        K arrays (n_k,) float64, ascending, values in [0, 1].
    """

    scores: tuple[NDArray[np.float64], ...]

    @classmethod
    def fit(cls, probabilities: NDArray[np.floating], labels: ArrayLike) -> ConformalCalibration:
        """Calibrate on held-out samples that the network was not trained on.

        Parameters
        ----------
        probabilities
            (N, K), made exactly as at inference (same temperature, same symmetry copies).
        labels
            (N,) class indices; every class must occur.
        """
        array = np.asarray(probabilities, dtype=np.float64)
        if array.ndim != 2 or not np.isfinite(array).all():
            raise ValueError("probabilities must be a finite (N, K) array")
        index = checked_labels(labels, array.shape[0], array.shape[1])
        score = 1.0 - array[np.arange(index.size), index]
        per_class = tuple(np.sort(score[index == number]) for number in range(array.shape[1]))
        empty = [number for number, values in enumerate(per_class) if values.size == 0]
        if empty:
            raise InputError(f"no calibration sample for class {empty}")
        return cls(per_class)

    def p_values(self, probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """P-value of every class for one sample or several.

        Parameters
        ----------
        probabilities
            (K,) or (N, K).

        Returns
        -------
        NDArray
            Same shape, float64, each in (0, 1]: (1 + calibration samples at least as strange) / (1 + samples).
        """
        array = np.asarray(probabilities, dtype=np.float64)
        if array.shape[-1] != len(self.scores):
            raise ValueError(f"expected {len(self.scores)} classes, got shape {array.shape}")
        result = np.empty_like(array)
        for number, calibration in enumerate(self.scores):
            strange = 1.0 - array[..., number]
            at_least = calibration.size - np.searchsorted(calibration, strange, side="left")
            result[..., number] = (1.0 + at_least) / (1.0 + calibration.size)
        return result

    def prediction_set(self, probabilities: NDArray[np.floating], significance: float) -> tuple[int, ...]:
        """Classes of one sample, (K,) probabilities, that can't be ruled out at ``significance``."""
        if not 0.0 < significance < 1.0:
            raise ValueError(f"significance must lie between 0 and 1, got {significance}")
        values = self.p_values(np.asarray(probabilities).reshape(len(self.scores)))
        return tuple(int(number) for number in np.flatnonzero(values > significance))
