"""What a beamline may tune of the preprocessing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class PreprocessingSettings(BaseModel):
    """What a beamline may tune. Arrays are in the chip's layout or the delivered frame's, see `in_array_layout`."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    mask: NDArray[np.generic] | None = Field(default=None, description="Non-zero where a pixel must not be used.")
    flat: NDArray[np.generic] | None = Field(default=None, description="White field, any normalisation.")
    dark: NDArray[np.generic] | None = Field(default=None, description="Counts of one dark frame, subtracted.")
    hot_ratio: float = Field(default=10.0, gt=1, description="Hot: this many times its third largest neighbour.")
    hot_counts: float = Field(default=20.0, gt=0, description="Fewer raw counts than this are never called hot.")
    saturation_counts: float | None = Field(default=None, gt=0, description="Raw counts at which a pixel saturates.")
    fringe_period_voxels: float = Field(default=3.5, ge=2, le=16, description="Target period of the fringes, voxels.")
    previous_size_nm: float | None = Field(default=None, gt=0, description="Scale to fall back to.")
    min_completeness: float = Field(default=0.5, ge=0, le=1, description="Fraction of frames needed for a class.")
    min_frames: int = Field(default=8, ge=2, description="Frames needed for a class.")
    min_coverage: float = Field(default=0.25, ge=0, le=1, description="Covered fraction needed for a class.")
    max_d_deviation: float = Field(
        default=0.02,
        gt=0,
        description="Relative deviation of d from the stated reflection beyond which there is no class.",
    )
    facets: bool = Field(default=True, description="Look for facet streaks and check their angles.")
