"""Noise and artefacts of a real measurement, in detector frames: counting noise, background, gaps, alien peaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import gaussian_filter


class NuisanceSpec(BaseModel):
    """Noise and artefacts of one measurement; lengths in raw pixels or frames, rates in counts per pixel and frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    peak_counts: float = Field(gt=0, description="Expected counts of the brightest pixel.")
    background: float = Field(ge=0, description="Mean background.")
    blur: tuple[float, float, float] = Field(
        description="Gaussian sigma along (frame, row, column), for partial coherence."
    )
    gap_rows: tuple[int, int] | None = Field(description="First dead row, and one past the last.")
    gap_cols: tuple[int, int] | None
    gain_spread: float = Field(ge=0, description="Relative spread of the pixel gains: an uncorrected flat field.")
    hot_pixels: int = Field(ge=0)
    aliens: int = Field(ge=0, description="Number of weak peaks of other particles.")
    alien_strength: float = Field(ge=0, description="Height of those peaks relative to the main one.")
    missing_fraction: float = Field(ge=0, lt=1, description="Share of frames that never arrive.")


def random_nuisance(
    rng: np.random.Generator,
    peak: tuple[int, int, int],
    shape: tuple[int, int, int],
    fringe: tuple[float, float, float],
    peak_counts: tuple[float, float] = (1e3, 1e6),
) -> NuisanceSpec:
    """Draw noise and artefacts as found at beamlines.

    Parameters
    ----------
    peak, shape
        Index of the peak in the (frames, rows, columns) cube, and its shape: gaps avoid the peak.
    fringe
        Fringe period along each axis in pixels or frames: scales the blur.
    peak_counts
        Range of the brightest pixel's counts, drawn log-uniformly.
    """

    def random_gap(axis: int) -> tuple[int, int] | None:
        if rng.random() >= 0.3:
            return None
        width = int(rng.integers(2, 7))
        start = int(rng.integers(0, max(1, shape[axis] - width)))
        clear = 1.6 * fringe[axis] + width
        return None if abs(start + width / 2 - peak[axis]) < clear else (start, start + width)

    blurred = rng.random() < 0.6
    blur = tuple(float(f * rng.uniform(0.03, 0.2)) if blurred else 0.0 for f in fringe)
    return NuisanceSpec(
        peak_counts=float(np.exp(rng.uniform(*np.log(peak_counts)))),
        background=float(np.exp(rng.uniform(np.log(0.002), np.log(0.1)))),
        blur=(blur[0], blur[1], blur[2]),
        gap_rows=random_gap(1),
        gap_cols=random_gap(2),
        gain_spread=float(rng.uniform(0.02, 0.25)) if rng.random() < 0.4 else 0.0,
        hot_pixels=int(rng.integers(1, 6)) if rng.random() < 0.2 else 0,
        aliens=int(rng.integers(1, 3)) if rng.random() < 0.25 else 0,
        alien_strength=float(np.exp(rng.uniform(np.log(1e-4), np.log(1e-2)))),
        missing_fraction=float(rng.uniform(0.0, 0.08)) if rng.random() < 0.15 else 0.0,
    )


def gap_mask(spec: NuisanceSpec, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the dead pixels of a frame: (rows, columns) bool, True where dead."""
    dead = np.zeros(shape, dtype=bool)
    if spec.gap_rows is not None:
        dead[spec.gap_rows[0] : spec.gap_rows[1], :] = True
    if spec.gap_cols is not None:
        dead[:, spec.gap_cols[0] : spec.gap_cols[1]] = True
    return dead


def measure(
    intensity: NDArray[np.floating], spec: NuisanceSpec, fringe: tuple[float, float, float], rng: np.random.Generator
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Turn an ideal pattern into counts.

    Parameters
    ----------
    intensity
        (frames, rows, columns) in any unit; scaled so that its maximum becomes ``spec.peak_counts``.
    fringe
        Fringe period along each axis in pixels or frames: scales the width of alien peaks.

    Returns
    -------
    Counts (frames, rows, columns) uint32, zero in dead pixels, and the (rows, columns) bool mask of dead pixels.
    """
    rate = np.asarray(intensity, dtype=np.float32)
    if any(spec.blur):
        rate = gaussian_filter(rate, spec.blur, truncate=3.0)
    rate = rate * np.float32(spec.peak_counts / float(rate.max()))
    for _ in range(spec.aliens):
        rate += _alien(rate.shape, spec, fringe, rng)
    rate += np.float32(spec.background)
    if spec.gain_spread:
        rate *= np.clip(rng.normal(1.0, spec.gain_spread, size=rate.shape[1:]), 0.1, None).astype(np.float32)
    counts = rng.poisson(rate).astype(np.uint32)
    if spec.hot_pixels:
        rows = rng.integers(counts.shape[1], size=spec.hot_pixels)
        cols = rng.integers(counts.shape[2], size=spec.hot_pixels)
        level = np.exp(rng.uniform(np.log(20), np.log(0.2 * spec.peak_counts + 21), size=spec.hot_pixels))
        counts[:, rows, cols] += rng.poisson(level, size=(counts.shape[0], spec.hot_pixels)).astype(np.uint32)
    dead = gap_mask(spec, (counts.shape[1], counts.shape[2]))
    counts[:, dead] = 0
    return counts, dead


def _alien(
    shape: tuple[int, ...], spec: NuisanceSpec, fringe: tuple[float, float, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    profiles: list[NDArray[np.float32]] = []
    for length, period in zip(shape, fringe, strict=True):
        # an alien peak lies anywhere, on some axes possibly close to the main peak
        at = rng.uniform(0, length)
        width = max(0.7, 0.45 * period * float(rng.uniform(0.5, 2.0)))
        profiles.append(np.exp(-0.5 * ((np.arange(length) - at) / width) ** 2).astype(np.float32))
    blob = profiles[0][:, None, None] * profiles[1][None, :, None] * profiles[2][None, None, :]
    height = np.float32(spec.peak_counts * spec.alien_strength)
    return blob * height
