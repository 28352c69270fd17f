"""Limits of the live judgement of diffraction patterns."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PatternLimits(BaseModel):
    """Limits on one run of diffraction patterns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_patterns: int = Field(
        default=200_000, gt=0, description="Patterns of a run, about 1 kB of memory each; further ones are set aside."
    )
    max_particles: int = Field(
        default=2_000, gt=0, description="Particles of a run; patterns of further ones are set aside."
    )
    bin_above_px: int | None = Field(
        default=None,
        ge=64,
        description="Frames with a longer side are averaged over squares of 2 x 2, 3 x 3, ... pixels until they have "
        "no longer one: quicker, and spots closer than two such squares run together. None: never.",
    )
    max_open_runs: int = Field(default=64, gt=0, description="Runs held open at once; the idlest is given up first.")
