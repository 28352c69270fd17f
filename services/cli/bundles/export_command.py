"""``braggwatch cxdp export``: the deployable graph from trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import ExitCode, clear_errors, console, error_console, say, write_json


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE_OR_CHECKPOINT",
            help="A bundle (alias, NAME/VERSION or folder), a training's folder, its checkpoint.pt, or a file of "
            "weights (.safetensors).",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="Where to write the graph, e.g. model.onnx.")],
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of the softmax; else the bundle's, or 1.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Folder of bundles; else those of the package.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Export trained weights to ONNX: raw counts in; logits, probabilities and features out.

    The network is recognised from its weights, its outlier output left out, and normalisation and temperature are put
    into the graph. ONNX Runtime must give what PyTorch gives, to 1e-4, or nothing is written. A checkpoint gives the
    averaged weights; its graph is not calibrated, that is what 'braggwatch cxdp train' does after the last step.

    Example: **braggwatch cxdp export runs/train --to model.onnx**
    """
    with clear_errors():
        from dataclasses import asdict

        from braggwatch.models.bundling.export import ExportError
        from braggwatch.models.bundling.registry import Registry
        from braggwatch.services.cxdp.training.network_export import export_network

        if to.exists() and not force:
            raise FileExistsError(f"{to} is there already: choose another name, or --force")
        try:
            with error_console().status("exporting"):
                done = export_network(source, to, Registry(registry), temperature=temperature)
        except ExportError as error:
            say(f"error: not exported: {error}")
            raise typer.Exit(ExitCode.FAILED) from error
        if as_json:
            write_json({**asdict(done), "path": str(done.path)})
            return
        golden = "" if done.golden_difference is None else f", golden logits within {done.golden_difference:.1e}"
        console().print(
            f"{done.path}: {done.network} network, {len(done.classes)} classes, temperature {done.temperature:.3g}, "
            f"{done.size_bytes / 1e6:.1f} MB{golden}"
        )
