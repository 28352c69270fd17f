"""The rule that turns a map of scores into ordered or not, as numbers: part of an order bundle's manifest."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from braggwatch.sim.errors import InputError

FIELDS = ("score", "spread", "superlattice", "planes", "pairs")
"""Maps that inputs are made of: log odds, their spread over members, and `braggwatch.models.apt.modulation`."""

INPUTS = (
    *("score/0", "score/0.5", "score/0.8", "score/1.3", "score/2.2", "score/max3", "score/max5", "score/max7"),
    "spread/0.8",
    *("superlattice/0.5", "superlattice/0.8", "superlattice/1.3", "superlattice/2.2"),
    *("superlattice/max3", "superlattice/max5", "superlattice/max7"),
    *("planes/0.8", "planes/1.3", "planes/2.2", "planes/4", "planes/max7", "planes/min7", "pairs/2.2"),
)
"""Inputs that a rule is fitted with."""

_INPUT = re.compile(rf"({'|'.join(FIELDS)})/(?:(\d+(?:\.\d+)?)|(max|min)(\d+))")


class RuleInput(BaseModel):
    """One input: a map, smoothed by a Gaussian of some voxels, or the extreme of the smoothed map in a cube."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    smoothing_voxels: float
    extreme: str | None
    cube_voxels: int

    @classmethod
    def parse(cls, text: str) -> RuleInput:
        """Read e.g. ``score/0.8`` (smoothed by 0.8 voxels) or ``planes/min7`` (least in a cube of 7, smoothed by 0.8).

        Raises
        ------
        InputError
            If it is of another form.
        """
        match = _INPUT.fullmatch(text)
        if match is None:
            raise InputError(f"{text!r} is no input of a rule, like 'score/0.8' or 'planes/min7' of {FIELDS}")
        field, sigma, extreme, edge = match.groups()
        return cls(
            field=field,
            smoothing_voxels=0.8 if sigma is None else float(sigma),
            extreme=extreme,
            cube_voxels=1 if edge is None else int(edge),
        )


class OrderRule(BaseModel):
    """A network of one hidden layer over what is around a voxel; its log odds are cut at ``threshold``.

    A cube's map mixes what it holds, so scores fall off over a cube's width from a precipitate's inside to the matrix,
    and how high they stand inside depends on the data: on blur, losses, composition. One threshold of scores is
    therefore wrong by data and by size. The rule was fitted to simulated volumes of known truth, so its log odds mean
    what they say, and the threshold needs no data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[str, ...] = Field(min_length=1, description="See `RuleInput.parse`.")
    middle: tuple[FiniteFloat, ...] = Field(description="Subtracted from the inputs.")
    scale: tuple[FiniteFloat, ...] = Field(description="What they are divided by then.")
    hidden: tuple[tuple[FiniteFloat, ...], ...] = Field(description="Weights (units, inputs) of the tanh layer.")
    hidden_bias: tuple[FiniteFloat, ...]
    out: tuple[FiniteFloat, ...] = Field(description="Weights of the units in the log odds.")
    out_bias: FiniteFloat
    threshold: FiniteFloat = Field(
        default=0.0, description="Log odds above which a voxel is ordered; 0: more likely than not."
    )
    volumes: int = Field(default=0, ge=0, description="Simulated volumes that it was fitted to.")
    tested_volumes: int = Field(default=0, ge=0, description="Other ones, that the next figures are of.")
    precision: FiniteFloat | None = Field(default=None, ge=0, le=1, description="Of voxels said to be ordered.")
    recall: FiniteFloat | None = Field(default=None, ge=0, le=1, description="Of ordered voxels.")
    calibration_error: FiniteFloat | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Mean difference of said and true ordered fraction in bins of probability.",
    )

    @model_validator(mode="after")
    def _fits(self) -> OrderRule:
        for text in self.inputs:
            RuleInput.parse(text)
        units = len(self.hidden)
        sizes = {len(self.middle), len(self.scale), *(len(row) for row in self.hidden)}
        if units == 0 or sizes != {len(self.inputs)} or len(self.hidden_bias) != units or len(self.out) != units:
            raise ValueError(f"weights of {units} units don't fit {len(self.inputs)} inputs")
        if min(self.scale) <= 0:
            raise ValueError("scales must be positive")
        return self
