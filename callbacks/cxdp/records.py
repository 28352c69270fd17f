"""The data types from a detector's documents to a verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.callbacks.cxdp.geometry_check.verdict import GeometryCheck
from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
from braggwatch.models.cxdp.training_domain import TrainedFor
from braggwatch.models.runtimes.device_input import DeviceBatch
from braggwatch.models.valid_text import SoundText
from braggwatch.models.verdict import PERFECT, Verdict, region_statement
from braggwatch.models.verdict_html import VerdictCard
from braggwatch.sim.crystallography.miller import Miller, indices
from braggwatch.sim.geometry.model import RockingGeometry


@dataclass(frozen=True, slots=True)
class RockingCurve:
    """A whole rocking curve in the detector's own coordinates.

    Attributes
    ----------
    frames
        (N, rows, columns) counts in scan order; float32, or the detector's integer dtype. Those of frames that never
        arrived are zero.
    angles_deg
        (N,) float64 readbacks of the scanned circle; NaN where absent.
    present
        (N,) bool, False for each frame that was expected and never arrived, or that its neighbours contradict.
    monitor, transmission
        (N,) float64 or None.
    crop_origin
        First (row, column) of ``frames`` within the delivered frame: not (0, 0) where a large detector was cropped.
    notes
        What was noticed while it was put together, in words for an operator; they become flags of `Quality`.
    """

    run_uid: str
    frames: NDArray[np.generic]
    angles_deg: NDArray[np.float64]
    present: NDArray[np.bool_]
    monitor: NDArray[np.float64] | None
    transmission: NDArray[np.float64] | None
    crop_origin: tuple[int, int]
    geometry: RockingGeometry
    notes: tuple[str, ...] = ()

    @property
    def completeness(self) -> float:
        """Fraction of the expected frames that arrived, 0 to 1."""
        return float(self.present.mean()) if self.present.size else 0.0


class Quality(BaseModel):
    """Quality of the model input; `flags` are reasons for doubt, for the operator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    coverage: FiniteFloat = Field(description="Fraction of the model input's voxels that were measured, 0 to 1.")
    peak_counts: FiniteFloat = Field(description="Largest corrected count in the raw frames.")
    total_counts: FiniteFloat
    saturated_pixels: int
    size_nm: FiniteFloat | None = Field(description="Particle size L from the autocorrelation, nanometre.")
    scale_valid: bool = Field(description="False where L could not be trusted and a fallback scale was used.")
    voxel_size_inv_A: FiniteFloat = Field(description="Edge of one model input voxel in 1/angstrom (2 pi / d).")
    q_inv_A: FiniteFloat = Field(description="|Q| of the peak in 1/angstrom.")
    d_spacing_A: FiniteFloat
    d_deviation: FiniteFloat | None = Field(
        description="Relative deviation of d from the stated hkl; None if unstated."
    )
    facet_angles_deg: tuple[FiniteFloat, ...] = Field(default=(), description="Angles between facet streaks.")
    facet_angle_error_deg: FiniteFloat | None = Field(
        default=None,
        description="Median distance of the streak angles from the nearest ideal {111}/{100} angle.",
    )
    geometry: GeometryCheck | None = Field(
        default=None,
        description="Whether the scan contradicts its geometry; None where that wasn't checked, and in older records.",
    )
    flags: tuple[SoundText, ...] = ()
    invalid_reason: SoundText | None = Field(default=None, description="Why no class may be given; None if one may.")


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What the network sees.

    Attributes
    ----------
    intensity
        (64, 64, 64) float32, non-negative counts on an orthonormal grid centred on the Bragg peak. Axis 0 runs
        along Q, axes 1 and 2 perpendicular to it.
    basis
        (3, 3) float64 orthonormal rows: laboratory (sample, circles at zero) directions of the array's axes.
    centre_inv_A
        (3,) float64, Q at voxel (32, 32, 32) in the same frame.
    batch
        The intensity and its mirror images on a device, until the next curve is preprocessed; None where it was made
        on the CPU.
    """

    run_uid: str
    intensity: NDArray[np.float32]
    basis: NDArray[np.float64]
    centre_inv_A: NDArray[np.float64]
    quality: Quality
    batch: DeviceBatch | None = None


class GeometryOrigin(BaseModel):
    """Where one geometry value came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: SoundText
    value: float
    origin: SoundText = Field(
        description="'preset', 'start', 'baseline', 'configuration' or 'event', with the signal name."
    )


class BurgersVisibility(BaseModel):
    """Which of the lattice's perfect Burgers vectors are visible at the reflection of a verdict (g·b ≠ 0).

    One of each ± pair. All four lists are empty if unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hkl: Miller | None = Field(description="The reflection as stated; None where unknown.")
    origin: SoundText | None = Field(description="Who stated it: 'preset' or 'start:FIELD'.")
    lattice: SoundText | None = Field(
        default=None, description="The lattice, e.g. 'bcc'; None where unknown, and in older records, which mean fcc."
    )
    seen: tuple[Miller, ...] = Field(
        default=(), description="Visible Burgers directions, g·b ≠ 0: whole numbers along the lattice's three axes."
    )
    blind: tuple[Miller, ...] = Field(default=(), description="Invisible Burgers directions, g·b = 0.")
    seen_vectors: tuple[SoundText, ...] = Field(
        default=(), description="Visible Burgers vectors by name, e.g. '½[111]'; none in older records: ½ of `seen`."
    )
    blind_vectors: tuple[SoundText, ...] = Field(default=(), description="The invisible ones likewise.")
    short: SoundText = Field(description="Completes 'perfect, ...' in a text.")
    statement: SoundText = Field(description="The same in full, with every direction; or why it is unknown.")

    @property
    def known(self) -> bool:
        """Whether reflection and lattice, and with them the lists, are known."""
        return bool(self.seen)

    @property
    def seen_along(self) -> str:
        """The visible directions in brackets, e.g. ``[1-10] [10-1]``; hexagonal ones with four indices."""
        return _along(self.seen_vectors, self.seen)

    @property
    def blind_along(self) -> str:
        """The invisible directions likewise."""
        return _along(self.blind_vectors, self.blind)

    @classmethod
    def unknown(cls, reason: str, *, origin: str | None = None, hkl: Miller | None = None) -> BurgersVisibility:
        """Say that it is unknown, and why."""
        short = "as far as its reflection sees: which Burgers directions is unknown"
        return cls(hkl=hkl, origin=origin, short=short, statement=f"what this verdict excludes is unknown: {reason}")


class ScreeningResult(BaseModel):
    """The final record of a run, as stored, published and shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_uid: SoundText
    scan_id: int | None
    revision: int = Field(ge=1)
    verdict: Verdict
    frames_expected: int | None
    frames_received: int
    quality: Quality | None
    geometry_origins: tuple[GeometryOrigin, ...] = ()
    burgers: BurgersVisibility | None = Field(
        default=None, description="What the verdict excludes; None where no network ran, and in older records."
    )
    trained_for: TrainedFor | None = Field(
        default=None, description="Whether the model was trained for this crystal; None as for `burgers`."
    )
    sample: SoundText | None = Field(default=None, description="Sample name from the start document.")
    position: dict[SoundText, FiniteFloat] = Field(default_factory=dict, description="Sample motors, e.g. {'x': 1.2}.")
    truth: SoundText | None = Field(default=None, description="Simulated truth where the start document carries it.")
    started_at: FiniteFloat = Field(description="start.time, seconds since the epoch.")
    finished_at: FiniteFloat = Field(description="Wall clock when the verdict was made, seconds since the epoch.")
    latency_s: FiniteFloat = Field(description="Last document of the run to verdict, monotonic clock, seconds.")
    stage_seconds: dict[str, FiniteFloat] = Field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """The verdict in words; for "perfect" with its limits, as a reflection doesn't show every dislocation."""
        return _in_words(self)

    @property
    def training_note(self) -> str | None:
        """What is to be said where a class stands though the model wasn't, or may not be, trained for the crystal."""
        return _training_note(self)

    @property
    def region_statement(self) -> str | None:
        """How far from the centre "perfect" excludes lines, or that this isn't known; None for other classes."""
        return region_statement(self.verdict)

    @property
    def region_radius(self) -> float | None:
        """Radius within which "perfect" excludes lines over the cube root of the volume; None where it isn't known."""
        return None if self.verdict.region is None else self.verdict.region.radius

    @property
    def blind_directions(self) -> int | None:
        """Number of the lattice's Burgers directions with g·b = 0 at this reflection, None if unknown."""
        return len(self.burgers.blind) if self.burgers is not None and self.burgers.known else None

    @property
    def completeness(self) -> float | None:
        """Received over expected frames, or None where the expected number is unknown."""
        if not self.frames_expected:
            return None
        return self.frames_received / self.frames_expected

    @property
    def card(self) -> VerdictCard:
        """What a notebook shows of it."""
        stated = self.frames_expected if self.frames_expected is not None else "an unknown number"
        notes = "; ".join(self.quality.flags) if self.quality is not None else ""
        return _card(
            self,
            ("frames", f"{self.frames_received} of {stated}"),
            ("notes", notes),
            ("sample", self.sample or ""),
            ("run", _run(self.run_uid, self.scan_id)),
        )

    def _repr_html_(self) -> str:
        return self.card.html()


class ProvisionalVerdict(BaseModel):
    """Provisional verdict on a run in progress, as if it ended now; never stored, replaced by the final record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_uid: SoundText
    scan_id: int | None
    verdict: Verdict
    frames_expected: int = Field(gt=0)
    frames_received: int = Field(gt=0)
    burgers: BurgersVisibility | None = Field(default=None, description="As in the record.")
    trained_for: TrainedFor | None = Field(default=None, description="As in the record.")
    sample: SoundText | None = None
    started_at: FiniteFloat = Field(description="start.time, seconds since the epoch.")
    made_at: FiniteFloat = Field(description="Wall clock when it was made, seconds since the epoch.")
    seconds: FiniteFloat = Field(ge=0.0, description="What making it took, monotonic clock.")

    @property
    def in_words(self) -> str:
        """The verdict in words, as for a record, with the fraction of the scan it is based on."""
        share = self.frames_received / self.frames_expected
        return f"{_in_words(self)}, after {share:.0%} of the frames"

    @property
    def card(self) -> VerdictCard:
        """What a notebook shows of it."""
        return _card(
            self,
            ("frames", f"{self.frames_received} of {self.frames_expected}, scan in progress"),
            ("sample", self.sample or ""),
            ("run", _run(self.run_uid, self.scan_id)),
        )

    def _repr_html_(self) -> str:
        return self.card.html()


LiveRecord = ScreeningResult | ProvisionalVerdict | UnrecordedRun
"""What is published live: records of ended runs, provisional verdicts on runs in progress, runs without a record."""


def _in_words(record: ScreeningResult | ProvisionalVerdict) -> str:
    verdict, burgers = record.verdict, record.burgers
    label = verdict.label
    if label == PERFECT:
        region = "how far from the centre is unknown" if verdict.region is None else verdict.region.short
        label = f"{label}, {'as far as its reflection sees' if burgers is None else burgers.short}; {region}"
    if label is not None and record.trained_for is not None and record.trained_for.answer == "no":
        label = f"{label} (by a model not trained for this crystal)"
    if label is None or verdict.headline == verdict.label:
        return label or verdict.headline
    return f"{verdict.headline}: {label}"


def _card(record: ScreeningResult | ProvisionalVerdict, *facts: tuple[str, str]) -> VerdictCard:
    """Return the verdict's card with the record's facts; those without a value are left out."""
    card = record.verdict.card
    facts = (*_sight(record.burgers), ("training", _training_note(record) or ""), *facts)
    added = tuple((what, value) for what, value in facts if value)
    return replace(card, headline=record.in_words.replace("_", " "), rows=(*card.rows, *added))


def _training_note(record: ScreeningResult | ProvisionalVerdict) -> str | None:
    trained = record.trained_for
    if trained is None or trained.answer == "yes" or trained.statement in (record.verdict.reason or ""):
        return None
    return trained.statement


def _sight(burgers: BurgersVisibility | None) -> tuple[tuple[str, str], ...]:
    if burgers is None:
        return ()
    if not burgers.known:
        return (("can't see", burgers.statement),)
    return (("sees b along", burgers.seen_along), ("can't see b along", burgers.blind_along))


def _along(vectors: tuple[str, ...], numerators: tuple[Miller, ...]) -> str:
    return " ".join([vector[vector.find("[") :] for vector in vectors] or [f"[{indices(one)}]" for one in numerators])


def _run(run_uid: str, scan_id: int | None) -> str:
    return run_uid if scan_id is None else f"{run_uid} (scan {scan_id})"


@dataclass(frozen=True, slots=True)
class ScreeningReport:
    """A result with the arrays that the page and the store may keep.

    Attributes
    ----------
    rocking_curve
        (N, 2) float64 in scan order: readback of the scanned circle in degrees, without the geometry's offset, and
        summed counts of the frame; NaN where a frame is absent. None where no curve could be assembled.
    """

    result: ScreeningResult
    model_input: ModelInput | None
    rocking_curve: NDArray[np.float64] | None = None
