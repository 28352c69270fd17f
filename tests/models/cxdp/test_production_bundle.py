"""The bundle that comes with the package is sound, says what it can do and gives nothing away."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.verdict import Outcome
from support.production import production_bundle


@pytest.fixture(scope="module")
def production() -> Path:
    return production_bundle()


def test_every_bundle_that_ships_verifies(production: Path) -> None:
    reports = Registry().verify()
    assert [one for one in reports if not one.ok] == []


def test_it_states_its_scores_domain_and_origin(production: Path) -> None:
    manifest = Bundle.load(production).manifest
    assert {"perfect", "screw", "edge"} <= set(manifest.classes)
    assert manifest.input.shape == (64, 64, 64)
    assert manifest.input.axes[0] == "Q"
    assert manifest.metrics is not None
    assert manifest.metrics.by_counts
    assert manifest.valid_domain.elements
    assert manifest.provenance.training_sets
    assert manifest.thresholds.volume is not None
    assert len((production / "CARD.md").read_text(encoding="utf-8")) > 500


def test_it_refuses_noise_and_emptiness(production: Path) -> None:
    classifier = BundleClassifier.load(production, threads=1)
    noise = np.random.default_rng(0).poisson(50.0, (64, 64, 64)).astype(np.float32)
    assert classifier.classify(noise).outcome is Outcome.OUT_OF_DISTRIBUTION
    assert classifier.classify(np.zeros_like(noise)).outcome is Outcome.INVALID


@pytest.mark.parametrize("bundle_id", Registry().list())
def test_the_files_of_no_bundle_hold_a_path_of_a_machine(bundle_id: str) -> None:
    for path in (Registry().root / bundle_id).iterdir():
        assert not re.search(rb"/(home|work|tmp|root|Users)/", path.read_bytes()), path.name
