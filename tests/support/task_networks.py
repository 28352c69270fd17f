"""The untrained networks of every task in bundles in memory: for what hangs on the graphs and not on their weights."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import Bundle, GoldenArrays
from braggwatch.models.bundling.manifest import InputSpec, Manifest, Provenance, Thresholds
from braggwatch.models.bundling.tasks import DEFECT_TASK
from braggwatch.models.runtimes.onnx import OnnxRuntime

TASK_NETWORKS = (DEFECT_TASK, "sadp-space-group", "apt-order", "apt-order pictures")
CLASSES = {"sadp-space-group": 57, "apt-order": 2, "apt-order pictures": 2}


@cache
def task_bundle(name: str) -> Bundle:
    """Export a task's network as it is initialised; it has no calibration, for nothing here classifies.

    Skips the test where no network can be exported.
    """
    torch = pytest.importorskip("torch", reason="torch isn't installed: no network to export")
    pytest.importorskip("onnxscript", reason="onnxscript isn't installed: the exporter needs it")
    from braggwatch.models.bundling.export import export_onnx
    from braggwatch.models.networks.cxdp import FoveatedConfig, FoveatedNet
    from braggwatch.models.networks.sadp import LatticeMapNet
    from braggwatch.models.networks.sdm import CentreVoxelNet, DrawnSdmNet, PaperSdmNet, SdmEnsemble

    torch.manual_seed(4)
    made = {
        DEFECT_TASK: (lambda: FoveatedNet(FoveatedConfig(classes=3)), (64, 64, 64)),
        "sadp-space-group": (lambda: LatticeMapNet(CLASSES["sadp-space-group"]), (3, 9, 17)),
        "apt-order": (lambda: SdmEnsemble([CentreVoxelNet(), CentreVoxelNet()]), (3, 93, 5)),
        "apt-order pictures": (lambda: DrawnSdmNet(PaperSdmNet(), (93, 5)), (1, 93, 5)),
    }
    make, shape = made[name]
    own = "log1p-max" if name == DEFECT_TASK else "network"
    model = export_onnx(make().eval(), 1.0, shape, normalisation=own)
    golden = GoldenArrays.record(OnnxRuntime(model, threads=1), task_counts(shape, 3))
    classes = golden.logits.shape[1]
    manifest = Manifest(
        name=name.replace(" ", "-"),
        version="0.0.0",
        task=name.split()[0],
        classes=tuple(str(number) for number in range(classes)),
        input=InputSpec(fringe_period_voxels=3.5)
        if name == DEFECT_TASK
        else InputSpec(axes=("map", "down", "across"), shape=shape, normalisation="network"),
        features=golden.features.shape[1],
        temperature=1.0,
        thresholds=Thresholds(confidence=0.5, ood=10.0, significance=0.1),
        provenance=Provenance(code_version="0"),
    )
    # Without calibration: nothing here classifies.
    sha256 = hashlib.sha256(model).hexdigest()
    return Bundle(Path(manifest.id), manifest, model, sha256, None, golden)  # pyright: ignore[reportArgumentType]


def task_counts(shape: tuple[int, int, int], number: int, seed: int = 0) -> NDArray[np.float32]:
    """Counts of every strength up to 1e5: (number, *shape) float32."""
    rng = np.random.default_rng(seed)
    strength = 10.0 ** rng.uniform(0.0, 5.0, size=(number, 1, 1, 1))
    return rng.poisson(strength * rng.random((number, *shape)) ** 4).astype(np.float32)
