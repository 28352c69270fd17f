"""The model that judges live diffraction patterns, or why there is none: rocking curves are judged either way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from braggwatch.callbacks.sadp.judging import NoPatternModel, PatternModel
from braggwatch.callbacks.sadp.pattern import measure_pattern
from braggwatch.models.bundling.bundle import Bundle, BundleError
from braggwatch.models.bundling.registry import Registry, RegistryError
from braggwatch.models.runtimes.base import RuntimeUnavailableError
from braggwatch.models.runtimes.factory import RuntimePreference
from braggwatch.models.sadp.classifier import SadpClassifier

logger = logging.getLogger(__name__)

DEFAULT_BUNDLE = "sadp"


def load_pattern_model(
    bundle: str,
    registry: Path | None,
    threads: int,
    runtime: RuntimePreference,
    on_takeover: Callable[[str], None] | None = None,
) -> PatternModel | NoPatternModel:
    """Load a bundle by name, alias or folder; what is wrong with it is the answer's reason."""
    try:
        folder = Registry(registry).locate(bundle)
        classifier = SadpClassifier.load(folder, threads, runtime, on_takeover)
        stated = Bundle.load(folder).manifest.metrics
    except RegistryError as error:
        reason = (
            f"no bundle for electron diffraction: {error}. Train one with 'braggwatch sadp train' and name it in "
            "screening.sadp_bundle"
        )
    except (BundleError, RuntimeUnavailableError, ValueError, OSError) as error:
        reason = f"the bundle for electron diffraction, {bundle!r}, can't be used: {error}"
    else:
        return PatternModel(classifier, 1.0 if stated is None else float(stated.accuracy))
    logger.info("%s", reason)
    return NoPatternModel(reason[:500])


def warm_up_patterns(model: PatternModel | NoPatternModel, bundle: str) -> str | None:
    """Compile and run everything once; return a shortcoming in words where a bundle was asked for and isn't there."""
    if isinstance(model, NoPatternModel):
        # A beamline without electrons has no such bundle, and lacks nothing.
        return None if bundle == DEFAULT_BUNDLE and model.reason.startswith("no bundle") else model.reason
    model.judge.classify(measure_pattern(_square_net()))
    return None


def _square_net() -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    rows, columns = np.mgrid[:128, :128]
    net = np.zeros((128, 128))
    for x in range(-2, 3):
        for y in range(-2, 3):
            distance = (rows - 64 - 20 * y) ** 2 + (columns - 64 - 20 * x) ** 2
            net += 1000.0 * np.exp(-0.5 * distance / 2.25) / (1 + x * x + y * y)
    return (net + 20.0).astype(np.uint16)
