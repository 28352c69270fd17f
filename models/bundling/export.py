"""Torch network to the one deployable graph: raw counts in; logits, calibrated probabilities and features out.

Normalisation and temperature live inside, so that they are versioned with the weights and can't be forgotten. Torch is
imported inside the function: a service that only runs bundles doesn't need it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from braggwatch.models.bundling.manifest import Normalisation
from braggwatch.models.runtimes.base import INPUT_NAME, OUTPUT_NAMES
from braggwatch.models.runtimes.onnx import OnnxRuntime
from braggwatch.sim.errors import BraggwatchError, InputError

if TYPE_CHECKING:
    import onnx
    from torch import nn

_OPSET = 18


class ExportError(BraggwatchError, RuntimeError):
    """The exported graph doesn't reproduce the torch network."""


def deployable_module(network: nn.Module, temperature: float, normalisation: Normalisation = "log1p-max") -> nn.Module:
    """Wrap a network from normalised input to the graph of a bundle.

    Parameters
    ----------
    network
        Maps (N, n, n, n) float32, log1p of counts over its maximum, to logits (N, K) and features (N, F).
    temperature
        Divides the logits before the softmax, > 0.
    normalisation
        What stands before the network: 'log1p-max' as said above; 'network': nothing, the network takes what comes.

    Returns
    -------
    nn.Module
        In evaluation mode; maps (N, n, n, n) raw counts to (logits, probabilities, features).
    """
    import torch
    from torch import nn as torch_nn

    if not temperature > 0.0:
        raise InputError(f"the temperature must be positive, got {temperature}")

    class Deployable(torch_nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            scaled = counts
            if normalisation == "log1p-max":
                scaled = torch.log1p(counts)
                scaled = scaled / scaled.amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
            logits, features = self.network(scaled)
            return logits, torch.softmax(logits / temperature, dim=1), features

    return Deployable().eval()


def export_onnx(
    network: nn.Module,
    temperature: float = 1.0,
    shape: tuple[int, int, int] = (64, 64, 64),
    tolerance: float = 1e-4,
    normalisation: Normalisation = "log1p-max",
) -> bytes:
    """Export a network and check ONNX Runtime against torch.

    Parameters
    ----------
    network
        See :func:`deployable_module`; left in evaluation mode on the CPU, in float32.
    temperature
        Softmax temperature to bake in.
    shape
        Shape of one input.
    tolerance
        Largest allowed deviation of an output, relative to its largest value or one, whichever is larger.
    normalisation
        See :func:`deployable_module`.

    Returns
    -------
    bytes
        ``model.onnx``: self-contained, dynamic in the batch, free of source paths.

    Raises
    ------
    ExportError
        If any output deviates by more than the tolerance, for a batch of one or of three.
    """
    import onnx
    import torch

    module = deployable_module(network.cpu().float(), temperature, normalisation)
    rng = np.random.default_rng(0)
    # Counts over six decades: a graph that is right only for small numbers would pass otherwise.
    counts = rng.poisson(10.0 ** rng.uniform(-2.0, 4.0, size=(3, *shape))).astype(np.float32)
    sample = torch.from_numpy(counts)
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            (sample,),
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("the exporter returned no program")
    model = program.model_proto
    _strip_source_traces(model)
    onnx.checker.check_model(model)
    data = model.SerializeToString()

    runtime = OnnxRuntime(data, threads=1)
    with torch.no_grad():
        expected = [one.numpy() for one in module(sample)]
    for batch in (1, 3):
        output = runtime.run(counts[:batch])
        got_all = (output.logits, output.probabilities, output.features)
        for name, got, want in zip(OUTPUT_NAMES, got_all, expected, strict=True):
            difference = float(np.abs(got - want[:batch]).max()) / max(1.0, float(np.abs(want).max()))
            if not difference <= tolerance:
                raise ExportError(f"{name}: ONNX Runtime and torch differ by {difference:.3g}, allowed {tolerance:.3g}")
    return data


@contextlib.contextmanager
def _quiet_exporter() -> Generator[None]:
    """Silence the exporter's chatter: warnings about its own internals and the absence of torchvision."""
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter_log.setLevel(level)


def _strip_source_traces(model: onnx.ModelProto) -> None:
    """Remove stack traces and names of the exporting machine's files, which the exporter stores with every node."""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    for group in (graph.node, graph.value_info, graph.input, graph.output, graph.initializer, (graph,)):
        for item in group:
            item.doc_string = ""
            del item.metadata_props[:]
    if model.functions:
        raise ExportError("the graph holds local functions, which other runtimes can't be relied on to take")
