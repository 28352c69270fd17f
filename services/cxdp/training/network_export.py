"""Export trained weights, from a bundle, a training folder or a file, as a deployable graph."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from braggwatch.models.bundling.bundle import WEIGHTS_FILE, Bundle
from braggwatch.models.bundling.export import export_onnx
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.bundling.tasks import DEFECT_TASK
from braggwatch.models.learning.training_state import CHECKPOINT_FILE, averaged_weights
from braggwatch.models.networks.factory import NamedClasses, NetworkKind, network_from_weights
from braggwatch.models.runtimes import OnnxRuntime
from braggwatch.sim.cxdp.labels import CLASSES
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class ExportDone:
    """What was written.

    Attributes
    ----------
    classes
        Names of the outputs.
    golden_difference
        Largest deviation of a logit from the bundle's golden logits; None without a bundle.
    """

    path: Path
    network: NetworkKind
    classes: tuple[str, ...]
    temperature: float
    size_bytes: int
    sha256: str
    golden_difference: float | None


def export_network(source: str, to: Path, registry: Registry, temperature: float | None = None) -> ExportDone:
    """Write the graph of trained weights; the file is written completely or not at all.

    Parameters
    ----------
    source
        Bundle (alias, id or folder), training folder, checkpoint or weights.
    temperature
        Softmax temperature; None: the bundle's, or 1.

    Raises
    ------
    InputError
        If the weights belong to no known network, or the source is none of the above.
    RegistryError
        If the source is not a file or folder and no bundle has that name.
    BundleError
        If the bundle is damaged, or for another task: only CXDP networks can be exported.
    ExportError
        If the graph's outputs differ from the network's.
    """
    weights, bundle = _weights(source, registry)
    network, kind = network_from_weights(weights)
    classes = CLASSES if bundle is None else bundle.manifest.classes
    outputs = len(weights["head.weight"])
    if outputs < len(classes):
        raise InputError(f"the weights have {outputs} outputs, the classes are {', '.join(classes)}")
    heat = temperature if temperature is not None else 1.0 if bundle is None else bundle.manifest.temperature
    data = export_onnx(NamedClasses(network.eval(), len(classes)), heat)
    difference = None
    if bundle is not None:
        logits = OnnxRuntime(data, threads=1).run(bundle.golden.counts).logits
        difference = float(np.abs(logits - bundle.golden.logits).max())
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f".{to.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
    return ExportDone(to, kind, tuple(classes), heat, len(data), hashlib.sha256(data).hexdigest(), difference)


def _weights(source: str, registry: Registry) -> tuple[dict[str, Tensor], Bundle | None]:
    path = Path(source)
    if source in registry.aliases():  # a folder of that name is written './production'
        path = registry.locate(source)
    elif path.is_file():
        return (_safetensors(path) if path.suffix == ".safetensors" else averaged_weights(path)), None
    elif (path / CHECKPOINT_FILE).is_file():
        return averaged_weights(path / CHECKPOINT_FILE), None
    bundle = Bundle.load(registry.locate(source))
    bundle.require_task(DEFECT_TASK)
    return _safetensors(bundle.path / WEIGHTS_FILE), bundle


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_safetensors(path.read_bytes())
    except SafetensorError as error:
        raise InputError(f"{path} contains no weights: {error}") from error
