"""Settings of the assembly of runs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RegionOfInterest(BaseModel):
    """A stated window of the delivered frame; ``stop`` values are exclusive, pixels as delivered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row_start: int = Field(ge=0)
    row_stop: int = Field(gt=0)
    column_start: int = Field(ge=0)
    column_stop: int = Field(gt=0)

    @model_validator(mode="after")
    def _not_empty(self) -> RegionOfInterest:
        if self.row_stop <= self.row_start or self.column_stop <= self.column_start:
            raise ValueError("a region of interest needs stop > start for rows and columns")
        return self


class AssemblySettings(BaseModel):
    """How runs are put together: limits in bytes, counts and seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_run_bytes: int = Field(default=1_000_000_000, gt=0, description="Largest volume of one run; cropped to fit.")
    max_total_bytes: int = Field(default=2_000_000_000, gt=0, description="All open runs together; then eviction.")
    max_open_runs: int = Field(default=64, gt=0, description="Runs held open at once; the idlest is evicted first.")
    max_frames: int = Field(default=8192, gt=0, description="Most frames a run may have; more make it invalid.")
    max_orphans: int = Field(default=512, ge=0, description="Documents kept that refer to one not yet seen.")
    max_orphan_bytes: int = Field(default=128_000_000, ge=0, description="Bytes of arrays in those documents.")
    region: RegionOfInterest | None = Field(default=None, description="None: whole frames, or found where too large.")
    region_edge_px: int = Field(default=512, ge=32, description="Edge of a found region, pixels.")
    region_search_frames: int = Field(default=16, ge=1, description="Whole frames looked at before the region is set.")
    grace_s: float = Field(default=2.0, ge=0, description="Wait after the stop document for documents still missing.")
    file_grace_s: float = Field(default=10.0, ge=0, description="The same for frames in files not yet readable.")
    file_retry_s: float = Field(default=0.5, ge=0, description="Pause before a file that would not open is retried.")
    run_timeout_s: float = Field(
        default=600.0, gt=0, description="Time without documents after which an open run times out."
    )
    min_completeness: float = Field(default=0.8, ge=0, le=1, description="A class is named only at or above this.")
    min_completeness_ended_early: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="The same if the plan ended the scan early, past the Bragg peak.",
    )
    peak_guard_frames: int = Field(
        default=2, ge=0, description="No class if a frame this close to the peak is missing."
    )
    peak_guard_fraction: float = Field(
        default=0.1, gt=0, le=1, description="Nor if a missing frame's neighbour exceeds this fraction of the maximum."
    )
    leave_out_contradicted: bool = Field(
        default=True,
        description="Frames of a rocking curve that their neighbours contradict count as missing: blank, repeated, "
        "saturated, partly lost or attenuated ones.",
    )
    min_frames: int = Field(default=3, ge=1, description="A curve with fewer frames is invalid.")
    stationary_tolerance: float = Field(
        default=2e-3,
        gt=0,
        description="Largest change of a value that should be constant: absolute, or relative for values over 1.",
    )
    root_map: dict[str, str] = Field(
        default_factory=dict, description="Leading path in the documents → where it is mounted here."
    )
    allowed_roots: tuple[str, ...] = Field(default=(), description="Only files below these are read; empty: any.")
    position_fields: dict[str, str] = Field(
        default_factory=lambda: {"x": "sample_x", "y": "sample_y", "z": "sample_z"},
        description="Name in the record → field of the sample motor.",
    )
    sample_field: str = Field(default="sample_name", description="Start document's key for the sample.")
    hkl_field: str = Field(
        default="hkl", description="Start document's key for the reflection, three whole numbers; wins over the preset."
    )
    lattice_field: str = Field(
        default="crystal_lattice",
        description="Start document's key for the lattice, e.g. bcc; wins over what the preset says of the crystal.",
    )
