"""Check that a runtime still gives the outputs that the bundle was made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from braggwatch.models.runtimes.base import InferenceError, Runtime
from braggwatch.sim.errors import BraggwatchError

if TYPE_CHECKING:
    from braggwatch.models.bundling.bundle import Bundle


class GoldenMismatchError(BraggwatchError, RuntimeError):
    """A runtime doesn't reproduce the golden outputs of a bundle."""


@runtime_checkable
class ReducedPrecision(Protocol):
    """A runtime that computes in fewer bits than the bundle's golden outputs were made with."""

    @property
    def golden_tolerance(self) -> float:
        """Largest deviation of a golden logit or probability that its arithmetic explains, e.g. 1e-2 in fp16."""
        ...


def allowed_difference(runtime: Runtime, bundle: Bundle) -> float:
    """Return what a runtime may deviate: the bundle's tolerance, or its own where its arithmetic is coarser."""
    own = runtime.golden_tolerance if isinstance(runtime, ReducedPrecision) else 0.0
    return max(own, bundle.manifest.golden_tolerance)


def golden_difference(runtime: Runtime, bundle: Bundle) -> float:
    """Run the golden inputs and compare.

    Returns
    -------
    float
        Largest absolute deviation of a logit or probability.

    Raises
    ------
    GoldenMismatchError
        If the batch can't be run, an output isn't finite or of the stated shape, or the deviation is larger than
        :func:`allowed_difference`. Features are compared relative to their largest value.
    """
    golden, tolerance = bundle.golden, allowed_difference(runtime, bundle)
    try:
        output = runtime.run(golden.counts)
    except InferenceError as error:
        raise GoldenMismatchError(f"golden inputs can't be run: {error}") from error
    worst = 0.0
    scale = max(float(np.abs(golden.features).max()), 1e-12)
    for name, got, expected, unit in (
        ("logits", output.logits, golden.logits, 1.0),
        ("probabilities", output.probabilities, golden.probabilities, 1.0),
        ("features", output.features, golden.features, scale),
    ):
        if got.shape != expected.shape:
            raise GoldenMismatchError(f"golden {name} have shape {expected.shape}, {runtime.name} gives {got.shape}")
        difference = float(np.abs(got - expected).max()) / unit
        if not difference <= tolerance:
            raise GoldenMismatchError(
                f"{runtime.name} differs from the golden {name} by {difference:.3g}, allowed {tolerance:.3g}"
            )
        if name != "features":
            worst = max(worst, difference)
    return worst
