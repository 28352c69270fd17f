"""Held-out volumes through a network exactly as the classifier runs it, and the bounds of what a volume looks like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.bundling.manifest import VolumeLimits
from braggwatch.models.cxdp.symmetry import SymmetryCopies, symmetry_batch
from braggwatch.models.cxdp.volume.peak_checks import (
    PeakMeasures,
    fit_peak_limits,
    lost,
    measure_peak,
    second_peaks,
)
from braggwatch.models.cxdp.volume.volume_checks import (
    SmoothedVolume,
    VolumeMeasures,
    fit_volume_limits,
    measure_volume,
    second_peak_radius,
    violations,
)
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.uncertainty.trust import CalibrationOutputs
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class CalibrationVolumes:
    """What a network said of the calibration volumes, and what these look like.

    Attributes
    ----------
    outputs
        Of N volumes, for `braggwatch.models.uncertainty.trust.fit_trust`.
    measures
        N volume measures.
    peaks
        N measures of the peak's fringes, shape and wholeness; none where these aren't to be checked.
    fringe_period_voxels
        That the volumes were made at.
    """

    outputs: CalibrationOutputs
    measures: tuple[VolumeMeasures, ...]
    fringe_period_voxels: float
    peaks: tuple[PeakMeasures, ...] = ()

    def of(self, chosen: NDArray[np.bool_]) -> CalibrationVolumes:
        """Return those that are chosen, (N,) bool."""
        kept = np.flatnonzero(chosen).tolist()
        outputs = CalibrationOutputs(self.outputs.logits[chosen], self.outputs.features[chosen])
        peaks = tuple(self.peaks[i] for i in kept) if self.peaks else ()
        return replace(self, outputs=outputs, measures=tuple(self.measures[i] for i in kept), peaks=peaks)

    def within(self, limits: VolumeLimits) -> NDArray[np.bool_]:
        """Return which volumes no check on the volume would hold back, (N,) bool."""
        peak = limits.peak
        return np.array(
            [
                not violations(self.measures[i], limits)
                and (peak is None or (not lost(self.peaks[i], peak) and second_peaks(self.peaks[i], peak) is None))
                for i in range(len(self.measures))
            ],
            dtype=bool,
        )

    def volume_limits(self, quantile: float = 0.995) -> VolumeLimits:
        """Return the bounds of the volume checks that all but one in two hundred of these volumes keep to.

        Parameters
        ----------
        quantile
            Fraction that each volume check lets pass before its margin.
        """
        period = self.fringe_period_voxels
        limits = fit_volume_limits(list(self.measures), period, quantile)
        if not self.peaks:
            return limits
        return limits.model_copy(update={"peak": fit_peak_limits(list(self.peaks), period, quantile)})


def run_volumes(
    runtime: Runtime, volumes: Iterable[NDArray[np.floating]], fringe_period_voxels: float, copies: SymmetryCopies = 8
) -> CalibrationVolumes:
    """Run held-out volumes through a network exactly as the classifier will.

    Parameters
    ----------
    runtime
        Any temperature: only logits and features are used.
    volumes
        N volumes of counts of the network's input shape, none empty.

    Raises
    ------
    InputError
        If there is no volume.
    """
    radius = second_peak_radius(fringe_period_voxels)
    logits: list[NDArray[np.float32]] = []
    features: list[NDArray[np.float32]] = []
    measures: list[VolumeMeasures] = []
    peaks: list[PeakMeasures] = []
    for volume in volumes:
        output = runtime.run(symmetry_batch(volume, copies))
        logits.append(output.logits)
        features.append(output.features)
        smoothed = SmoothedVolume.of(volume)
        measures.append(measure_volume(smoothed, radius))
        peaks.append(measure_peak(smoothed, fringe_period_voxels))
    if not logits:
        raise InputError("calibration needs at least one volume")
    outputs = CalibrationOutputs(np.stack(logits), np.stack(features))
    return CalibrationVolumes(outputs, tuple(measures), fringe_period_voxels, tuple(peaks))
