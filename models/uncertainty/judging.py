"""From a network's output to a verdict: the same way for every system, whose own doubts are handed in as gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.bundling.manifest import Manifest
from braggwatch.models.runtimes.base import RuntimeOutput
from braggwatch.models.uncertainty.ood import sample_scores
from braggwatch.models.uncertainty.prior import SitePrior
from braggwatch.models.uncertainty.trust import TrustArrays
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict

_CLASSES_NAMED = 4
"""More classes that can't be ruled out than these are counted, not listed: nobody reads two dozen."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a network says of one sample, before anybody doubts it.

    Attributes
    ----------
    probabilities
        (K,) float64, mean over the symmetry copies, weighted by a site's prior where there is one; sum 1.
    best
        Index of the most probable class.
    confidence
        Its probability.
    members
        Indices of the classes that can't be ruled out, whatever the prior.
    p_values
        (K,) float64, conformal; each is conditional on its class, so no prior changes it.
    ood_score
        Distance of the features from the training data.
    outlier_score
        Log odds of what the network learnt to refuse; None where it was shown nothing of the kind.
    flip_spread
        Standard deviation of the best class's probability over the symmetry copies.
    """

    probabilities: NDArray[np.float64]
    best: int
    confidence: float
    members: tuple[int, ...]
    p_values: NDArray[np.float64]
    ood_score: float
    outlier_score: float | None
    flip_spread: float

    @classmethod
    def of(
        cls, output: RuntimeOutput, manifest: Manifest, trust: TrustArrays, prior: SitePrior | None = None
    ) -> Answer:
        """Average one sample's symmetry copies and compare them with the calibration.

        Parameters
        ----------
        output
            Of A copies of one sample, finite.
        prior
            A site's own; None: the calibration's.
        """
        per_copy = output.probabilities.astype(np.float64)
        mean = per_copy.mean(axis=0)
        mean = mean / mean.sum()
        stated = mean if prior is None else prior.applied(mean)
        spread = per_copy if prior is None else prior.applied(per_copy)
        best = int(stated.argmax())
        return cls(
            probabilities=stated,
            best=best,
            confidence=min(float(stated[best]), 1.0),
            members=trust.conformal.prediction_set(mean, manifest.thresholds.significance),
            p_values=trust.conformal.p_values(mean),
            ood_score=float(sample_scores(trust.detector, output.features[None])[0]),
            outlier_score=None
            if trust.outlier_head is None
            else float(trust.outlier_head.score(output.logits, output.features)),
            flip_spread=float(spread[:, best].std()),
        )


Gate = Callable[[Answer], str | None]
"""Why a sample is unlike what a class may be named of, in words for an operator; None where nothing speaks against."""


def distance_gate(manifest: Manifest) -> Gate:
    """Return the gate that asks how far the features are from the training data's."""
    limit = manifest.thresholds.ood

    def gate(answer: Answer) -> str | None:
        if answer.ood_score > limit:
            return f"unlike the training data (distance {answer.ood_score:.2f}, at most {limit:.2f})"
        return None

    return gate


def judged(
    answer: Answer,
    manifest: Manifest,
    gates: Sequence[Gate],
    identity: ModelIdentity,
    *,
    doubts: Sequence[Gate] = (),
    prior: SitePrior | None = None,
) -> Verdict:
    """Return the verdict on one sample.

    Parameters
    ----------
    gates
        Asked in this order; the first reason makes the verdict ``out_of_distribution``. What passes them all is
        ``unsure`` below the confidence threshold, and where the conformal set isn't the best class alone.
    doubts
        Asked after the gates; the first reason makes the verdict ``unsure``.
    prior
        That the answer was weighted by.
    """
    outcome, reason = _outcome(answer, manifest, gates, doubts)
    classes = manifest.classes
    return Verdict(
        outcome=outcome,
        label=classes[answer.best] if outcome is Outcome.CLASSIFIED else None,
        reason=reason,
        probabilities={name: float(value) for name, value in zip(classes, answer.probabilities, strict=True)},
        confidence=answer.confidence,
        prediction_set=tuple(classes[number] for number in answer.members),
        p_values={name: float(value) for name, value in zip(classes, answer.p_values, strict=True)},
        ood_score=answer.ood_score,
        ood_threshold=manifest.thresholds.ood,
        flip_spread=answer.flip_spread,
        model=identity,
        prior=None if prior is None else prior.shares,
    )


def _outcome(
    answer: Answer, manifest: Manifest, gates: Sequence[Gate], doubts: Sequence[Gate]
) -> tuple[Outcome, str | None]:
    for gate in gates:
        reason = gate(answer)
        if reason is not None:
            return Outcome.OUT_OF_DISTRIBUTION, reason
    for doubt in doubts:
        reason = doubt(answer)
        if reason is not None:
            return Outcome.UNSURE, reason
    classes, asked = manifest.classes, manifest.thresholds.confidence
    if answer.confidence < asked:
        name = classes[answer.best]
        return Outcome.UNSURE, f"{name} at {answer.confidence:.2f}, at least {asked:.2f} is asked for"
    if not answer.members:
        return Outcome.UNSURE, "no class fits the calibration samples"
    if answer.members != (answer.best,):
        named = " or ".join(classes[number] for number in answer.members)
        many = len(answer.members) > _CLASSES_NAMED
        return (
            Outcome.UNSURE,
            f"can't rule out {f'{len(answer.members)} of {len(classes)} classes' if many else named}",
        )
    return Outcome.CLASSIFIED, None
