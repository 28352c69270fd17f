"""A small trained-by-construction network, its calibration volumes and its bundle, made once a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import GoldenArrays, write_bundle
from braggwatch.models.bundling.manifest import InputSpec, Manifest, Provenance, ValidDomain
from braggwatch.models.cxdp.calibration import run_volumes
from braggwatch.models.uncertainty.trust import FittedTrust, fit_trust
from support.elongation import CLASSES, PERIOD, blob, elongation_network


@dataclass(frozen=True)
class TrainedParts:
    """What a bundle is written from."""

    model: bytes
    trust: FittedTrust
    golden: GoldenArrays
    labels: NDArray[np.int64]


@pytest.fixture(scope="session")
def make_blob() -> Callable[..., NDArray[np.float32]]:
    return blob


@pytest.fixture(scope="session")
def parts() -> TrainedParts:
    """Export, calibration and golden arrays of a network that measures the elongation along each axis."""
    network = elongation_network(5.0)
    from braggwatch.models.bundling.export import export_onnx  # needs torch
    from braggwatch.models.runtimes import OnnxRuntime

    rng = np.random.default_rng(7)
    labels = np.arange(60) % 3
    volumes = [blob(int(label), rng, peak=10 ** rng.uniform(3, 4)) for label in labels]
    first = OnnxRuntime(export_onnx(network), threads=1)
    calibration = run_volumes(first, volumes, PERIOD, copies=2)
    trust = fit_trust(calibration.outputs, labels).with_volume_limits(calibration.volume_limits())
    model = export_onnx(network, trust.temperature)
    golden = GoldenArrays.record(OnnxRuntime(model, threads=1), np.stack(volumes[:3]))
    return TrainedParts(model, trust, golden, labels)


@pytest.fixture(scope="session")
def manifest_for(parts: TrainedParts) -> Callable[[str], Manifest]:
    """Make the manifest of a version."""

    def make(version: str) -> Manifest:
        return Manifest(
            name="blobs",
            version=version,
            classes=CLASSES,
            input=InputSpec(fringe_period_voxels=PERIOD),
            features=3,
            temperature=parts.trust.temperature,
            symmetry_copies=2,
            thresholds=parts.trust.thresholds,
            valid_domain=ValidDomain(min_peak_counts=100.0),
            provenance=Provenance(training_sets={"blobs.h5": "0" * 64}, code_version="0.1.0", seed=7),
        )

    return make


@pytest.fixture(scope="session")
def write_version(parts: TrainedParts, manifest_for: Callable[[str], Manifest]) -> Callable[[Path, str], Path]:
    """Write a version of the test bundle under a root."""

    def write(root: Path, version: str) -> Path:
        return write_bundle(
            root,
            manifest_for(version),
            model=parts.model,
            trust=parts.trust.arrays,
            golden=parts.golden,
            weights=b"weights",
            card="# blobs\n",
        )

    return write


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory, write_version: Callable[[Path, str], Path]) -> Path:
    """A sound bundle; read only."""
    return write_version(tmp_path_factory.mktemp("bundles"), "1.0.0")
