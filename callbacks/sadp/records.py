"""What is told of a live stream of diffraction patterns: each pattern, each particle so far, each run at its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.models.sadp.crystal_card import crystal_card, zone_text
from braggwatch.models.sadp.groups import Zone
from braggwatch.models.sadp.measured import MeasuredPattern
from braggwatch.models.valid_text import SoundText
from braggwatch.models.verdict import ModelIdentity, Outcome
from braggwatch.models.verdict_html import VerdictCard, percent


class SetAside(StrEnum):
    """Why a pattern says nothing of its particle: a closed set, for counters; the record's reason says it in words."""

    BLANK = "blank"
    SATURATED = "saturated"
    NOT_FINITE = "not_finite"
    SHAPE = "shape"
    CALIBRATION = "calibration"
    TOO_FEW_SPOTS = "too_few_spots"
    RINGS = "rings"
    NO_FRIEDEL_SYMMETRY = "no_friedel_symmetry"
    OFF_ZONE = "off_zone"
    OFF_LATTICE = "off_lattice"
    NO_KNOWN_ZONE = "no_known_zone"
    UNLIKE_TRAINING = "unlike_training"
    UNREADABLE = "unreadable"
    LIMIT = "limit"
    NO_MODEL = "no_model"
    ERROR = "error"


class CrystalSoFar(BaseModel):
    """P(space group) of one particle after some patterns; even odds before the first usable one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patterns: int = Field(ge=0, description="Usable patterns.")
    visits: int = Field(ge=0, description="Zone visits they are of; patterns of one visit share one vote.")
    product: dict[str, FiniteFloat] = Field(description="P(space group) by the normalised product over visits.")
    mean: dict[str, FiniteFloat] = Field(description="P(space group) by the mean over visits (Ra et al. 2021).")

    @property
    def best(self) -> tuple[str, float] | None:
        """The most probable group by the product, with its probability; None before any usable pattern."""
        if not self.patterns or not self.product:
            return None
        group = max(self.product, key=lambda name: self.product[name])
        return group, self.product[group]


class PatternResult(BaseModel):
    """The record of one judged pattern."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_uid: SoundText
    scan_id: int | None
    stream: SoundText
    seq_num: int = Field(ge=1, description="Of its event.")
    number: int = Field(ge=1, description="Place in the order in which the run's patterns were judged.")
    particle: SoundText
    visit: SoundText | None = Field(description="Zone visit as stated; None: it is a visit of its own.")
    stated_zone: Zone | None = Field(description="Family of the zone that the plan says it tilted to.")
    outcome: Outcome
    label: SoundText | None = Field(description="Class of look-alike patterns; none unless it may be trusted.")
    reason: SoundText | None
    set_aside: SetAside | None = Field(description="None where the pattern counts for its particle.")
    confidence: FiniteFloat | None
    groups: dict[str, FiniteFloat] = Field(description="P(space group) from this pattern alone.")
    members: tuple[str, ...] = Field(description="Group and zone of the most probable class, e.g. '225 [0 1 1]'.")
    spots: int = Field(ge=0)
    cell_ratio: FiniteFloat | None = Field(description="|b| / |a| of the plane cell, at least 1.")
    cell_angle_deg: FiniteFloat | None
    unexplained_spots: FiniteFloat | None = Field(description="Share of the spots off the plane lattice.")
    residual_px: FiniteFloat | None
    inv_nm_per_px: FiniteFloat | None
    largest_spacing_nm: FiniteFloat | None = Field(
        description="1/|a|: largest plane spacing of the pattern's net; None without a calibration."
    )
    crystal: CrystalSoFar = Field(description="The particle with this pattern.")
    model: ModelIdentity | None
    run_started_at: FiniteFloat = Field(description="Time of the run's start document, seconds since the epoch.")
    judged_at: FiniteFloat = Field(description="Wall clock, seconds since the epoch.")
    latency_s: FiniteFloat = Field(description="From the arrival of its document to the verdict, monotonic clock.")

    @property
    def card(self) -> VerdictCard:
        """What a notebook shows of it: P(space group) from this pattern alone as bars."""
        rows = [
            ("outcome", self.outcome.words),
            ("class", self.label),
            ("shows", ", ".join(self.members) or None),
            ("confidence", None if self.confidence is None else percent(self.confidence)),
            ("reason", self.reason),
            ("zone stated", None if self.stated_zone is None else zone_text(self.stated_zone)),
            ("spots", str(self.spots)),
            ("particle", self.particle),
            ("model", None if self.model is None else f"{self.model.id} on {self.model.runtime}"),
            ("run", f"{self.run_uid}, pattern {self.number}"),
        ]
        named = self.set_aside is None and self.label is not None
        return VerdictCard(
            headline=self.outcome.words if self.label is None else self.label,
            tone="named" if named else "caution" if self.groups else "none",
            shares=self.groups,
            rows=tuple((what, value) for what, value in rows if value is not None),
        )

    def _repr_html_(self) -> str:
        return self.card.html()


class ParticleState(BaseModel):
    """One particle of one run as it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_uid: SoundText
    scan_id: int | None
    sample: SoundText | None
    particle: SoundText
    patterns: int = Field(ge=0, description="All that were judged.")
    set_aside: dict[str, int] = Field(description="Reason → patterns that were not usable.")
    crystal: CrystalSoFar
    zones: tuple[Zone, ...] = Field(description="Zones that the plan says it has visited.")
    next_zones: tuple[tuple[Zone, FiniteFloat], ...] = Field(
        description="Zones that would tell most, with the bits expected of them, best first."
    )
    last: PatternResult
    final: bool = Field(default=False, description="The run has ended: nothing more will come.")

    @property
    def other(self) -> int:
        """How many patterns were set aside."""
        return sum(self.set_aside.values())

    @property
    def card(self) -> VerdictCard:
        """What a notebook shows of it: P(space group) by the product as bars."""
        aside = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in self.set_aside.items() if count)
        return crystal_card(
            self.crystal.best,
            self.crystal.product,
            () if self.final else self.next_zones,
            ("particle", self.particle),
            ("patterns", f"{self.crystal.patterns} of {self.patterns} usable" + (f" ({aside})" if aside else "")),
            ("model", "none" if self.last.model is None else f"{self.last.model.id} on {self.last.model.runtime}"),
            ("run", self.run_uid if self.scan_id is None else f"{self.run_uid} (scan {self.scan_id})"),
        )

    def _repr_html_(self) -> str:
        return self.card.html()


class PatternRunEnding(StrEnum):
    """How a run of patterns ended."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    ABORTED = "aborted"
    TIMEOUT = "timeout"


class PatternRunResult(BaseModel):
    """The final record of a run: whether every pattern it promised was judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_uid: SoundText
    scan_id: int | None
    sample: SoundText | None
    ending: PatternRunEnding
    reason: SoundText | None = Field(description="Why it is not complete.")
    expected: int | None = Field(description="Events that the stop document counts; None without one.")
    judged: int = Field(ge=0)
    lost: int = Field(ge=0, description="Expected and never seen.")
    usable: int = Field(ge=0)
    set_aside: dict[str, int]
    particles: int = Field(ge=0)
    model: ModelIdentity | None
    started_at: FiniteFloat
    ended_at: FiniteFloat = Field(description="Wall clock, seconds since the epoch.")


@dataclass(frozen=True, slots=True)
class PatternReport:
    """A pattern's record with its particle, and what a picture of it is drawn from.

    Attributes
    ----------
    frame
        (rows, columns) counts as they were judged; None where none could be read.
    binning
        Pixels of the delivered frame along one side of a pixel of ``frame``.
    measured
        Its spots; None where nothing was measured.
    stage_seconds
        Time spent in ``sadp_measure`` and ``sadp_classify``.
    """

    result: PatternResult
    particle: ParticleState
    frame: NDArray[np.generic] | None
    measured: MeasuredPattern | None
    stage_seconds: dict[str, float]
    binning: int = 1


@dataclass(frozen=True, slots=True)
class PatternRunReport:
    """A run's final record, and its particles as they stand for good."""

    result: PatternRunResult
    particles: tuple[ParticleState, ...]
