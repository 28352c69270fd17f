"""Detector effects on expected counts: noise, background, gaps, hot pixels, saturation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class NuisanceSpec(BaseModel):
    """Artefacts of one detector; pixel coordinates are those of the delivered frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    poisson: bool = Field(default=True, description="Draw Poisson counts; otherwise expected counts are rounded.")
    background_counts: float = Field(default=0.02, ge=0, description="Expected background counts per pixel and frame.")
    gap_rows: tuple[tuple[int, int], ...] = Field(
        default=(), description="Half-open ranges of rows without pixels; they read zero."
    )
    gap_columns: tuple[tuple[int, int], ...] = Field(default=(), description="Likewise for columns.")
    hot_pixels: int = Field(default=0, ge=0, description="Number of pixels that always read `hot_counts`.")
    hot_counts: int = Field(default=10_000, ge=0)
    saturation_counts: float | None = Field(default=None, gt=0, description="Larger counts read this value.")
    seed: int = Field(default=0, ge=0, description="Seed of the hot pixels' positions.")

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """(rows, columns) bool, True where the detector has a pixel."""
        live = np.ones(shape, dtype=np.bool_)
        for start, stop in self.gap_rows:
            live[start:stop, :] = False
        for start, stop in self.gap_columns:
            live[:, start:stop] = False
        return live

    def hot_positions(self, shape: tuple[int, int]) -> NDArray[np.intp]:
        """(hot_pixels,) flat indices of the hot pixels, never in a gap."""
        candidates = np.flatnonzero(self.mask(shape))
        rng = np.random.default_rng(self.seed)
        return np.sort(rng.choice(candidates, size=min(self.hot_pixels, candidates.size), replace=False))


def detect(expected: NDArray[np.floating], nuisances: NuisanceSpec, rng: np.random.Generator) -> NDArray[np.uint32]:
    """Convert expected counts into the frame that the detector delivers.

    Parameters
    ----------
    expected
        (rows, columns) expected counts of the signal.
    nuisances
        The detector's artefacts.
    rng
        Generator of the Poisson noise.

    Returns
    -------
    (rows, columns) uint32.
    """
    shape = (expected.shape[0], expected.shape[1])
    live = nuisances.mask(shape)
    mean = np.asarray(expected, dtype=np.float64) + nuisances.background_counts
    counts = rng.poisson(mean).astype(np.float64) if nuisances.poisson else np.rint(mean)
    if nuisances.hot_pixels:
        counts.flat[nuisances.hot_positions(shape)] = nuisances.hot_counts
    if nuisances.saturation_counts is not None:
        np.minimum(counts, nuisances.saturation_counts, out=counts)
    counts[~live] = 0.0
    return counts.astype(np.uint32)
