"""Put a recorded scan's Bragg peak on a fine orthogonal grid and retrieve its phase."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.preprocess.corrections import frame_normalisation, in_array_layout, pixel_gain, survey
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import (
    CENTRE,
    CUBE,
    QGrid,
    fit_index,
    gather,
    order_frames,
    subsamples,
    zoom,
)
from braggwatch.callbacks.cxdp.preprocess.preprocessing import PreprocessingSettings, preprocess_curve
from braggwatch.callbacks.cxdp.preprocess.quality import invalid_quality
from braggwatch.callbacks.cxdp.records import ModelInput, RockingCurve
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.cxdp.recorded_runs import screen_documents
from braggwatch.services.recording.recordings import RecordedDocument
from braggwatch.sim.cxdp.crystal.build import Element
from braggwatch.sim.cxdp.facet_fit import orientation_from_streaks
from braggwatch.sim.cxdp.given_particles import Measurement, ParticleObject, object_from_density
from braggwatch.sim.cxdp.phasing import PhasingSettings, Reconstruction, retrieve
from braggwatch.sim.errors import InputError
from braggwatch.sim.geometry.model import GeometryPreset
from braggwatch.sim.geometry.q import rocking_map

ELEMENTS: tuple[Element, ...] = get_args(Element)
_COVERED = 0.5


@dataclass(frozen=True, slots=True)
class Pattern:
    """One Bragg peak on an orthogonal grid.

    Attributes
    ----------
    intensity
        (n, n, n) float32 counts per raw pixel; voxel (n // 2, n // 2, n // 2) is the peak's centre.
    measured
        (n, n, n) bool: True for voxels that the scan covers.
    basis
        (3, 3) orthonormal rows, sample frame: directions of the array's axes, the first along Q.
    centre_inv_A
        (3,) Q of the middle voxel, 1/Å, sample frame.
    voxel_size_inv_A
        Edge of a voxel, 1/Å.
    peak_counts, background
        Of the raw frames: the largest count, and the mean count of a pixel far from the peak.
    """

    intensity: NDArray[np.float32]
    measured: NDArray[np.bool_]
    basis: NDArray[np.float64]
    centre_inv_A: NDArray[np.float64]
    voxel_size_inv_A: float
    peak_counts: float
    background: float

    @property
    def object_voxel_nm(self) -> float:
        """Edge of a voxel of the object retrieved from this grid, nm."""
        return 2 * np.pi / (self.intensity.shape[0] * self.voxel_size_inv_A) / 10


@dataclass(frozen=True, slots=True)
class PhasedScan:
    """A scan's particle, how it was measured, and the result of the phase retrieval."""

    particle: ParticleObject
    measurement: Measurement
    reconstruction: Reconstruction


class _CurveKeeper:
    """Takes the place of the preprocessing and keeps the rocking curve assembled by the live path."""

    def __init__(self) -> None:
        self.curve: RockingCurve | None = None

    def __call__(self, curve: RockingCurve) -> ModelInput:
        self.curve = curve
        return ModelInput(
            run_uid=curve.run_uid,
            intensity=np.zeros((CUBE, CUBE, CUBE), dtype=np.float32),
            basis=np.eye(3),
            centre_inv_A=np.zeros(3),
            quality=invalid_quality("only put together"),
        )


class _NoClassifier:
    identity = ModelIdentity(name="none", version="0", sha256="0" * 64, runtime="none")

    def classify(self, intensity: NDArray[np.float32]) -> Verdict:  # noqa: ARG002 - a classifier's signature
        return Verdict(outcome=Outcome.UNSURE, reason="not asked", model=self.identity)


def recorded_curve(records: Iterable[RecordedDocument], preset: GeometryPreset) -> RockingCurve:
    """Assemble the first rocking curve of a recording, as the live path does.

    Raises
    ------
    InputError
        If no rocking curve can be assembled from the documents; the message says why.
    """
    keeper = _CurveKeeper()
    reasons: list[str] = []
    for report in screen_documents(records, preset, keeper, _NoClassifier()):
        if keeper.curve is not None:
            return keeper.curve
        reasons.append(report.result.verdict.reason or "no reason given")
    raise InputError("no rocking curve in the recording: " + ("; ".join(reasons) or "it contains no run"))


def phasing_pattern(
    curve: RockingCurve, settings: PreprocessingSettings, *, points: int = 96, fringe_period_voxels: float = 3.2
) -> Pattern:
    """Interpolate a scan onto a cube for phase retrieval, with the corrections of the live path.

    Parameters
    ----------
    curve
        The scan.
    settings
        Mask, flat and dark; its fringe period is not used.
    points
        Edge of the cube in voxels, a multiple of 32.
    fringe_period_voxels
        Voxels per fringe of the estimated particle size. Must exceed 2 by the factor by which the particle is longer
        than the estimate.

    Raises
    ------
    InputError
        If the scan can't be preprocessed, or ``points`` is not a multiple of 32.
    """
    if points % 32 != 0 or points <= 0:
        raise InputError(f"the edge of the phasing grid must be a multiple of 32 voxels, not {points}")
    preprocessed = preprocess_curve(curve, settings)
    quality = preprocessed.quality
    if quality.invalid_reason is not None or quality.size_nm is None:
        raise InputError(f"the scan can't be phased: {quality.invalid_reason or 'the particle size is unknown'}")
    step = 2 * np.pi / (fringe_period_voxels * quality.size_nm * 10)
    shape = (curve.frames.shape[1], curve.frames.shape[2])
    mask, flat, dark = (
        None if image is None else in_array_layout(image, curve.geometry, curve.crop_origin, shape)
        for image in (settings.mask, settings.flat, settings.dark)
    )
    scale, _ = frame_normalisation(len(curve.frames), curve.monitor, curve.transmission)
    frames = np.ascontiguousarray(curve.frames)
    corrections, statistics = survey(
        frames,
        curve.present,
        pixel_gain(shape, mask, flat),
        np.zeros((0, 0), dtype=np.float32) if dark is None else np.nan_to_num(dark).astype(np.float32),
        scale,
        settings.saturation_counts,
        settings.hot_ratio,
        settings.hot_counts,
    )
    order = order_frames(curve.angles_deg, curve.present)
    mapping = rocking_map(curve.geometry, curve.crop_origin)
    near = float(curve.angles_deg[statistics.peak_index[0]])
    grid = QGrid(preprocessed.centre_inv_A, preprocessed.basis, step)
    # the gather kernel fills cubes of a fixed edge: the grid is covered by overlapping ones
    starts = (
        sorted({*range(0, points - CUBE + 1, CUBE // 2), points - CUBE}) if points > CUBE else [(points - CUBE) // 2]
    )
    intensity = np.zeros((points, points, points), dtype=np.float32)
    coverage = np.zeros_like(intensity)
    for corner in product(starts, repeat=3):
        middle = np.asarray(corner, dtype=np.float64) + CENTRE - points // 2
        tile = QGrid(grid.q(CENTRE + middle), preprocessed.basis, step)
        polynomial = fit_index(tile, mapping, near)
        values, covered = gather(frames, order, corrections, polynomial, subsamples(zoom(polynomial, order)))
        in_grid, in_tile = _overlap(corner, points)
        intensity[in_grid] = values[in_tile]
        coverage[in_grid] = covered[in_tile]
    background = _background(statistics.total_image / max(int(curve.present.sum()), 1))
    return Pattern(
        intensity=intensity,
        measured=coverage >= _COVERED,
        basis=preprocessed.basis,
        centre_inv_A=preprocessed.centre_inv_A,
        voxel_size_inv_A=step,
        peak_counts=statistics.peak_counts,
        background=background,
    )


def _background(mean_image: NDArray[np.float64]) -> float:
    """Return the mean of the pixels between the 20th and 60th percentiles, which excludes dead pixels and streaks."""
    ordered = np.sort(mean_image, axis=None)
    return float(ordered[ordered.size // 5 : 3 * ordered.size // 5].mean())


def phase_scan(
    curve: RockingCurve, settings: PreprocessingSettings, phasing: PhasingSettings | None = None, *, points: int = 96
) -> PhasedScan:
    """Retrieve a scan's object and find the orientation of its crystal.

    Parameters
    ----------
    curve
        The scan; its geometry must name material and reflection.
    settings
        Mask, flat and dark.
    phasing
        Iterations and their parameters; None for the defaults.
    points
        Edge of the grid in voxels, a multiple of 32.

    Raises
    ------
    InputError
        If the scan can't be preprocessed or phased, or its geometry lacks a supported fcc metal or the reflection.
    """
    material, hkl = curve.geometry.material, curve.geometry.hkl
    if material not in ELEMENTS or hkl is None:
        raise InputError(
            f"material {material} and hkl {hkl}: the geometry must name one of {', '.join(ELEMENTS)} and the hkl"
        )
    pattern = phasing_pattern(curve, settings, points=points)
    found = retrieve(pattern.intensity, pattern.measured, phasing)
    orientation, _ = orientation_from_streaks(
        pattern.intensity, pattern.measured, pattern.basis, pattern.centre_inv_A, hkl
    )
    particle = object_from_density(
        found.density, found.support, pattern.object_voxel_nm, pattern.basis, orientation, material, hkl
    )
    first, second, third = orientation.tolist()
    measurement = Measurement(
        geometry=curve.geometry,
        angles_deg=tuple(float(a) for a in curve.angles_deg[curve.present]),
        q_inv_A=(float(pattern.centre_inv_A[0]), float(pattern.centre_inv_A[1]), float(pattern.centre_inv_A[2])),
        orientation=(tuple(first), tuple(second), tuple(third)),
        peak_counts=pattern.peak_counts,
        background=pattern.background,
    )
    return PhasedScan(particle, measurement, found)


def _overlap(corner: tuple[int, ...], points: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the slices of the grid and of the tile where they overlap."""
    in_grid = tuple(slice(max(c, 0), min(c + CUBE, points)) for c in corner)
    in_tile = tuple(slice(i.start - c, i.stop - c) for i, c in zip(in_grid, corner, strict=True))
    return in_grid, in_tile
