"""From shards to a bundle: train, export, calibrate on crystals that training never saw, test on others, write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from braggwatch.models.bundle import WEIGHTS_FILE, GoldenArrays, write_bundle
from braggwatch.models.classifier import BundleClassifier
from braggwatch.models.evaluation import Evaluation, LabelledVolume, evaluate
from braggwatch.models.export import export_onnx
from braggwatch.models.manifest import BundleMetrics, InputSpec, Manifest, Provenance, TestedRuntime, ValidDomain
from braggwatch.models.networks.cxdp import FoveatedConfig, FoveatedNet
from braggwatch.models.report import write_report
from braggwatch.models.runtimes import OnnxRuntime
from braggwatch.models.symmetry import SymmetryCopies
from braggwatch.models.training import TrainingConfig, train
from braggwatch.models.trust import collect_outputs, fit_trust
from braggwatch.services.recordings import tool_version
from braggwatch.services.training_data import SHARD_SIZE, ShardSource
from braggwatch.sim.datasets import DatasetSpec, read_shard
from braggwatch.sim.outliers import EXPOSED_KINDS

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
    test, test_outliers
        Shards of yet other crystals and outliers, for the scores in the manifest.
    spec
        The data set's specification, for the card and the valid domain.
    start_from
        A bundle's folder whose weights to train further; None: from random ones.
    confidence, ood_quantile
        Threshold of ``unsure``; share of good patterns that pass the out-of-distribution gate.
    """

    name: str
    version: str
    training: tuple[Path, ...]
    outliers: tuple[Path, ...]
    calibration: tuple[Path, ...]
    test: tuple[Path, ...]
    test_outliers: tuple[Path, ...]
    spec: DatasetSpec
    config: TrainingConfig
    start_from: Path | None = None
    copies: SymmetryCopies = 4
    confidence: float = 0.7
    significance: float = 0.05
    ood_quantile: float = 0.999


def _counts(source: ShardSource, index: int) -> NDArray[np.float32]:
    volume, _ = source.batch(np.asarray([index]))
    return np.expm1(volume[0].astype(np.float32))


def train_network(recipe: BundleRecipe, folder: Path, on_step: Callable[[int, float], None] | None = None) -> nn.Module:
    """Train the foveated network on a recipe's shards; resumes from ``folder``."""
    source = _WithOutliers([*recipe.training, *recipe.outliers])
    validation = _WithOutliers(recipe.calibration[:4])
    network = FoveatedNet(FoveatedConfig(classes=len(CLASSES) + 1))
    if recipe.start_from is not None:
        network.load_state_dict(load_safetensors((recipe.start_from / WEIGHTS_FILE).read_bytes()))
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
        What the test said, for the manifest and for people.
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
            code_version=tool_version(),
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


def find_shards(folder: Path, pattern: str) -> tuple[Path, ...]:
    """Return the shards in a folder, in order.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = tuple(sorted(folder.glob(pattern)))
    if not found:
        raise FileNotFoundError(f"no shard {pattern} in {folder}: make them with 'braggwatch sim cxdp --out {folder}'")
    return found


def _labelled(shards: Sequence[Path]) -> Iterator[LabelledVolume]:
    for shard in shards:
        source = ShardSource([shard], CLASSES)
        for index, info in enumerate(source.infos):
            yield LabelledVolume(
                counts=_counts(source, index),
                label=info.label,
                configuration=str(info.config),
                element=info.element,
                line_offset=None if info.line_distance < 0 else info.line_distance,
            )


def _of_kind(shards: Sequence[Path], kind: str) -> Iterator[NDArray[np.float32]]:
    for shard in shards:
        source = ShardSource([shard], CLASSES)
        for index, info in enumerate(source.infos):
            if info.label == kind:
                yield _counts(source, index)


def run_test(classifier: BundleClassifier, shards: Sequence[Path], outliers: Sequence[Path]) -> Evaluation:
    """Test a classifier as deployed on shards and outlier shards (of which there may be none)."""
    kinds = sorted({info.label for shard in outliers for info in read_shard(shard)[1]})
    return evaluate(
        classifier,
        classifier.classes,
        lambda: _labelled(shards),
        {kind: partial(_of_kind, outliers, kind) for kind in kinds},
    )


def write_tested_bundle(recipe: BundleRecipe, network: nn.Module, root: Path, work: Path) -> tuple[Path, Evaluation]:
    """Write a bundle that carries its own test scores, with report.html and evaluation.json in ``work``."""
    with TemporaryDirectory(dir=work) as folder:
        draft = make_bundle(recipe, network, Path(folder), None, "draft")
        evaluation = run_test(BundleClassifier.load(draft, threads=1), recipe.test, recipe.test_outliers)
    (work / "evaluation.json").write_text(evaluation.to_json())
    write_report(evaluation, work / "report.html")
    return make_bundle(recipe, network, root, evaluation.metrics(), card_text(recipe, evaluation)), evaluation


def card_text(recipe: BundleRecipe, evaluation: Evaluation) -> str:
    """Write the bundle's card: what it is for, what it learnt from, its scores and its limits."""
    defect = evaluation.perfect_vs_defect
    aliens = "\n".join(
        f"| {a.kind} | {'shown in training' if a.kind in EXPOSED_KINDS else 'never shown'} | "
        f"{'' if a.auroc is None else f'{a.auroc:.3f}'} | {a.set_aside:.1%} |"
        for a in evaluation.aliens
    )
    counts = "\n".join(f"| {s.group} | {s.samples} | {s.accuracy:.1%} |" for s in evaluation.by_counts)
    offsets = "\n".join(f"| {s.group} | {s.samples} | {s.accuracy:.1%} |" for s in evaluation.by_line_offset)
    families = ", ".join("{" + "".join(map(str, h)) + "}" for h, _ in recipe.spec.population.reflections)
    harder = sum(recipe.spec.digest() not in path.name for path in recipe.training)
    further = "" if recipe.start_from is None else f"the weights of version {recipe.start_from.name}, then "
    elements = ", ".join(recipe.spec.population.elements)
    low, high = recipe.spec.peak_counts
    return f"""# {recipe.name} {recipe.version}

Tells from one coherent X-ray diffraction pattern of an fcc crystal whether it is perfect or holds a screw or an edge
dislocation. For screening while a scan runs; not a substitute for phase retrieval.

**Learnt from** {further}{len(recipe.training)} shards of {SHARD_SIZE} simulated patterns, no measured one; {
        harder
    } of them are
of a harder population (more strain, odder shapes, lines further out), and {len(recipe.outliers)} more shards show what
is to be refused. {elements}; reflections {families}; all twelve Burgers vectors with g·b ≠ 0; smooth random strain and
irregular shapes in every class; exact Q at every pixel, Poisson noise at peaks of {low:.0e} to {high:.0e} counts,
background, gaps, uncorrected gains, hot pixels, aliens, partial coherence, missing frames; the preprocessing of live
data.

**Tested on** {evaluation.samples} patterns of {evaluation.configurations} crystals used nowhere else:
accuracy {evaluation.overall.accuracy:.1%} in three classes,
{"" if defect is None else f"{defect.accuracy:.1%} perfect against defect, "}expected calibration error
{evaluation.calibration_error:.3f}; a class is named for {evaluation.coverage:.1%} of them{
        "" if evaluation.named is None else f", and then right in {evaluation.named.accuracy:.1%}"
    }.

| brightest voxel, counts | patterns | accuracy |
|---|---|---|
{counts}

| line from the centre, particle sizes | patterns | accuracy |
|---|---|---|
{offsets}

| outlier | in training | AUROC | set aside |
|---|---|---|---|
{aliens}

**Limits.** Unrelaxed straight lines by the isotropic field; mixed lines, loops, stacking faults, twins and several
lines are not among its classes. A line with g·b = 0 can't be seen at the reflection measured and comes out as
perfect. Noise, ring and empty outliers are made on the model's grid: in the detector's frame the preprocessing refuses
nearly all of them before a network runs.
"""
