"""A bundle that names a class for almost anything: not trained, only sound, for tests of what lies around the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from braggwatch.models.bundling.bundle import GoldenArrays, write_bundle
from braggwatch.models.bundling.manifest import InputSpec, Manifest, Provenance, ValidDomain
from braggwatch.models.bundling.registry import Registry, RegistryError
from braggwatch.models.cxdp.calibration import run_volumes
from braggwatch.models.runtimes.onnx import OnnxRuntime
from braggwatch.models.uncertainty.trust import fit_trust
from support.elongation import CLASSES, PERIOD, blob, elongation_network


def write_quick_registry(root: Path, ood: float = 1e9, fourth_class: str | None = None) -> Path:
    """Write the bundle into a registry, as ``production``; a small ``ood`` makes it name no class at all.

    ``fourth_class`` is the name of one more class, for peaks that are longest along no axis.
    """
    classes = CLASSES if fourth_class is None else (*CLASSES, fourth_class)
    network = elongation_network(50.0, round_class=fourth_class is not None)
    from braggwatch.models.bundling.export import export_onnx  # needs torch

    rng = np.random.default_rng(1)
    labels = np.arange(90) % len(classes)
    volumes = [blob(int(label), rng) for label in labels]
    calibration = run_volumes(OnnxRuntime(export_onnx(network), threads=1), volumes, PERIOD, copies=1)
    trust = fit_trust(calibration.outputs, labels)
    model = export_onnx(network, trust.temperature)
    manifest = Manifest(
        name="quick",
        version="1.0.0",
        classes=classes,
        input=InputSpec(fringe_period_voxels=PERIOD),
        features=3,
        temperature=trust.temperature,
        symmetry_copies=1,
        thresholds=trust.thresholds.model_copy(update={"confidence": 0.0, "ood": ood, "volume": None}),
        valid_domain=ValidDomain(),
        provenance=Provenance(code_version="test"),
    )
    golden = GoldenArrays.record(OnnxRuntime(model, threads=1), np.stack(volumes[:3]))
    write_bundle(root, manifest, model=model, trust=trust.arrays, golden=golden, weights=b"weights", card="# quick\n")
    Registry(root).promote("production", "quick/1.0.0")
    return root


def production_or_quick(root: Path) -> Path:
    """Return the production bundle, or a quick one where there is none: for what hangs on no weights."""
    try:
        return Registry().resolve("production")
    except RegistryError:
        return Registry(write_quick_registry(root)).resolve("production")
