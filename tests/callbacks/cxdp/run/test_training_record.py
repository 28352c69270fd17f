"""A crystal that the bundle wasn't trained for gets no class silently, live, on its way, offline and on a device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from braggwatch.callbacks.cxdp.records import ModelInput, ScreeningResult
from braggwatch.callbacks.cxdp.run.judging import CurveJudge
from braggwatch.callbacks.cxdp.run.provisional import ProvisionalScreening
from braggwatch.callbacks.cxdp.run.reflection import StatedReflection
from braggwatch.callbacks.cxdp.screening_callback import ScreeningCallback
from braggwatch.models.verdict import ModelIdentity, Outcome, Verdict
from braggwatch.services.cxdp.recorded_runs import screen_documents
from braggwatch.services.recording.recordings import RecordedDocument
from braggwatch.sim.crystallography.stated_lattice import stated_lattice
from support.trained_manifest import FCC_METALS, manifest_for

GOLD = {"material": "Au", "hkl": (1, 1, 1)}
TUNGSTEN = {"material": "W", "hkl": (1, 1, 0)}
OUTSIDE = "the crystal is bcc, cxdp-test/1.0.0 was trained for fcc alone"
IDENTITY = ModelIdentity(name="cxdp-test", version="1.0.0", sha256="0" * 64, runtime="none")
SCREW = Verdict(
    outcome=Outcome.CLASSIFIED,
    label="screw",
    probabilities={"perfect": 0.02, "screw": 0.97, "edge": 0.01},
    confidence=0.97,
    model=IDENTITY,
)


class TrainedClassifier:
    """Answers alike always, and is of a bundle that was trained for fcc metals."""

    identity = IDENTITY

    def __init__(self, answer: Verdict = SCREW) -> None:
        self.answer = answer
        self.bundle = SimpleNamespace(manifest=manifest_for(**FCC_METALS))
        self.on_device = 0

    def classify(self, intensity: np.ndarray) -> Verdict:
        return self.answer

    def classify_on_device(self, intensity: np.ndarray, batch: object) -> Verdict:
        self.on_device += 1
        return self.answer


@pytest.fixture
def judged(scan, bench_of, preset_with):
    """Screen one scan of a crystal; the record."""

    def run(crystal, classifier=None, **choices) -> ScreeningResult:
        preset = preset_with(**crystal)
        reports = []
        callback = ScreeningCallback(
            preset, bench_of(preset).preprocessor, classifier or TrainedClassifier(), reports.append, **choices
        )
        for name, doc in scan.inline():
            callback(name, doc)
        callback.flush()
        return reports[0].result

    return run


def test_a_crystal_that_was_trained_keeps_its_class_without_a_note(judged):
    result = judged(GOLD)
    assert result.verdict == SCREW
    assert result.trained_for.answer == "yes"
    assert result.training_note is None
    assert result.in_words == "screw"


def test_another_lattice_gets_no_class_and_the_reason(judged):
    result = judged(TUNGSTEN)
    assert result.verdict.outcome is Outcome.OUT_OF_DISTRIBUTION
    assert result.verdict.label is None
    assert result.verdict.reason == OUTSIDE
    assert result.verdict.probabilities == SCREW.probabilities, "to see what was set aside"
    assert result.trained_for.answer == "no"
    assert result.burgers.lattice == "bcc"


def test_another_reflection_gets_no_class_and_the_reason(judged):
    result = judged({"material": "Au", "hkl": (2, 2, 2)})
    assert result.verdict.outcome is Outcome.OUT_OF_DISTRIBUTION
    assert "the reflection 222 is {222} of fcc" in result.verdict.reason
    assert "{111}, {200}, {220} and {311} alone" in result.verdict.reason


def test_where_it_is_allowed_the_class_stands_and_is_marked(judged):
    result = judged(TUNGSTEN, allow_untrained=True)
    assert result.verdict == SCREW
    assert result.training_note == OUTSIDE
    assert result.in_words == "screw (by a model not trained for this crystal)"
    assert ("training", OUTSIDE) in result.card.rows


def test_a_crystal_of_which_nothing_is_stated_is_judged_as_before_and_noted(judged):
    result = judged({})
    assert result.verdict == SCREW
    assert result.trained_for.answer == "unknown"
    assert result.training_note.startswith("not known whether cxdp-test/1.0.0 was trained for this")
    assert result.in_words == "screw"


def test_a_networks_own_refusal_keeps_its_reason(judged):
    strange = SCREW.model_copy(update={"outcome": Outcome.OUT_OF_DISTRIBUTION, "label": None, "reason": "a blur"})
    assert judged(TUNGSTEN, TrainedClassifier(strange)).verdict.reason == f"{OUTSIDE}; a blur"


def test_what_no_network_judged_says_nothing_of_training(judged):
    broken = Verdict(outcome=Outcome.ERROR, reason="no memory")
    result = judged(TUNGSTEN, TrainedClassifier(broken))
    assert result.verdict == broken
    assert result.trained_for is None


def test_a_partial_run_of_another_lattice_has_no_class_either(scan, bench_of, preset_with):
    reports = []
    preset = preset_with(**TUNGSTEN)
    callback = ScreeningCallback(preset, bench_of(preset).preprocessor, TrainedClassifier(), reports.append)
    documents = scan.inline()
    for name, doc in [*documents[:2], *documents[3:]]:
        callback(name, doc)
    callback.flush()
    verdict = reports[0].result.verdict
    assert verdict.outcome is Outcome.PARTIAL
    assert verdict.label is None
    assert OUTSIDE in verdict.reason


@pytest.mark.parametrize("allowed", [False, True])
def test_a_provisional_verdict_goes_by_the_same_rule(allowed, scan, bench_of, preset_with):
    preset, verdicts = preset_with(**TUNGSTEN), []
    classifier, preprocessor = TrainedClassifier(), bench_of(preset_with(**TUNGSTEN)).preprocessor
    looking = ProvisionalScreening(preprocessor, classifier, verdicts.append, (0.8,), allow_untrained=allowed)
    callback = ScreeningCallback(preset, preprocessor, classifier, lambda _: None, provisional=looking)
    for name, doc in scan.inline():
        callback(name, doc)
    (one,) = verdicts
    assert (one.verdict.label, one.trained_for.answer) == ("screw" if allowed else None, "no")
    assert ("not trained for this crystal" in one.in_words) == allowed


@pytest.mark.parametrize("allowed", [False, True])
def test_recorded_runs_go_by_the_same_rule(allowed, scan, bench_of, preset_with):
    preset = preset_with(**TUNGSTEN)
    records = [RecordedDocument(float(i), name, doc) for i, (name, doc) in enumerate(scan.inline())]
    preprocessor = bench_of(preset).preprocessor
    (report,) = screen_documents(records, preset, preprocessor, TrainedClassifier(), allow_untrained=allowed)
    assert report.result.verdict.label == ("screw" if allowed else None)


def test_what_is_judged_on_a_device_goes_by_the_same_rule():
    classifier = TrainedClassifier()
    made = SimpleNamespace(intensity=np.zeros((2, 2, 2), np.float32), batch=object())
    model_input = cast("ModelInput", made)
    tungsten = StatedReflection((1, 1, 0), "preset", lattice=stated_lattice(material="W"))
    verdict, trained = CurveJudge(classifier)(model_input, tungsten)
    assert trained is not None
    assert classifier.on_device == 1
    assert (verdict.outcome, trained.answer) == (Outcome.OUT_OF_DISTRIBUTION, "no")
