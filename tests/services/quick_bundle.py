"""A bundle that names a class for almost anything: not trained, only sound, for tests of what lies around the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from braggwatch.models.bundle import GoldenArrays, write_bundle
from braggwatch.models.export import export_onnx
from braggwatch.models.manifest import InputSpec, Manifest, Provenance, ValidDomain
from braggwatch.models.registry import Registry
from braggwatch.models.runtimes import OnnxRuntime
from braggwatch.models.trust import collect_outputs, fit_trust

CLASSES = ("perfect", "screw", "edge")
_PERIOD = 3.5


class _Elongation(torch.nn.Module):
    """Says along which axis the volume is longest."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("squares", (torch.arange(64.0) - 31.5) ** 2)

    def forward(self, x):
        weight = torch.nn.functional.relu(x - 0.3)
        total = weight.sum(dim=(1, 2, 3)).clamp_min(1e-6)
        along = [weight.sum(dim=[d for d in (1, 2, 3) if d != axis]) @ self.squares for axis in (1, 2, 3)]
        features = torch.stack([torch.sqrt(one / total) for one in along], dim=1)
        return 50.0 * (features - features.mean(dim=1, keepdim=True)), features


def _blob(label: int, rng: np.random.Generator) -> np.ndarray:
    width = rng.uniform(2.4, 2.8, size=3)
    width[label] *= rng.uniform(1.7, 2.0)
    grid = np.indices((64, 64, 64)) - 31.5
    return rng.poisson(2000.0 * np.exp(-0.5 * ((grid / width[:, None, None, None]) ** 2).sum(axis=0))).astype("f4")


def write_quick_registry(root: Path, ood: float = 1e9) -> Path:
    """Write the bundle into a registry, as ``production``; a small ``ood`` makes it name no class at all."""
    rng = np.random.default_rng(1)
    labels = np.arange(90) % 3
    volumes = [_blob(int(label), rng) for label in labels]
    network = _Elongation()
    trust = fit_trust(collect_outputs(OnnxRuntime(export_onnx(network), threads=1), volumes, _PERIOD, copies=1), labels)
    model = export_onnx(network, trust.temperature)
    manifest = Manifest(
        name="quick",
        version="1.0.0",
        classes=CLASSES,
        input=InputSpec(fringe_period_voxels=_PERIOD),
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
