"""What was measured on one diffraction picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.sadp.lattice_map import Field
from braggwatch.models.sadp.lattice_search import best_lattice, find_lattices, mate_weights
from braggwatch.models.sadp.plane_lattice import PlaneLattice


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


@dataclass(frozen=True)
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

    @cached_property
    def lattices(self) -> tuple[PlaneLattice | None, ...]:
        """The plane lattices that the spots may lie on, found once; see `find_lattices`."""
        return find_lattices(self.positions_px, self._tolerance_px(), self.intensity, self.field)

    @property
    def lattice(self) -> PlaneLattice | None:
        """The one of them that explains most; None where the spots show less than two directions."""
        return best_lattice(self.lattices, self.intensity, self._tolerance_px())

    def off_lattice(self, lattice: PlaneLattice) -> float:
        """Return the share of the amplitude off a lattice; spots whose mate should be seen and isn't hardly count."""
        weights = mate_weights(self.positions_px, self.field.to_array(), self._tolerance_px())
        amplitude = np.sqrt(self.intensity) * weights
        return float(amplitude[~lattice.explained].sum() / amplitude.sum())

    def lean(self) -> float:
        """Return how far the brightness lies to one side: length of the spots' mean direction by amplitude, 0 to 1."""
        amplitude = np.sqrt(self.intensity)
        directions = self.positions_px / np.hypot(*self.positions_px.T)[:, None]
        return float(np.hypot(*(amplitude @ directions)) / amplitude.sum())

    def _tolerance_px(self) -> float:
        return max(0.6, 0.35 * self.spot_sigma_px, 0.003 * max(self.shape))
