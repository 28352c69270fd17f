"""What the check of a scan's geometry says, as it stands in the record."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.models.valid_text import SoundText


class GeometryVerdict(StrEnum):
    """Whether a scan fits its geometry."""

    CONSISTENT = "consistent"
    INCONSISTENT = "inconsistent"
    CANT_TELL = "can't tell"


class TriedChange(BaseModel):
    """One change of the geometry, and what the same frames read with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    changes: tuple[SoundText, ...] = Field(
        min_length=1, description="The change; several where a scan can't tell them."
    )
    d_spacing_A: FiniteFloat
    d_deviation: FiniteFloat | None = Field(description="From the stated reflection; None if unstated.")
    streaks: int | None = Field(description="Facet streaks found; None where the frames weren't read again.")
    misfit_deg: FiniteFloat | None = Field(description="Of the streaks from the crystal's facets, root mean square.")
    fits: bool = Field(description="Whether it mends the contradiction.")


def what_fits(mends: Sequence[str]) -> str:
    """Say which changes mend a contradiction, one or several that a scan can't tell apart."""
    return f"what fits: {'; or '.join(mends)}"


class GeometryCheck(BaseModel):
    """Whether a scan contradicts its geometry, and what would mend it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: GeometryVerdict
    statement: SoundText = Field(description="The verdict with its reason, in words.")
    mends: tuple[SoundText, ...] = Field(
        default=(), description="Changes of the geometry, each of which mends it; one scan can't tell them apart."
    )
    streaks: int = Field(default=0, description="Facet streaks found.")
    misfit_deg: FiniteFloat | None = Field(
        default=None,
        description="Root mean square angle of the streaks from a cubic crystal's facets; None where not compared.",
    )
    tried: tuple[TriedChange, ...] = Field(default=(), description="Changes tried; none where nothing is contradicted.")
