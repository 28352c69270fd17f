"""From a trained network to its bundle: export, calibrate, export again with the temperature inside, record, write.

Every system's training ends here. What differs between them is handed in: how the graph is calibrated, what the bundle
says of itself, which samples are golden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from braggwatch.models.bundling.bundle import GoldenArrays, write_bundle
from braggwatch.models.bundling.export import export_onnx
from braggwatch.models.bundling.manifest import (
    BundleMetrics,
    InputSpec,
    Manifest,
    Provenance,
    TaskJson,
    TestedRuntime,
    ValidDomain,
    VisibleRegion,
)
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.runtimes.onnx import OnnxRuntime
from braggwatch.models.uncertainty.trust import FittedTrust


@dataclass(frozen=True, slots=True)
class CalibratedGraph:
    """A graph as it will be deployed, and what was fitted for it.

    Attributes
    ----------
    input
        What it takes.
    model
        Bytes of the ONNX graph, temperature inside.
    runtime
        Runs it: ONNX Runtime on the CPU, the reference of every other.
    fit
        Temperature, arrays and thresholds.
    """

    input: InputSpec
    model: bytes
    runtime: OnnxRuntime
    fit: FittedTrust


@dataclass(frozen=True, slots=True)
class BundleStatement:
    """What a bundle says of itself that its graph doesn't tell; the fields are those of `Manifest`.

    Attributes
    ----------
    provenance
        Its ``parameters`` are counted when the bundle is written.
    groups, order_rule
        Of the task whose bundle it is (`braggwatch.models.bundling.manifest.task_json`).
    """

    name: str
    version: str
    task: str
    classes: tuple[str, ...]
    symmetry_copies: Literal[1, 2, 4, 8]
    valid_domain: ValidDomain
    provenance: Provenance
    metrics: BundleMetrics | None = None
    alien_classes: tuple[str, ...] = ()
    groups: TaskJson | None = None
    order_rule: TaskJson | None = None
    prior: dict[str, float] | None = None
    visible_region: VisibleRegion | None = None


def calibrated_graph(
    network: nn.Module,
    takes: InputSpec,
    calibrate: Callable[[Runtime], FittedTrust],
    stored: Callable[[bytes], bytes] | None = None,
) -> CalibratedGraph:
    """Export a network, let it be calibrated, and export it with its temperature.

    Parameters
    ----------
    network
        As it is deployed: from what the graph's normalisation leaves to (logits, features), the outputs being the
        bundle's classes. Put into evaluation mode.
    takes
        What the graph takes.
    calibrate
        Given the graph at temperature 1, returns what was fitted to samples that training never saw.
    stored
        Changes how the graph's bytes are kept, e.g. in half precision; None: as exported.

    Raises
    ------
    ExportError
        If the graph doesn't reproduce the network.
    """
    network.eval()
    draft = export_onnx(network, 1.0, takes.shape, normalisation=takes.normalisation)
    fit = calibrate(OnnxRuntime(draft, threads=1))
    model = export_onnx(network, fit.temperature, takes.shape, normalisation=takes.normalisation)
    model = model if stored is None else stored(model)
    return CalibratedGraph(takes, model, OnnxRuntime(model, threads=1), fit)


def finish_bundle(
    root: Path,
    graph: CalibratedGraph,
    statement: BundleStatement,
    *,
    trained: nn.Module,
    golden: NDArray[np.floating | np.integer],
    card: Callable[[Manifest], str],
    weights: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write the bundle of a calibrated graph; returns its folder.

    Parameters
    ----------
    root
        Folder of bundles.
    trained
        The network as it was trained, outputs that the graph leaves out among them: its weights are kept.
    golden
        (G, ...) counts of the graph's input shape.
    card
        Given the manifest, what people read.
    weights
        What is kept in place of ``trained``'s state, by the same names; None: that state.

    Raises
    ------
    FileExistsError
        If this version exists.
    BundleError
        If the parts don't fit each other.
    """
    recorded = GoldenArrays.record(graph.runtime, golden.astype(np.float32))
    parameters = sum(one.numel() for one in trained.parameters())
    manifest = Manifest(
        name=statement.name,
        version=statement.version,
        task=statement.task,
        classes=statement.classes,
        alien_classes=statement.alien_classes,
        input=graph.input,
        groups=statement.groups,
        order_rule=statement.order_rule,
        features=int(recorded.features.shape[1]),
        temperature=graph.fit.temperature,
        symmetry_copies=statement.symmetry_copies,
        thresholds=graph.fit.thresholds,
        prior=statement.prior,
        visible_region=statement.visible_region,
        valid_domain=statement.valid_domain,
        provenance=statement.provenance.model_copy(update={"parameters": parameters}),
        metrics=statement.metrics,
        tested_runtimes=(TestedRuntime.reference(graph.runtime),),
    )
    return write_bundle(
        root,
        manifest,
        model=graph.model,
        trust=graph.fit.arrays,
        golden=recorded,
        weights=weights_bytes(trained.state_dict() if weights is None else weights),
        card=card(manifest),
    )


def weights_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """Pack weights as a safetensors file."""
    return save({name: one.contiguous() for name, one in weights.items()})
