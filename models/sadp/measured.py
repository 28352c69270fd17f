"""What was measured on one diffraction picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.sadp.lattice_map import Field, in_sight_all
from braggwatch.models.sadp.plane_lattice import PlaneLattice, find_lattice

_ENOUGH = 0.75
"""Of the amplitude on one lattice: with less another is sought."""


@dataclass(frozen=True, slots=True)
class PatternQuality:
    """How good a zone-axis pattern it is.

    Attributes
    ----------
    spots
        Number of diffracted spots.
    paired
        Share of the spots, by brightness, whose Friedel mate is seen, of those whose mate could be.
    asymmetry
        Mean relative difference of the pairs' intensities, weighted with their brightness, 0 to 1.
    ring_share
        Share of the structure that is bright all around, 0 to 1.
    saturated_spots
        Diffracted spots with a flat top.
    direct_beam_seen
        Whether there is a spot at the centre.
    hidden_share
        Share of the picture behind masks.
    """

    spots: int
    paired: float
    asymmetry: float
    ring_share: float
    saturated_spots: int
    direct_beam_seen: bool
    hidden_share: float


@dataclass(frozen=True, slots=True)
class MeasuredPattern:
    """Spots of a picture about the direct beam.

    Attributes
    ----------
    positions_px
        (N, 2) from the direct beam: x to the right, y down; the direct beam itself left out; brightest first.
    intensity
        (N,) integrated, above zero.
    intensity_sigma, position_sigma_px
        (N,) standard uncertainties.
    spot_sigma_px
        Width of the spots.
    centre_px
        The direct beam in the picture, (x, y), the first pixel's centre at (0, 0).
    centre_sigma_px
        Its standard uncertainty.
    field
        What was in sight, pixels from the direct beam.
    shape
        (H, W) of the picture.
    inv_A_per_px
        Scale, where known.
    problem
        Why it is no zone-axis pattern of one crystal; None: it may be one.
    """

    positions_px: NDArray[np.float64]
    intensity: NDArray[np.float64]
    intensity_sigma: NDArray[np.float64]
    position_sigma_px: NDArray[np.float64]
    spot_sigma_px: float
    centre_px: tuple[float, float]
    centre_sigma_px: float
    field: Field
    shape: tuple[int, int]
    inv_A_per_px: float | None
    quality: PatternQuality
    problem: str | None

    @classmethod
    def empty(
        cls, shape: tuple[int, ...], centre_px: tuple[float, float], problem: str, inv_A_per_px: float | None = None
    ) -> MeasuredPattern:
        """Return a pattern without spots, and why."""
        none = np.zeros(0)
        x, y = centre_px
        return cls(
            positions_px=np.zeros((0, 2)),
            intensity=none,
            intensity_sigma=none,
            position_sigma_px=none,
            spot_sigma_px=1.0,
            centre_px=centre_px,
            centre_sigma_px=float(max(shape)),
            field=Field(-x, shape[1] - 1 - x, -y, shape[0] - 1 - y),
            shape=(shape[0], shape[1]),
            inv_A_per_px=inv_A_per_px,
            quality=PatternQuality(0, 0.0, 0.0, 0.0, 0, direct_beam_seen=False, hidden_share=0.0),
            problem=problem,
        )

    def lattice(self) -> PlaneLattice | None:
        """Find the plane lattice of the spots; None where they show less than two directions."""
        if len(self.intensity) < 2:
            return None
        tolerance = max(0.6, 0.35 * self.spot_sigma_px, 0.003 * max(self.shape))
        # a spot without a mate is as likely none; one whose mate is out of sight is no less one
        apart = np.hypot(*(self.positions_px[:, None, :] + self.positions_px[None, :, :]).transpose(2, 0, 1)).min(
            axis=1
        )
        seen = in_sight_all(-self.positions_px, self.field)
        alone = (apart > 2.5 * tolerance) & seen
        amplitude = np.sqrt(self.intensity / self.intensity.max()) * np.where(alone, 0.05, 1.0)
        found = find_lattice(self.positions_px, tolerance, np.sqrt(amplitude))
        if found is None or amplitude[found.explained].sum() > _ENOUGH * amplitude.sum():
            return found
        # a fine lattice is not found where its points are as near as the search allows; one of strong spots among many
        # weak ones of higher Laue zones only by the strong ones
        others = [
            find_lattice(self.positions_px, share * tolerance, weight)
            for share, weight in ((0.5, np.sqrt(amplitude)), (1.0, amplitude), (0.5, amplitude))
        ]
        return max((found, *filter(None, others)), key=lambda one: _worth(one, amplitude, tolerance))


def _worth(lattice: PlaneLattice, amplitude: NDArray[np.float64], tolerance: float) -> float:
    """Amplitude that a lattice explains beyond what one as fine would by chance, share of all."""
    area = abs(float(lattice.a[0] * lattice.b[1] - lattice.a[1] * lattice.b[0]))
    chance = min(1.0, np.pi * (2.0 * tolerance) ** 2 / area)
    return float(amplitude[lattice.explained].sum() / amplitude.sum()) - 2.0 * chance
