"""Temperature, distances and thresholds of an order network, fitted to volumes it hasn't learnt from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.training.samples import SdmSamples
from braggwatch.models.bundling.manifest import Thresholds
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.uncertainty.calibration import fit_temperature
from braggwatch.models.uncertainty.conformal import ConformalCalibration
from braggwatch.models.uncertainty.ood import MahalanobisDetector, ood_threshold, sample_scores
from braggwatch.models.uncertainty.trust import FittedTrust, TrustArrays
from braggwatch.sim.errors import InputError

_LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
_BATCH = 512


def run_samples(runtime: Runtime, samples: SdmSamples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits (N, 2) and features (N, F) of all samples."""
    logits: list[NDArray[np.float32]] = []
    features: list[NDArray[np.float32]] = []
    for at in range(0, len(samples), _BATCH):
        output = runtime.run(samples.maps[at : at + _BATCH].astype(np.float32))
        logits.append(output.logits)
        features.append(output.features)
    return np.concatenate(logits), np.concatenate(features)


def fit_sdm_trust(runtime: Runtime, samples: SdmSamples, *, conformal_samples: int = 2000) -> FittedTrust:
    """Fit on samples of volumes that training never saw; half of the volumes fit the distance, half its threshold.

    Raises
    ------
    InputError
        If a class is absent, or there are fewer than four volumes.
    """
    volumes = np.unique(samples.volume)
    if len(volumes) < 4:
        raise InputError(f"{len(volumes)} volumes are too few to calibrate on: at least four are needed")
    logits, features = run_samples(runtime, samples)
    temperature = fit_temperature(logits[:, None, :], samples.labels)
    scaled = logits / temperature
    probabilities = np.exp(scaled - np.logaddexp(scaled[:, :1], scaled[:, 1:]))
    first = np.isin(samples.volume, volumes[::2])
    detector = MahalanobisDetector.fit(features[first][:, None, :], samples.labels[first], 0.05)
    held_out = sample_scores(detector, features[~first][:, None, :])
    some = np.random.default_rng(0).permutation(len(samples))[:conformal_samples]
    levels = np.array(_LEVELS)
    return FittedTrust(
        temperature,
        TrustArrays(
            detector,
            ConformalCalibration.fit(probabilities[some], samples.labels[some]),
            levels,
            np.quantile(held_out, levels),
        ),
        Thresholds(confidence=0.5, ood=ood_threshold(held_out, 0.995), significance=0.05, volume=None),
    )
