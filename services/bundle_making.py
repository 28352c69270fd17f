"""From shards to a bundle: train, export, calibrate on crystals that training never saw, test on others, write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from braggwatch.models.bundle import GoldenArrays, write_bundle
from braggwatch.models.export import export_onnx
from braggwatch.models.manifest import BundleMetrics, InputSpec, Manifest, Provenance, TestedRuntime, ValidDomain
from braggwatch.models.networks.cxdp import FoveatedConfig, FoveatedNet
from braggwatch.models.runtimes import OnnxRuntime
from braggwatch.models.symmetry import SymmetryCopies
from braggwatch.models.training import TrainingConfig, train
from braggwatch.models.trust import collect_outputs, fit_trust
from braggwatch.services.training_data import ShardSource
from braggwatch.sim.datasets import DatasetSpec
from numpy.typing import NDArray
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

CLASSES = ("perfect", "screw", "edge")


class _WithOutliers(ShardSource):
    """Shards whose outliers are one more class, known to training alone."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(paths, CLASSES)
        self.labels = np.where(self.labels < 0, len(CLASSES), self.labels)


class _NamedClasses(nn.Module):
    """A trained network without its outlier output: that one shaped the features and has done its work."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.classes = classes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = self.network(x)
        return logits[:, : self.classes], features


@dataclass(frozen=True, slots=True)
class BundleRecipe:
    """What goes into a bundle.

    Attributes
    ----------
    training, outliers
        Shards to learn from; the outliers are shown as an extra class (outlier exposure).
    calibration
        Shards of other crystals, for temperature, conformal scores and the distance's threshold.
    spec
        The data set's specification, for the card and the valid domain.
    confidence, ood_quantile
        Threshold of ``unsure``; share of good patterns that pass the out-of-distribution gate.
    """

    name: str
    version: str
    training: tuple[Path, ...]
    outliers: tuple[Path, ...]
    calibration: tuple[Path, ...]
    spec: DatasetSpec
    config: TrainingConfig
    copies: SymmetryCopies = 4
    confidence: float = 0.7
    significance: float = 0.02
    ood_quantile: float = 0.995


def _counts(source: ShardSource, index: int) -> NDArray[np.float32]:
    volume, _ = source.batch(np.asarray([index]))
    return np.expm1(volume[0].astype(np.float32))


def train_network(recipe: BundleRecipe, folder: Path, on_step: Callable[[int, float], None] | None = None) -> nn.Module:
    """Train the foveated network on a recipe's shards; resumes from ``folder``."""
    source = _WithOutliers([*recipe.training, *recipe.outliers])
    validation = _WithOutliers(recipe.calibration[:4])
    network = FoveatedNet(FoveatedConfig(classes=len(CLASSES) + 1))
    return train(network, source, validation, recipe.config, folder, on_step)


def make_bundle(recipe: BundleRecipe, network: nn.Module, root: Path, metrics: BundleMetrics | None, card: str) -> Path:
    """Calibrate a trained network and write its bundle.

    Parameters
    ----------
    network
        As `train_network` returns it.
    root
        Folder of bundles.
    metrics, card
        What the test said, for the manifest and for people; see `services.bundle_test`.
    """
    network.eval()
    deployed = _NamedClasses(network, len(CLASSES))
    with torch.no_grad():
        draft = export_onnx(deployed, 1.0)
    calibration = ShardSource(recipe.calibration, CLASSES)
    runtime = OnnxRuntime(draft, threads=1)
    outputs = collect_outputs(
        runtime,
        (_counts(calibration, i) for i in range(len(calibration))),
        recipe.spec.fringe_period_voxels,
        recipe.copies,
    )
    fit = fit_trust(
        outputs,
        calibration.labels,
        [info.config for info in calibration.infos],
        confidence=recipe.confidence,
        significance=recipe.significance,
        ood_quantile=recipe.ood_quantile,
    )
    model = export_onnx(deployed, fit.temperature)
    runtime = OnnxRuntime(model, threads=1)
    golden = np.stack([_counts(calibration, i) for i in range(4)])
    population = recipe.spec.population
    manifest = Manifest(
        name=recipe.name,
        version=recipe.version,
        classes=CLASSES,
        input=InputSpec(fringe_period_voxels=recipe.spec.fringe_period_voxels),
        features=int(outputs.features.shape[-1]),
        temperature=fit.temperature,
        symmetry_copies=recipe.copies,
        thresholds=fit.thresholds,
        valid_domain=ValidDomain(
            elements=population.elements,
            reflections=tuple("{" + "".join(str(i) for i in hkl) + "}" for hkl, _ in population.reflections),
            min_peak_counts=200.0,
            max_peak_counts=recipe.spec.peak_counts[1],
            notes=("lines with g·b = 0 are invisible and come out as 'perfect'", "fcc crystals, one straight line"),
        ),
        provenance=Provenance(
            training_sets={p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in recipe.training},
            code_version=version("braggwatch"),
            seed=recipe.config.seed,
            parameters=sum(p.numel() for p in network.parameters()),
        ),
        metrics=metrics,
        tested_runtimes=(TestedRuntime(name=runtime.name, version=version("onnxruntime"), max_abs_difference=0.0),),
    )
    weights = save_safetensors({k: v.contiguous() for k, v in network.state_dict().items()})
    return write_bundle(
        root,
        manifest,
        model=model,
        trust=fit.arrays,
        golden=GoldenArrays.record(runtime, golden),
        weights=weights,
        card=card,
    )
