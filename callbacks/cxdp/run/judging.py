"""The one place where a verdict on a rocking curve is asked for: of ended runs, on their way, on a CPU or a device."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from braggwatch.callbacks.cxdp.records import ModelInput
from braggwatch.callbacks.cxdp.run.reflection import StatedReflection
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.cxdp.classifier import Classifier, DeviceClassifier
from braggwatch.models.cxdp.training_domain import TrainedFor, trained_for
from braggwatch.models.valid_text import sound_text
from braggwatch.models.verdict import Outcome, Verdict

_JUDGED = (Outcome.CLASSIFIED, Outcome.UNSURE, Outcome.OUT_OF_DISTRIBUTION)


@runtime_checkable
class OfABundle(Protocol):
    """A classifier that says what bundle it was made from, and so what it was trained for."""

    @property
    def bundle(self) -> Bundle:
        """What it was made from."""
        ...


class CurveJudge:
    """Asks a classifier for verdicts, and withholds those on crystals that its bundle wasn't trained for.

    Such a verdict is ``out_of_distribution``, with the reason; probabilities are kept. Where it isn't known whether
    the bundle was trained for a crystal, the verdict stands, and `TrainedFor` says so.

    Parameters
    ----------
    allow_untrained
        Let those verdicts stand too; `TrainedFor` then says what they are.
    """

    def __init__(self, classifier: Classifier, *, allow_untrained: bool = False) -> None:
        self._classifier = classifier
        self._allow_untrained = allow_untrained

    def __call__(self, model_input: ModelInput, reflection: StatedReflection) -> tuple[Verdict, TrainedFor | None]:
        """Judge one model input.

        Returns
        -------
        The verdict, and whether the bundle was trained for this lattice and reflection: None if no network ran or the
        classifier isn't one of a bundle.
        """
        classifier = self._classifier
        if model_input.batch is not None and isinstance(classifier, DeviceClassifier):
            verdict = classifier.classify_on_device(model_input.intensity, model_input.batch)
        else:
            verdict = classifier.classify(model_input.intensity)
        if verdict.outcome not in _JUDGED or not isinstance(classifier, OfABundle):
            return verdict, None
        trained = trained_for(classifier.bundle.manifest, reflection.lattice, reflection.hkl)
        if trained.answer == "no" and not self._allow_untrained:
            verdict = _withheld(verdict, trained.statement)
        return verdict, trained


def _withheld(verdict: Verdict, statement: str) -> Verdict:
    reasons = [statement]
    if verdict.outcome is Outcome.OUT_OF_DISTRIBUTION and verdict.reason:
        reasons.append(verdict.reason)
    reason = sound_text("; ".join(reasons))
    return verdict.model_copy(update={"outcome": Outcome.OUT_OF_DISTRIBUTION, "label": None, "reason": reason})
