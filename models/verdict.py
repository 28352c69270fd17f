"""What Braggwatch says of one coherent X-ray diffraction pattern."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from braggwatch.models.valid_text import SoundText
from braggwatch.models.verdict_html import Tone, VerdictCard, percent


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
