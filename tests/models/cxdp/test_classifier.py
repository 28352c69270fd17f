"""A verdict names a class only where nothing speaks against it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.manifest import Manifest
from braggwatch.models.cxdp.classifier import BundleClassifier, Classifier
from braggwatch.models.cxdp.symmetry import SymmetryCopies, symmetry_batch
from braggwatch.models.runtimes import (
    GoldenMismatchError,
    InferenceError,
    OnnxRuntime,
    RuntimeCandidate,
    RuntimeOutput,
    RuntimeUnavailableError,
    open_runtime,
)
from braggwatch.models.uncertainty.outlier_head import OutlierHead
from braggwatch.models.verdict import Outcome, Verdict

Blob = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="module")
def classifier(bundle_path: Path) -> BundleClassifier:
    return BundleClassifier.load(bundle_path, threads=1)


class ScriptedRuntime:
    """Gives what a test asks for, under the name of what nothing takes over from."""

    name = "onnxruntime-cpu"
    version = "0"

    def __init__(self, give: Callable[[NDArray[np.float32]], RuntimeOutput]) -> None:
        self.give = give

    def run(self, batch: NDArray[np.float32]) -> RuntimeOutput:
        return self.give(batch)


def scripted(bundle: Bundle, probabilities: list[float], **changes: object) -> BundleClassifier:
    """A classifier whose network says the same of everything, at the mean features of the first class."""

    def give(batch: NDArray[np.float32]) -> RuntimeOutput:
        copies = len(batch)
        p = np.tile(np.array(probabilities, np.float32), (copies, 1))
        features = np.tile(bundle.trust.detector.class_means[0].astype(np.float32), (copies, 1))
        return RuntimeOutput(np.log(p), p, features)

    manifest = Manifest.model_validate({**bundle.manifest.model_dump(), **changes})
    return BundleClassifier(replace(bundle, manifest=manifest), ScriptedRuntime(give))


def test_each_class_is_named_with_its_evidence(classifier: Classifier, make_blob: Blob, parts) -> None:
    rng = np.random.default_rng(3)
    for label, name in enumerate(("perfect", "screw", "edge")):
        verdict = classifier.classify(make_blob(label, rng))
        assert verdict.outcome is Outcome.CLASSIFIED, verdict.reason
        assert verdict.label == name == verdict.headline
        assert verdict.prediction_set == (name,)
        assert sum(verdict.probabilities.values()) == pytest.approx(1.0)
        assert verdict.confidence == pytest.approx(verdict.probabilities[name])
        assert verdict.ood_score is not None
        assert verdict.ood_score < (verdict.ood_threshold or 0.0)
        assert verdict.flip_spread is not None
        assert verdict.model == classifier.identity


def test_identity_says_what_spoke(classifier: BundleClassifier, bundle_path: Path) -> None:
    assert classifier.identity.id == "blobs/1.0.0"
    assert classifier.identity.sha256 == Bundle.load(bundle_path).sha256
    assert classifier.identity.runtime == "onnxruntime-cpu"


def test_the_golden_self_test_passes_and_warm_up_leaves_no_trace(classifier: BundleClassifier) -> None:
    classifier.warm_up()
    assert classifier.self_test() < 1e-3


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda v: np.zeros_like(v), "empty"),
        (lambda v: np.where(v > 10, np.nan, v), "finite"),
        (lambda v: np.where(v > 10, np.inf, v), "finite"),
        (lambda v: v - 5, "negative"),
        (lambda v: v[:32], "shape"),
        (lambda v: v.astype(complex), "real numbers"),
        (lambda v: np.zeros((64, 64, 64), bool), "real numbers"),
    ],
)
def test_a_volume_that_cannot_be_judged_is_invalid_with_a_reason(
    classifier: BundleClassifier, make_blob: Blob, spoil: Callable[[NDArray[Any]], NDArray[Any]], words: str
) -> None:
    verdict = classifier.classify(spoil(make_blob(0, np.random.default_rng(1))))
    assert verdict.outcome is Outcome.INVALID
    assert words in str(verdict.reason)
    assert verdict.label is None


def second_peak(v: NDArray[np.float32]) -> NDArray[np.float32]:
    return v + np.roll(v, 18, axis=1)


def test_aliens_are_set_aside_with_what_is_strange(classifier: BundleClassifier, make_blob: Blob) -> None:
    rng = np.random.default_rng(2)
    good = make_blob(1, rng)
    cases = {
        "second peak": second_peak(good),
        "off the centre": np.roll(good, (9, 7, 0), (0, 1, 2)),
        "no clear peak": rng.poisson(400.0, good.shape).astype(np.float32),
        "counts": np.floor(good / 200),
    }
    for words, volume in cases.items():
        verdict = classifier.classify(volume)
        assert verdict.outcome is Outcome.OUT_OF_DISTRIBUTION, (words, verdict)
        assert words in str(verdict.reason)
        assert verdict.probabilities, "what was set aside stays visible"


def test_features_far_from_training_are_out_of_distribution(bundle_path: Path, make_blob: Blob) -> None:
    bundle = Bundle.load(bundle_path)
    loose = Manifest.model_validate(
        {
            **bundle.manifest.model_dump(),
            "thresholds": {**bundle.manifest.thresholds.model_dump(), "volume": None},
        }
    )
    classifier = BundleClassifier(replace(bundle, manifest=loose), OnnxRuntime(bundle.model, threads=1))
    verdict = classifier.classify(second_peak(make_blob(1, np.random.default_rng(2))))
    assert verdict.outcome is Outcome.OUT_OF_DISTRIBUTION
    assert "unlike the training data" in str(verdict.reason)


def test_a_class_for_aliens_is_never_named(bundle_path: Path, make_blob: Blob) -> None:
    classifier = scripted(Bundle.load(bundle_path), [0.98, 0.01, 0.01], alien_classes=("perfect",))
    verdict = classifier.classify(make_blob(0, np.random.default_rng(5)))
    assert verdict.outcome is Outcome.OUT_OF_DISTRIBUTION
    assert "perfect" in str(verdict.reason)


def test_what_the_network_learnt_to_refuse_is_never_named(bundle_path: Path, make_blob: Blob) -> None:
    bundle = Bundle.load(bundle_path)
    at = bundle.trust.detector.class_means[0]
    volume = make_blob(0, np.random.default_rng(5))
    for log_odds in (0.5, -0.5):
        head = OutlierHead(np.zeros_like(at), log_odds)
        shown = replace(bundle, trust=replace(bundle.trust, outlier_head=head))
        thresholds = {**bundle.manifest.thresholds.model_dump(), "foreign": 0.0}
        verdict = scripted(shown, [0.98, 0.01, 0.01], thresholds=thresholds).classify(volume)
        assert (verdict.outcome is Outcome.OUT_OF_DISTRIBUTION) == (log_odds > 0)
        assert ("something else than perfect or screw or edge" in str(verdict.reason)) == (log_odds > 0)
        assert verdict.probabilities, "what was set aside stays visible"


def test_low_confidence_and_wide_sets_are_unsure(bundle_path: Path, make_blob: Blob) -> None:
    bundle = Bundle.load(bundle_path)
    volume = make_blob(0, np.random.default_rng(5))
    low = scripted(bundle, [0.5, 0.3, 0.2]).classify(volume)
    assert low.outcome is Outcome.UNSURE
    assert "perfect at 0.50" in str(low.reason)
    assert low.confidence == pytest.approx(0.5)

    wide = scripted(
        bundle, [0.9, 0.05, 0.05], thresholds={**bundle.manifest.thresholds.model_dump(), "significance": 1e-6}
    )
    verdict = wide.classify(volume)
    assert verdict.outcome is Outcome.UNSURE
    assert verdict.prediction_set == ("perfect", "screw", "edge")
    assert "can't rule out" in str(verdict.reason)

    nothing = scripted(
        bundle, [0.8, 0.1, 0.1], thresholds={**bundle.manifest.thresholds.model_dump(), "significance": 0.9}
    )
    verdict = nothing.classify(volume)
    assert verdict.outcome is Outcome.UNSURE
    assert verdict.prediction_set == ()


def test_a_network_that_fails_is_an_error_not_a_crash(bundle_path: Path, make_blob: Blob) -> None:
    bundle = Bundle.load(bundle_path)
    volume = make_blob(0, np.random.default_rng(5))
    verdict = scripted(bundle, [np.nan, 0.5, 0.5]).classify(volume)
    assert verdict.outcome is Outcome.ERROR
    assert "not finite" in str(verdict.reason)

    def fail(_: NDArray[np.float32]) -> RuntimeOutput:
        raise InferenceError("the device went away")

    verdict = BundleClassifier(bundle, ScriptedRuntime(fail)).classify(volume)
    assert verdict.outcome is Outcome.ERROR
    assert "went away" in str(verdict.reason)


@pytest.mark.parametrize("copies", [1, 2, 4, 8])
def test_any_number_of_mirror_images_gives_the_same_class(
    bundle_path: Path, make_blob: Blob, copies: SymmetryCopies
) -> None:
    classifier = BundleClassifier.load(bundle_path, threads=1, copies=copies)
    verdict = classifier.classify(make_blob(2, np.random.default_rng(9)))
    assert verdict.label == "edge"
    if copies == 1:
        assert verdict.flip_spread == 0.0


def test_threads_may_share_a_classifier(classifier: BundleClassifier, make_blob: Blob) -> None:
    rng = np.random.default_rng(11)
    volumes = [make_blob(number % 3, rng) for number in range(12)]
    alone = [classifier.classify(volume) for volume in volumes]
    barrier = threading.Barrier(4)

    def work(part: int) -> list[Verdict]:
        barrier.wait()
        return [classifier.classify(volume) for volume in volumes[part::4]]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, range(4)))
    for part in range(4):
        for got, expected in zip(together[part], alone[part::4], strict=True):
            assert got.label == expected.label
            assert got.confidence == pytest.approx(expected.confidence, abs=1e-5)


def test_input_is_not_changed(classifier: BundleClassifier, make_blob: Blob) -> None:
    volume = make_blob(0, np.random.default_rng(1))
    before = volume.copy()
    volume.setflags(write=False)
    classifier.classify(volume)
    np.testing.assert_array_equal(volume, before)


def test_mirror_images_leave_the_peak_where_it_is() -> None:
    volume = np.zeros((64, 64, 64), dtype=np.float32)
    volume[32, 32, 32] = 1.0
    assert (symmetry_batch(volume, 8) == volume).all()


def test_mirror_images_are_distinct_keep_the_q_axis_and_close_under_composition() -> None:
    volume = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    for copies in (1, 2, 4, 8):
        batch = symmetry_batch(volume, copies)
        assert len({one.tobytes() for one in batch}) == copies
        again = {one.tobytes() for copy in batch for one in symmetry_batch(copy, copies)}
        assert again == {one.tobytes() for one in batch}
        for one in batch:
            sums = one.sum(axis=(1, 2))
            along_q = {tuple(np.round(sums, 3)), tuple(np.round(np.roll(sums[::-1], 1), 3))}
            assert tuple(np.round(volume.sum(axis=(1, 2)), 3)) in along_q
    with pytest.raises(ValueError, match="one of"):
        symmetry_batch(volume, 3)  # pyright: ignore[reportArgumentType] - the point


def test_the_next_best_runtime_is_taken_visibly(bundle_path: Path, parts, caplog: pytest.LogCaptureFixture) -> None:
    bundle = Bundle.load(bundle_path)

    def wrong(batch: NDArray[np.float32]) -> RuntimeOutput:
        output = OnnxRuntime(parts.model, threads=1).run(batch)
        return replace(output, logits=output.logits + np.float32(1.0))

    def refuse(_: Bundle, __: int) -> ScriptedRuntime:
        raise RuntimeUnavailableError("no room on the device")

    candidates = (
        RuntimeCandidate("absent", lambda: "no such device", lambda b, t: ScriptedRuntime(wrong)),
        RuntimeCandidate("refusing", lambda: None, refuse),
        RuntimeCandidate("inexact", lambda: None, lambda b, t: ScriptedRuntime(wrong)),
        RuntimeCandidate("onnxruntime-cpu", lambda: None, lambda b, t: OnnxRuntime(b.model, t)),
    )
    runtime, difference = open_runtime(bundle, threads=1, candidates=candidates)
    assert runtime.name == "onnxruntime-cpu"
    assert difference < 1e-3
    assert "no room on the device" in caplog.text
    assert "golden logits" in caplog.text
    with pytest.raises(RuntimeUnavailableError, match="no such device"):
        open_runtime(bundle, candidates=candidates[:3])
    with pytest.raises(RuntimeUnavailableError, match="unknown runtime 'abacus'"):
        open_runtime(bundle, prefer="abacus")  # pyright: ignore[reportArgumentType] - the point


def test_a_runtime_that_drifts_fails_the_self_test(bundle_path: Path) -> None:
    bundle = Bundle.load(bundle_path)
    with pytest.raises(GoldenMismatchError):
        scripted(bundle, [0.9, 0.05, 0.05]).self_test()
