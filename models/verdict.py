"""What Braggwatch says of one coherent X-ray diffraction pattern."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from braggwatch.models.valid_text import SoundText
from braggwatch.models.verdict_html import Tone, VerdictCard, percent

PERFECT = "perfect"
"""The class of a crystal in which nothing was seen: it says no more than can be seen."""


class Outcome(StrEnum):
    """How the judgement of one run ended. Only ``classified`` and ``partial`` may name a class."""

    CLASSIFIED = "classified"
    UNSURE = "unsure"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    PARTIAL = "partial"
    INVALID = "invalid"
    ABORTED = "aborted"
    TIMEOUT = "timeout"
    ERROR = "error"

    @property
    def words(self) -> str:
        """The outcome as a person writes it, e.g. ``out of distribution``."""
        return self.value.replace("_", " ")


class ModelIdentity(BaseModel):
    """Which model spoke: a verdict never travels without it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Bundle name, e.g. 'cxdp-fcc'.")
    version: str = Field(description="Bundle version, e.g. '1.0.0'.")
    sha256: str = Field(description="SHA-256 of model.onnx, hexadecimal.")
    runtime: str = Field(description="What ran it, e.g. 'onnxruntime-cpu'.")

    @property
    def id(self) -> str:
        """Name and version in one word, e.g. ``cxdp-fcc/1.0.0``."""
        return f"{self.name}/{self.version}"


class PerfectRegion(BaseModel):
    """Where a verdict of ``perfect`` excludes dislocations: a ball about the particle's centre."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    radius: FiniteFloat = Field(gt=0.0, description="Its radius over the cube root of the particle's volume.")
    share: FiniteFloat = Field(gt=0.0, lt=1.0, description="Share of visible lines in it that were found in tests.")

    @property
    def short(self) -> str:
        """What completes ``perfect, ...``, e.g. ``within 0.30 of the size from the centre``."""
        return f"within {self.radius:.2f} of the size from the centre"

    @property
    def statement(self) -> str:
        """The same in full."""
        return (
            f"no line of the seen Burgers directions {self.short} (at least {self.share:.0%} of such lines were "
            "found in tests); further out it can't tell"
        )


REGION_UNKNOWN = "how far from the centre this model finds lines is not known: a line near the rim may be missed"
"""What stands in place of a region's statement where the bundle has none."""


def region_statement(verdict: Verdict) -> str | None:
    """Say where a verdict of ``perfect`` excludes lines; None for any other."""
    if verdict.label != PERFECT:
        return None
    return REGION_UNKNOWN if verdict.region is None else verdict.region.statement


_TONES: dict[Outcome, Tone] = {
    Outcome.CLASSIFIED: "named",
    Outcome.PARTIAL: "caution",
    Outcome.UNSURE: "caution",
    Outcome.OUT_OF_DISTRIBUTION: "caution",
}


class Verdict(BaseModel):
    """An immutable judgement with its uncertainty.

    Probabilities are calibrated (temperature scaling) and sum to one; they are present whenever a network ran,
    also where the outcome is not a class, so that a user can see what was set aside.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Outcome
    label: SoundText | None = Field(
        default=None, description="The class, e.g. 'perfect'; none unless it may be trusted."
    )
    reason: SoundText | None = Field(default=None, description="Why there is no class, in words for an operator.")
    probabilities: dict[str, FiniteFloat] = Field(default_factory=dict)
    confidence: FiniteFloat | None = Field(default=None, ge=0.0, le=1.0)
    prediction_set: tuple[str, ...] = Field(
        default=(), description="Class-conditional conformal set: every class that can't be ruled out."
    )
    p_values: dict[str, FiniteFloat] = Field(default_factory=dict)
    ood_score: FiniteFloat | None = Field(default=None, description="Mahalanobis distance of the features.")
    ood_threshold: FiniteFloat | None = None
    flip_spread: FiniteFloat | None = Field(
        default=None, description="Standard deviation of the label's probability over the symmetry copies."
    )
    model: ModelIdentity | None = None
    region: PerfectRegion | None = Field(
        default=None, description="Where 'perfect' excludes lines; none for other classes, and where it isn't known."
    )
    prior: dict[str, FiniteFloat] | None = Field(
        default=None, description="The site's share of each class, where probabilities are weighted by it."
    )

    @model_validator(mode="after")
    def _class_only_where_allowed(self) -> Verdict:
        if self.label is not None and self.outcome not in (Outcome.CLASSIFIED, Outcome.PARTIAL):
            raise ValueError(f"outcome {self.outcome} must not carry a class")
        if self.outcome is Outcome.CLASSIFIED and (self.label is None or self.model is None):
            raise ValueError("a classified verdict needs a class and a model identity")
        if self.label is None and self.outcome is not Outcome.CLASSIFIED and not self.reason:
            raise ValueError(f"outcome {self.outcome} needs a reason")
        return self

    @property
    def headline(self) -> str:
        """One word for a table or a PV: the class where there is one, else the outcome."""
        if self.outcome is Outcome.CLASSIFIED and self.label is not None:
            return self.label
        return self.outcome.value

    @property
    def card(self) -> VerdictCard:
        """What a notebook shows of it."""
        rows = [
            ("outcome", self.outcome.words),
            ("class", self.label),
            ("confidence", None if self.confidence is None else percent(self.confidence)),
            ("reason", self.reason),
            ("excludes", region_statement(self)),
            ("prior", None if self.prior is None else ", ".join(f"{k} {v:.2g}" for k, v in self.prior.items())),
            ("can't rule out", " or ".join(self.prediction_set) if len(self.prediction_set) > 1 else None),
            ("distance from training", self._distance),
            ("model", None if self.model is None else f"{self.model.id} on {self.model.runtime}"),
        ]
        return VerdictCard(
            headline=self.headline.replace("_", " "),
            tone=_TONES.get(self.outcome, "none"),
            shares=self.probabilities,
            rows=tuple((what, value) for what, value in rows if value is not None),
        )

    def _repr_html_(self) -> str:
        return self.card.html()

    @property
    def _distance(self) -> str | None:
        if self.ood_score is None or self.ood_threshold is None:
            return None
        return f"{self.ood_score:.1f} (limit {self.ood_threshold:.1f})"

    @classmethod
    def without_class(cls, outcome: Outcome, reason: str) -> Verdict:
        """Build a verdict that names no class, with the reason an operator reads."""
        return cls(outcome=outcome, reason=reason)
