"""Plain measures of a diffraction volume that catch what network features miss.

Features gave an AUROC of only about 0.8 for two overlapping peaks: a network trained on single peaks may map a pair
onto one of its classes. These measures look at the intensities themselves; their limits are quantiles of the training
distribution and travel in the bundle.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.bundling.manifest import VolumeLimits
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class VolumeMeasures:
    """What one volume looks like, all after a 3×3×3 box average that tames counting noise.

    Attributes
    ----------
    centre_offset_voxels
        Distance of the centre of mass of everything above 10 % of the maximum from voxel n // 2 of each axis.
    second_peak_ratio
        Largest value outside the second-peak radius around the maximum, relative to the maximum.
    half_extent_voxels
        Largest distance from the maximum to a voxel of at least half of it.
    peak_to_mean
        Maximum over mean: near 1 for flat noise, hundreds for a Bragg peak.
    """

    centre_offset_voxels: float
    second_peak_ratio: float
    half_extent_voxels: float
    peak_to_mean: float


def unusable(counts: NDArray[np.generic], shape: tuple[int, int, int]) -> str | None:
    """Say why no network may be given a volume; None where one may.

    Parameters
    ----------
    counts
        Any array.
    shape
        That the network takes.
    """
    if counts.shape != shape:
        return f"the volume has shape {counts.shape}, the model takes {shape}"
    if counts.dtype.kind not in "fiu":
        return f"the volume holds {counts.dtype}, not real numbers"
    if not np.isfinite(counts).all():
        return "the volume holds values that are not finite numbers"
    if float(counts.min()) < 0.0:
        return "the volume holds negative counts"
    if float(counts.max()) <= 0.0:
        return "the volume is empty"
    return None


def second_peak_radius(fringe_period_voxels: float) -> float:
    """Distance beyond which a peak of comparable height can't belong to the same crystal, in voxels.

    Dislocations split a peak into lobes one to two fringe periods apart; three periods leave room for strain.
    """
    return 3.0 * fringe_period_voxels


@dataclass(frozen=True, slots=True)
class SmoothedVolume:
    """A volume and its 3×3×3 box averages, which all measures of it start from.

    Attributes
    ----------
    counts, averages
        (n0, n1, n2) float32 in C order.
    place
        Flat index of the largest average.
    total
        Sum of the averages.
    """

    counts: NDArray[np.float32]
    averages: NDArray[np.float32]
    place: int
    total: float

    @classmethod
    def of(cls, counts: NDArray[np.floating]) -> SmoothedVolume:
        """Average a volume.

        Parameters
        ----------
        counts
            (n0, n1, n2) finite, non-negative, not all zero.

        Raises
        ------
        ValueError
            If the volume is not three-dimensional, or has no positive, finite maximum.
        """
        from braggwatch.models.cxdp.volume.volume_kernels import smooth_with_peak  # numba: bundles are read without

        volume = np.asarray(counts, dtype=np.float32)
        if volume.ndim != 3:
            raise ValueError(f"a volume has three axes, got shape {volume.shape}")
        volume = np.ascontiguousarray(volume)
        smoothed = cls(volume, *smooth_with_peak(volume))
        if not volume.size or not np.isfinite(smoothed.total) or smoothed.peak <= 0.0:
            raise InputError("the volume has no positive, finite maximum")
        return smoothed

    @property
    def peak(self) -> float:
        """The largest average."""
        return float(self.averages.flat[self.place])


def measure_volume(volume: NDArray[np.floating] | SmoothedVolume, second_peak_radius_voxels: float) -> VolumeMeasures:
    """Measure one volume.

    Parameters
    ----------
    volume
        Counts as `SmoothedVolume.of` takes them, with its errors, or what it made of them.
    second_peak_radius_voxels
        See :func:`second_peak_radius`.
    """
    from braggwatch.models.cxdp.volume.volume_kernels import measure_around_peak  # numba: bundles are read without

    smoothed = volume if isinstance(volume, SmoothedVolume) else SmoothedVolume.of(volume)
    averages, peak = smoothed.averages, smoothed.peak
    *centre, farthest, beyond = measure_around_peak(averages, smoothed.place, second_peak_radius_voxels)
    middle = np.array(averages.shape) // 2
    return VolumeMeasures(
        centre_offset_voxels=float(np.linalg.norm(np.array(centre) - middle)),
        second_peak_ratio=beyond / peak,
        half_extent_voxels=float(np.sqrt(farthest)),
        peak_to_mean=peak / max(smoothed.total / averages.size, 1e-30),
    )


def fit_volume_limits(
    measures: list[VolumeMeasures], fringe_period_voxels: float, quantile: float = 0.995, margin: float = 1.1
) -> VolumeLimits:
    """Turn the measures of held-out in-distribution volumes into limits.

    Parameters
    ----------
    measures
        From :func:`measure_volume` with ``second_peak_radius(fringe_period_voxels)``, of the bundle's own
        calibration volumes.
    quantile
        Fraction of the calibration volumes that each limit lets pass.
    margin
        Factor by which each limit is then loosened, at least 1.
    """
    if not measures:
        raise InputError("limits need at least one measured volume")
    if not 0.5 < quantile < 1.0 or margin < 1.0:
        raise ValueError(f"quantile must lie in (0.5, 1) and margin be at least 1, got {quantile}, {margin}")
    table = np.array([astuple(one) for one in measures], dtype=np.float64)
    high = np.quantile(table, quantile, axis=0, method="higher") * margin
    # A limit below a voxel or a per cent would be finer than the measure itself. The ratio to the mean only has to
    # tell a peak from none, and measured backgrounds differ: it gets another factor of two.
    return VolumeLimits(
        max_center_offset_voxels=max(float(high[0]), 1.0),
        max_second_peak_ratio=max(float(high[1]), 0.01),
        max_half_extent_voxels=max(float(high[2]), 1.0),
        min_peak_to_mean=float(np.quantile(table[:, 3], 1.0 - quantile, method="lower") / (2.0 * margin)),
        second_peak_radius_voxels=second_peak_radius(fringe_period_voxels),
    )


def violations(measures: VolumeMeasures, limits: VolumeLimits) -> tuple[str, ...]:
    """Say in words which limits a volume breaks; empty where none."""
    found: list[str] = []
    if measures.peak_to_mean < limits.min_peak_to_mean:
        found.append(
            f"no clear peak (peak-to-mean ratio {measures.peak_to_mean:.3g}, at least {limits.min_peak_to_mean:.3g})"
        )
    if measures.second_peak_ratio > limits.max_second_peak_ratio:
        found.append(
            f"a second peak of {measures.second_peak_ratio:.0%} of the first "
            f"(at most {limits.max_second_peak_ratio:.0%})"
        )
    if measures.half_extent_voxels > limits.max_half_extent_voxels:
        found.append(
            f"the peak reaches over {measures.half_extent_voxels:.1f} voxels at half height "
            f"(at most {limits.max_half_extent_voxels:.1f})"
        )
    if measures.centre_offset_voxels > limits.max_center_offset_voxels:
        found.append(
            f"the peak is {measures.centre_offset_voxels:.1f} voxels off the centre "
            f"(at most {limits.max_center_offset_voxels:.1f})"
        )
    return tuple(found)
