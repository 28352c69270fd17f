"""The worst mistakes of an evaluation, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.cxdp.groups import family
from braggwatch.models.cxdp.predictions import NO_ARTEFACT, Prediction
from braggwatch.models.verdict import Outcome

_MISTAKES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Mistake:
    """A pattern whose most probable class is wrong.

    Attributes
    ----------
    truth, said, confidence
        True class, most probable class, and its probability.
    outcome
        Of the verdict: only 'classified' ones were told to a user.
    facts
        What is known of the pattern, in words.
    picture
        Central slices as PNG, base64; '' where there is none.
    """

    truth: str
    said: str
    confidence: float
    outcome: str
    configuration: str
    facts: str
    picture: str = ""


def worst_mistakes(
    judged: Sequence[Prediction], probabilities: NDArray[np.float64], right: Sequence[bool], classes: Sequence[str]
) -> tuple[Mistake, ...]:
    """Return the most probable classes that are wrong: the named ones first, the surest of them foremost."""
    wrong = [
        Mistake(
            truth=one.label,
            said=classes[int(row.argmax())],
            confidence=float(row.max()),
            outcome=one.outcome.value,
            configuration=one.configuration,
            facts=_facts(one),
            picture=one.picture or "",
        )
        for one, row, mark in zip(judged, probabilities, right, strict=True)
        if not mark
    ]
    wrong.sort(key=lambda one: (one.outcome == Outcome.CLASSIFIED.value, one.confidence), reverse=True)
    return tuple(wrong[:_MISTAKES_SHOWN])


def _facts(one: Prediction) -> str:
    known = (
        one.element,
        None if one.hkl is None else family(one.hkl),
        f"{one.peak_counts:.1e} counts",
        None if one.g_dot_b is None else f"|g·b| {abs(one.g_dot_b):.2g}",
        None if one.line_offset is None else f"line at {one.line_offset:.2f}",
        None if one.completeness is None or one.completeness >= 1.0 else f"{one.completeness:.0%} of the frames",
        None if one.strain_rad is None else f"strain {one.strain_rad:.2g} rad",
        None if one.aspect is None else f"aspect {one.aspect:.2g}",
        f"blur {one.blur_fringes:.2g} fringes" if one.blur_fringes else None,
        None if one.artefact in (None, NO_ARTEFACT) else one.artefact.replace("_", " "),
        one.source,
    )
    return ", ".join(fact for fact in known if fact)
