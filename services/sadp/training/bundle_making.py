"""From simulated patterns to a bundle: train, export, calibrate on other structures, test on further structures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import nn

from braggwatch.models.bundling.finishing import BundleStatement, calibrated_graph, finish_bundle
from braggwatch.models.bundling.manifest import BundleMetrics, InputSpec, Provenance, ValidDomain, task_json
from braggwatch.models.bundling.tasks import SPACE_GROUP_TASK
from braggwatch.models.learning.training import train
from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.networks.sadp import LatticeMapNet
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.sadp.augmentation import MicroscopeSettings, measured_maps
from braggwatch.models.sadp.groups import computed_table
from braggwatch.models.sadp.lattice_map import CHANNELS, FRAMES, MAP_SHAPE
from braggwatch.models.sadp.outliers import OTHER, outlier_spots
from braggwatch.models.sadp.samples import MOST_SPOTS, PatternSamples, SpotPresentation
from braggwatch.models.uncertainty.trust import CalibrationOutputs, FittedTrust, fit_trust
from braggwatch.services.sadp.training.evaluation import SadpEvaluation, card_text, evaluate_patterns
from braggwatch.services.version import tool_version
from braggwatch.sim.errors import InputError
from braggwatch.sim.sadp.pattern_set import PatternSet
from braggwatch.sim.sadp.splits import SplitWord, validation_structures
from braggwatch.sim.sadp.visibility import shows_lattice

COPIES = 8
UNEXPLAINED = 0.6
"""Share of the amplitude off one lattice above which a picture is not a single zone."""
LEARNING = MicroscopeSettings(gentle_share=0.5, aligned_share=0.3, lean=1.5)
"""Half of the samples get a microscope's disturbances, half only a floor; in 30 % Friedel mates are made equal."""
_OUTLIER_SHARE = 0.08
_CALIBRATION_SHOWINGS = 2
_FEWEST_A_CLASS = 60
"""Used twice each, these give a smallest p-value of 0.008: with fewer than fifty no class could ever be excluded."""
_FEWEST_OWN = 6
_MOST_A_CLASS = 75
_OUTLIERS = 200
_GOLDEN = 4
_WATCHED = 2000


@dataclass(frozen=True, slots=True)
class SadpRecipe:
    """What goes into a bundle of the SADP system.

    Attributes
    ----------
    patterns
        Simulated patterns of all structures.
    files
        Files that they were read from, for the hashes.
    split_by
        'structure' (as published) or 'prototype' (stricter); 15 % of the structures are the test set, 15 % of the
        rest the calibration set.
    width, blocks
        Size of the network.
    start
        Weights to start from, safetensors as in a bundle; None: random weights.
    microscope
        Disturbances of the patterns in training and calibration.
    confidence, ood_quantile
        Probability below which the verdict is ``unsure``; share of good patterns that pass the out-of-distribution
        gate.
    """

    name: str
    version: str
    patterns: PatternSet
    files: tuple[Path, ...]
    config: TrainingConfig
    split_by: SplitWord = "structure"
    width: int = 384
    blocks: int = 2
    start: Path | None = None
    microscope: MicroscopeSettings = LEARNING
    confidence: float = 0.7
    significance: float = 0.02
    ood_quantile: float = 0.995

    def parts(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of the training, calibration and test patterns: only those that show a lattice."""
        structures = self.patterns.structures
        test = validation_structures(structures, self.split_by)
        remaining = [structure for structure in structures if structure.id not in test]
        calibration = validation_structures(remaining, self.split_by, seed=2)
        training = frozenset(structure.id for structure in remaining if structure.id not in calibration)
        usable = shows_lattice(self.patterns)
        first, second, third = (self.patterns.of_structures(part) for part in (training, calibration, test))
        return first[usable[first]], second[usable[second]], third[usable[third]]


def train_sadp(recipe: SadpRecipe, folder: Path, on_step: Callable[[int, float], None] | None = None) -> nn.Module:
    """Train the lattice map network on a recipe's patterns; resumes from ``folder``.

    Raises
    ------
    ValueError
        If there are fewer patterns than one batch, the folder's checkpoint belongs to another run, or the weights to
        start from belong to another network.
    """
    table, names = computed_table()
    learn, calibration, _ = recipe.parts()
    torch.manual_seed(recipe.config.seed)
    network = LatticeMapNet(len(names) + 1, recipe.width, recipe.blocks, channels=CHANNELS, frames=FRAMES)
    if recipe.start is not None:
        _start_from(network, recipe.start)
    outliers = outlier_spots(max(1, int(_OUTLIER_SHARE * len(learn))), MOST_SPOTS, table, seed=1)
    validation_outliers = outlier_spots(max(1, int(_OUTLIER_SHARE * _WATCHED)), MOST_SPOTS, table, seed=2)
    rng = np.random.default_rng(0)
    validation = np.sort(rng.choice(calibration, size=min(_WATCHED, len(calibration)), replace=False))
    return train(
        network,
        PatternSamples(recipe.patterns, learn, outliers=outliers, classes=len(names)),
        PatternSamples(recipe.patterns, validation, outliers=validation_outliers, classes=len(names)),
        recipe.config,
        folder,
        on_step,
        presentation=SpotPresentation(recipe.microscope),
        settings={
            "--width": str(recipe.width),
            "--blocks": str(recipe.blocks),
            "--start": "random weights" if recipe.start is None else _digest(recipe.start),
        },
    )


def _digest(path: Path) -> str:
    return f"{path} ({hashlib.sha256(path.read_bytes()).hexdigest()[:16]})"


def _start_from(network: nn.Module, weights: Path) -> None:
    try:
        network.load_state_dict(load_safetensors(weights.read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{weights} contains no weights of this network (see --width, --blocks): {str(error).splitlines()[0]}"
        ) from error


def _require_apart(recipe: SadpRecipe, parts: Mapping[str, NDArray[np.int64]]) -> None:
    """Make sure that no structure is in two parts, as the card says.

    Raises
    ------
    InputError
        If one is; the text names some.
    """
    of_part = {name: set(recipe.patterns.structure[part].tolist()) for name, part in parts.items()}
    for first, second in combinations(of_part, 2):
        both = sorted(recipe.patterns.structures[number].id for number in of_part[first] & of_part[second])
        if both:
            raise InputError(f"{first} and {second} share {len(both)} structures ({', '.join(both[:5])})")


@dataclass(frozen=True, slots=True)
class _CalibrationPatterns:
    """Patterns to calibrate with, each shown some times.

    Attributes
    ----------
    borrowed
        How many classes borrowed training patterns.
    """

    samples: PatternSamples
    microscope: MicroscopeSettings
    borrowed: int

    @classmethod
    def of(cls, recipe: SadpRecipe) -> Self:
        """Choose them from the recipe's calibration part; classes that are rare there borrow."""
        table, names = computed_table()
        learn, calibration, _ = recipe.parts()
        labels = recipe.patterns.class_label
        borrowed = 0
        rng = np.random.default_rng(3)
        chosen: list[NDArray[np.int64]] = []
        for number in range(len(names)):
            own = rng.permutation(calibration[labels[calibration] == number])[:_MOST_A_CLASS]
            chosen.append(own)
            there = own if len(own) >= _FEWEST_OWN else learn[labels[learn] == number]
            if len(own) < _FEWEST_A_CLASS and len(there):
                chosen.append(rng.choice(there, size=_FEWEST_A_CLASS - len(own)))
                borrowed += len(own) < _FEWEST_OWN
        outliers = outlier_spots(_OUTLIERS, MOST_SPOTS, table, seed=4)
        samples = PatternSamples(recipe.patterns, np.concatenate(chosen), outliers=outliers, classes=len(names))
        return cls(samples, recipe.microscope, borrowed)

    def maps(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Yield batches of maps (B, copies, *map shape) and class indices (B,); patterns without a spot left out."""
        for showing in range(_CALIBRATION_SHOWINGS):
            for at in range(0, len(self.samples), 256):
                indices = np.arange(at, min(at + 256, len(self.samples)))
                spots, label = self.samples.batch(indices)
                maps = measured_maps(spots, indices + showing * len(self.samples) + 10_000, self.microscope, COPIES)
                seen = maps[:, :, 1].any(axis=(1, 2, 3))
                yield maps[seen], label[seen]

    def golden(self) -> NDArray[np.float32]:
        """Return the first few maps, one copy of each."""
        return next(self.maps())[0][:_GOLDEN, 0]

    def fit(self, runtime: Runtime, recipe: SadpRecipe) -> FittedTrust:
        """Fit temperature and thresholds to what a graph says of them."""
        logits, features, truth = [], [], []
        for maps, label in self.maps():
            output = runtime.run(np.ascontiguousarray(maps.reshape(-1, *MAP_SHAPE)))
            logits.append(output.logits.reshape(-1, COPIES, output.logits.shape[1]))
            features.append(output.features.reshape(-1, COPIES, output.features.shape[1]))
            truth.append(label)
        fit = fit_trust(
            CalibrationOutputs(np.concatenate(logits), np.concatenate(features)),
            np.concatenate(truth),
            confidence=recipe.confidence,
            significance=recipe.significance,
            ood_quantile=recipe.ood_quantile,
        )
        return replace(fit, thresholds=fit.thresholds.model_copy(update={"unexplained_spots": UNEXPLAINED}))


def write_sadp_bundle(recipe: SadpRecipe, network: nn.Module, root: Path) -> tuple[Path, SadpEvaluation]:
    """Calibrate, test and write a trained network; returns the bundle's folder and its scores.

    Raises
    ------
    ValueError
        If there are no patterns for calibration.
    FileExistsError
        If this version exists.
    """
    table, names = computed_table()
    learn, calibration, test = recipe.parts()
    shown = _CalibrationPatterns.of(recipe)
    graph = calibrated_graph(
        network,
        InputSpec(axes=("channel", "k", "h"), shape=MAP_SHAPE, normalisation="network"),
        lambda runtime: shown.fit(runtime, recipe),
    )
    evaluation = evaluate_patterns(
        graph.runtime,
        recipe.patterns,
        test,
        table,
        len(names),
        graph.fit,
        split_by=recipe.split_by,
        thick_learnt=float(recipe.patterns.dynamical[learn].mean()),
    )
    statement = BundleStatement(
        name=recipe.name,
        version=recipe.version,
        task=SPACE_GROUP_TASK,
        classes=(*names, OTHER),
        alien_classes=(OTHER,),
        symmetry_copies=COPIES,
        groups=task_json(table),
        valid_domain=ValidDomain(notes=("cubic crystals of 213, 221, 225, 227, 229 along sixteen zones",)),
        provenance=Provenance(
            training_sets={
                f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
                for path in recipe.files
            },
            code_version=tool_version(),
            seed=recipe.config.seed,
            network="lattice-map",
        ),
        metrics=BundleMetrics(
            samples=evaluation.samples,
            configurations=evaluation.structures,
            accuracy=evaluation.microscope.class_accuracy,
            expected_calibration_error=evaluation.calibration_error,
        ),
    )
    parts = {"training": learn, "calibration": calibration, "test": test}
    _require_apart(recipe, parts)
    counts = {name: len(np.unique(recipe.patterns.structure[part])) for name, part in parts.items()}
    folder = finish_bundle(
        root,
        graph,
        statement,
        trained=network,
        golden=shown.golden(),
        card=lambda manifest: card_text(manifest, evaluation, counts, shown.borrowed, started=recipe.start is not None),
    )
    return folder, evaluation
