"""Calibrate a trained network on crystals that it never saw: what is good, what is named, how far out it sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from braggwatch.models.bundling.finishing import CalibratedGraph, calibrated_graph
from braggwatch.models.bundling.manifest import InputSpec, VisibleRegion
from braggwatch.models.cxdp.calibration import run_volumes
from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.cxdp.visible_region import fit_visible_region
from braggwatch.models.cxdp.volume.peak_checks import measure_peak
from braggwatch.models.networks.factory import NamedClasses
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.uncertainty.outlier_head import OutlierHead
from braggwatch.models.uncertainty.trust import FittedTrust, fit_trust
from braggwatch.models.verdict import PERFECT
from braggwatch.services.cxdp.training.bundle_recipe import BundleRecipe, calibration_samples, line_samples
from braggwatch.services.cxdp.training.labelled_shards import LabelledShards, crystal_of
from braggwatch.sim.cxdp.datasets import SampleInfo
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.errors import InputError

_GOLDEN = 4
_GOOD_BLUR_FRINGES = 0.25
_GOOD_ASPECT = 4.5
_FEWEST_LINES = 100


@dataclass(frozen=True, slots=True)
class CalibratedNetwork:
    """A trained network, its calibrated graph, and what the calibration crystals say of it.

    Attributes
    ----------
    lines
        Crystals with lines out to the rim.
    prior
        Share of each class among those that calibrated the probabilities.
    golden
        (4, 64, 64, 64) float32 counts of good patterns.
    region
        How far from the centre lines are found; None where too few lines are among the crystals to tell.
    """

    network: nn.Module
    graph: CalibratedGraph
    lines: LabelledShards
    prior: dict[str, float]
    golden: NDArray[np.float32]
    region: VisibleRegion | None = None

    def with_region(self, classifier: BundleClassifier) -> CalibratedNetwork:
        """Add how far out a classifier of this very network finds lines, judged as in service.

        Only lines that no crystal but their own is mixed into count: unspoilt patterns of good shape. Blur stays, since
        the region is stated by fringe contrast.
        """
        lines = [
            index
            for index, info in enumerate(self.lines.infos)
            if info.label != PERFECT and info.line_distance >= 0 and info.artefact is None and _of_good_shape(info)
        ]
        if len(lines) < _FEWEST_LINES:
            return self
        period = self.graph.input.fringe_period_voxels
        found: list[bool] = []
        counts: list[float] = []
        contrasts: list[float] = []
        for index in lines:
            volume = self.lines.counts(index)
            found.append(classifier.classify(volume).label != PERFECT)
            counts.append(float(volume.max()))
            contrasts.append(measure_peak(volume, period).fringe_contrast)
        distances = [self.lines.infos[index].line_distance for index in lines]
        return replace(self, region=fit_visible_region(distances, counts, contrasts, found))


def calibrate_network(recipe: BundleRecipe, network: nn.Module, fringe_period_voxels: float) -> CalibratedNetwork:
    """Export a trained network and calibrate it.

    The limits of the checks on the volume come from unspoilt, coherent patterns of crystals of good shape. What keeps
    to them calibrates the probabilities, as that is what they are given for.

    Parameters
    ----------
    recipe
        Its calibration, lines and limits; what it would train on plays no part.
    network
        With or without an output for what is to be refused behind those of the classes.
    fringe_period_voxels
        That the network was trained at.

    Raises
    ------
    InputError
        If there are no calibration crystals, or no good ones.
    """
    samples = calibration_samples(recipe, recipe.calibration)
    good = np.array([_is_good(info) for info in samples.infos], dtype=bool)
    if not good.any():
        raise InputError("the calibration holds no unspoilt pattern of a coherent beam: make more crystals")
    kept = np.zeros(len(samples), dtype=bool)

    def calibrate(runtime: Runtime) -> FittedTrust:
        volumes = run_volumes(
            runtime, (samples.counts(i) for i in range(len(samples))), fringe_period_voxels, recipe.copies
        )
        limits = volumes.of(good).volume_limits()
        kept[:] = volumes.within(limits)
        infos = [info for info, keep in zip(samples.infos, kept, strict=True) if keep]
        return fit_trust(
            volumes.of(kept).outputs,
            samples.labels[kept],
            [crystal_of(info) for info in infos],
            confidence=recipe.confidence,
            significance=recipe.significance,
            ood_quantile=recipe.ood_quantile,
            outlier_head=_outlier_head(network),
            outlier_quantile=recipe.outlier_quantile,
            claimed=[info.line_distance <= recipe.claimed_offset for info in infos],
            named_right=recipe.named_right,
            names=CLASSES,
        ).with_volume_limits(limits)

    graph = calibrated_graph(
        NamedClasses(network, len(CLASSES)), InputSpec(fringe_period_voxels=fringe_period_voxels), calibrate
    )
    return CalibratedNetwork(
        network=network,
        graph=graph,
        lines=line_samples(recipe),
        prior={name: float(np.mean(samples.labels[kept] == k)) for k, name in enumerate(CLASSES)},
        golden=np.stack([samples.counts(int(index)) for index in np.flatnonzero(good)[:_GOLDEN]]),
    )


def _of_good_shape(info: SampleInfo) -> bool:
    return info.aspect is None or info.aspect <= _GOOD_ASPECT


def _is_good(info: SampleInfo) -> bool:
    coherent = info.blur_fringes is None or info.blur_fringes <= _GOOD_BLUR_FRINGES
    return info.artefact is None and coherent and _of_good_shape(info)


def _outlier_head(network: nn.Module) -> OutlierHead | None:
    """Return the output of the outlier class, which follows the named classes; None where there is none."""
    weights = network.state_dict()
    if len(weights["head.weight"]) == len(CLASSES):
        return None
    row = weights["head.weight"][len(CLASSES)].double().numpy()
    return OutlierHead(row, float(weights["head.bias"][len(CLASSES)]))
