"""From one volume to one verdict: the network, and every reason not to believe it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.manifest import PeakLimits
from braggwatch.models.bundling.tasks import DEFECT_TASK
from braggwatch.models.cxdp.symmetry import SymmetryCopies, symmetry_batch
from braggwatch.models.cxdp.visible_region import perfect_region
from braggwatch.models.cxdp.volume.peak_checks import PeakMeasures, lost, measure_peak, second_peaks
from braggwatch.models.cxdp.volume.volume_checks import SmoothedVolume, measure_volume, unusable, violations
from braggwatch.models.runtimes.base import InferenceError, Runtime, RuntimeOutput
from braggwatch.models.runtimes.device_input import DeviceBatch, DeviceRuntime
from braggwatch.models.runtimes.factory import RuntimePreference, open_runtime
from braggwatch.models.runtimes.self_test import golden_difference
from braggwatch.models.runtimes.takeover import TakeoverRuntime
from braggwatch.models.uncertainty.judging import Answer, distance_gate, judged
from braggwatch.models.uncertainty.prior import SitePrior
from braggwatch.models.verdict import PERFECT, ModelIdentity, Outcome, Verdict

# The device that every runtime opens which reads device memory.
_RUNTIMES_DEVICE = "cuda:0"


class Classifier(Protocol):
    """Judges volumes. Safe to call from several threads."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model speaks, and what runs it."""
        ...

    def classify(self, intensity: NDArray[np.float32]) -> Verdict:
        """Judge one (64, 64, 64) volume of raw non-negative counts, axis 0 along Q; never raises for bad data."""
        ...


@runtime_checkable
class DeviceClassifier(Classifier, Protocol):
    """A classifier that can take its network's input where it lies."""

    def classify_on_device(self, intensity: NDArray[np.float32], batch: DeviceBatch) -> Verdict:
        """As `classify`; ``batch`` holds the same volume and its mirror images."""
        ...


class BundleClassifier:
    """Judges volumes with the network and the thresholds of a bundle.

    Where its runtime fails on a volume, ONNX Runtime on the CPU runs that one and all that follow.

    A class is named only where all of this holds: the volume is finite, non-negative and not empty; it passes the
    bundle's volume checks; nothing that a class is read from is lost; its features are close to the training data; the
    network doesn't take it for what it learnt to refuse; the calibrated probability, averaged over mirror images,
    reaches the confidence threshold; and the conformal set holds that class alone. ``perfect`` also needs a distance
    from the centre up to which lines were found in such patterns, where the bundle has measured it.

    Parameters
    ----------
    bundle
        A verified bundle.
    runtime
        Runs its graph.
    copies
        Mirror images to average, 1, 2, 4 or 8; None for the number that the bundle was calibrated with. Fewer are
        faster and less accurate, and the stated uncertainties then hold only about.
    threads
        CPU threads of what takes over.
    on_takeover
        See :class:`TakeoverRuntime`.
    prior
        Share of each class that a site expects, weighting the probabilities; None: those of the calibration.

    Raises
    ------
    OtherTaskError
        If the bundle classifies something else than defects in a crystal.
    InputError
        If the prior isn't one of the bundle's classes, see `SitePrior.of`.
    """

    def __init__(
        self,
        bundle: Bundle,
        runtime: Runtime,
        copies: SymmetryCopies | None = None,
        *,
        threads: int = 2,
        on_takeover: Callable[[str], None] | None = None,
        prior: Mapping[str, float] | None = None,
    ) -> None:
        bundle.require_task(DEFECT_TASK)
        self._bundle = bundle
        self._prior = None if prior is None else SitePrior.of(prior, bundle.manifest)
        self._runtime = TakeoverRuntime(bundle, runtime, threads, on_takeover)
        self._copies: SymmetryCopies = bundle.manifest.symmetry_copies if copies is None else copies
        self._identity = _identity(bundle, runtime)

    @classmethod
    def load(
        cls,
        bundle_path: Path,
        threads: int = 2,
        copies: SymmetryCopies | None = None,
        prefer: RuntimePreference = "auto",
        on_takeover: Callable[[str], None] | None = None,
        prior: Mapping[str, float] | None = None,
    ) -> BundleClassifier:
        """Read a bundle, verify it, open a runtime and run the golden self-test.

        Raises
        ------
        BundleError
            If the bundle is incomplete, changed or of another task.
        RuntimeUnavailableError
            If nothing here can run it, or not to its golden outputs.
        InputError
            If the prior isn't one of the bundle's classes.
        """
        bundle = Bundle.load(bundle_path)
        bundle.require_task(DEFECT_TASK)
        runtime, _ = open_runtime(bundle, prefer, threads)
        return cls(bundle, runtime, copies, threads=threads, on_takeover=on_takeover, prior=prior)

    @property
    def identity(self) -> ModelIdentity:
        """Which model speaks, and what runs it now."""
        if self._identity.runtime != self._runtime.name:
            self._identity = _identity(self._bundle, self._runtime)
        return self._identity

    @property
    def bundle(self) -> Bundle:
        """What it was made from."""
        return self._bundle

    @property
    def runtime(self) -> Runtime:
        """What runs its graph now."""
        return self._runtime.current

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the network's outputs."""
        return self._bundle.manifest.classes

    def warm_up(self) -> None:
        """Run once at the batch size in use, so that the first scan doesn't pay for lazy set-up."""
        self.classify(self._bundle.golden.counts[0])

    def self_test(self) -> float:
        """Run the golden inputs again; returns the largest deviation, raises :class:`GoldenMismatchError`."""
        return golden_difference(self.runtime, self._bundle)

    def classify(self, intensity: NDArray[np.float32]) -> Verdict:
        """Judge one volume.

        Parameters
        ----------
        intensity
            (64, 64, 64) finite, non-negative counts on an orthonormal grid, axis 0 along Q, the peak at the centre,
            the fringe period at the bundle's ``fringe_period_voxels``.

        Returns
        -------
        Verdict
            ``invalid`` for a volume that can't be judged, ``error`` where the network failed, on the CPU too; neither
            raises.
        """
        return self._classified(intensity, None)

    def classify_on_device(self, intensity: NDArray[np.float32], batch: DeviceBatch) -> Verdict:
        """Judge one volume as `classify` does, the network reading its mirror images where they lie.

        Where the runtime can't read that device, or wants more copies than there are, they are made anew.
        """
        return self._classified(intensity, batch)

    def _classified(self, intensity: NDArray[np.float32], batch: DeviceBatch | None) -> Verdict:
        problem = unusable(intensity, self._bundle.manifest.input.shape)
        if problem is not None:
            return self._without_network(Outcome.INVALID, problem)
        try:
            output = self._runtime.run_by(
                lambda runtime: self._run(runtime, intensity, batch),
                lambda: symmetry_batch(intensity, self._copies),
            )
        except InferenceError as error:
            return self._without_network(Outcome.ERROR, str(error))
        return self._judge(intensity, output)

    def _run(self, runtime: Runtime, intensity: NDArray[np.float32], batch: DeviceBatch | None) -> RuntimeOutput:
        if (
            batch is not None
            and batch.device == _RUNTIMES_DEVICE
            and batch.copies >= self._copies
            and isinstance(runtime, DeviceRuntime)
        ):
            return runtime.run_device(batch.pointer, self._copies)
        return runtime.run(symmetry_batch(intensity, self._copies))

    def _without_network(self, outcome: Outcome, reason: str) -> Verdict:
        return Verdict(outcome=outcome, reason=reason, model=self.identity)

    def _judge(self, intensity: NDArray[np.float32], output: RuntimeOutput) -> Verdict:
        manifest = self._bundle.manifest

        @cache
        def smoothed() -> SmoothedVolume:
            return SmoothedVolume.of(intensity)

        @cache
        def measures() -> PeakMeasures:
            return measure_peak(smoothed(), manifest.input.fringe_period_voxels)

        gates = (
            lambda _: self._too_faint(intensity),
            lambda _: self._unlike_a_peak(smoothed),
            lambda _: self._not_alone(measures),
            distance_gate(manifest),
            self._looks_like_an_outlier,
            self._never_named,
        )
        doubts = (
            lambda _: self._lost(measures),
            lambda answer: self._seen_nowhere(answer, intensity, measures),
        )
        answer = Answer.of(output, manifest, self._bundle.trust, self._prior)
        verdict = judged(answer, manifest, gates, self.identity, doubts=doubts, prior=self._prior)
        region = manifest.visible_region
        if verdict.label != PERFECT or region is None:
            return verdict
        seen = perfect_region(region, float(intensity.max()), measures().fringe_contrast)
        return verdict.model_copy(update={"region": seen})

    def _not_alone(self, measures: Callable[[], PeakMeasures]) -> str | None:
        limits = self._peak_limits
        return None if limits is None else second_peaks(measures(), limits)

    def _lost(self, measures: Callable[[], PeakMeasures]) -> str | None:
        limits = self._peak_limits
        return None if limits is None else "; ".join(lost(measures(), limits)) or None

    def _seen_nowhere(
        self, answer: Answer, intensity: NDArray[np.float32], measures: Callable[[], PeakMeasures]
    ) -> str | None:
        region = self._bundle.manifest.visible_region
        if region is None or self.classes[answer.best] != PERFECT:
            return None
        counts, contrast = float(intensity.max()), measures().fringe_contrast
        if perfect_region(region, counts, contrast) is not None:
            return None
        return (
            f"nothing speaks for a line, but in patterns of {counts:.2g} counts and a fringe contrast of "
            f"{contrast:.2f} fewer than {region.share:.0%} of the lines were found in tests, even near the centre"
        )

    @property
    def _peak_limits(self) -> PeakLimits | None:
        volume = self._bundle.manifest.thresholds.volume
        return None if volume is None else volume.peak

    def _too_faint(self, intensity: NDArray[np.float32]) -> str | None:
        peak, lowest = float(intensity.max()), self._bundle.manifest.valid_domain.min_peak_counts
        return f"a peak of {peak:.3g} counts, the model was trained from {lowest:.3g}" if peak < lowest else None

    def _unlike_a_peak(self, smoothed: Callable[[], SmoothedVolume]) -> str | None:
        limits = self._bundle.manifest.thresholds.volume
        if limits is None:
            return None
        broken = violations(measure_volume(smoothed(), limits.second_peak_radius_voxels), limits)
        return "; ".join(broken) if broken else None

    def _looks_like_an_outlier(self, answer: Answer) -> str | None:
        limit = self._bundle.manifest.thresholds.foreign
        if answer.outlier_score is None or limit is None or answer.outlier_score <= limit:
            return None
        named = " or ".join(name.replace("_", " ") for name in self.classes)
        return (
            f"looks like something else than {named}, such as another defect or a second particle "
            f"(log odds {answer.outlier_score:.2f}, at most {limit:.2f})"
        )

    def _never_named(self, answer: Answer) -> str | None:
        name = self.classes[answer.best]
        if name not in self._bundle.manifest.alien_classes:
            return None
        return f"the network takes it for {name.replace('_', ' ')} ({answer.confidence:.2f})"


def _identity(bundle: Bundle, runtime: Runtime) -> ModelIdentity:
    manifest = bundle.manifest
    return ModelIdentity(name=manifest.name, version=manifest.version, sha256=bundle.sha256, runtime=runtime.name)
