"""``braggwatch cxdp explain``: which part of a pattern an answer depends on."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, error_console, write_json
from braggwatch.sim.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
    from braggwatch.models.bundling.bundle import Bundle
    from braggwatch.models.explain.explanation import Explanation
    from braggwatch.services.settings import Settings


class ExplainMethod(StrEnum):
    """How to explain."""

    OCCLUSION = "occlusion"
    GRADCAM = "gradcam"


class ExplainFill(StrEnum):
    """What takes the place of what is hidden."""

    ZERO = "zero"
    RADIAL = "radial"


def explain(
    what: Annotated[
        str,
        typer.Argument(
            help="Recording of one run, NPZ as the page gives it, or a run's uid in the store.", metavar="FILE_OR_RUN"
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Picture (.png) or page (.html) to write; else figures only.")
    ] = None,
    method: Annotated[ExplainMethod, typer.Option(help="gradcam needs the extra 'train'.")] = ExplainMethod.OCCLUSION,
    fill: Annotated[
        ExplainFill, typer.Option(help="Occlusion: what takes the place of what is hidden.")
    ] = ExplainFill.ZERO,
    cells: Annotated[int, typer.Option(help="Occlusion: blocks along an edge, 8 or 16; 16 takes 8 times as long.")] = 8,
    label: Annotated[str | None, typer.Option(help="Class to explain; else the most probable.")] = None,
    model: Annotated[str | None, typer.Option(help="Bundle name, alias or folder; else the settings'.")] = None,
    geometry: Annotated[str | None, typer.Option(help="Recording: geometry preset or its file.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Settings (TOML).")] = None,
    store: Annotated[Path | None, typer.Option(help="SQLite file of the results; else the settings'.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say which part of a pattern the answer depends on, by hiding its parts or by the network's gradients.

    Example: **braggwatch cxdp explain scan54.bwrec --geometry 34idc --out scan54.html**

    Example: **braggwatch cxdp explain 8a3f… --store results.sqlite --method gradcam --out why.png**
    """
    with clear_errors():
        from braggwatch.models.bundling.bundle import Bundle
        from braggwatch.models.bundling.registry import Registry
        from braggwatch.models.bundling.tasks import DEFECT_TASK
        from braggwatch.services.settings import load_settings

        if out is not None and out.suffix.lower() not in {".png", ".html"}:
            raise InputError(f"{out.name}: the picture is a .png or a .html")
        if cells not in {8, 16}:
            raise InputError(f"--cells is 8 or 16, not {cells}")
        settings = load_settings(config)
        name = model if model is not None else settings.screening.model
        path = Registry(settings.screening.registry).locate(name)
        with error_console().status("explaining"):
            bundle = Bundle.load(path)
            bundle.require_task(DEFECT_TASK)
            counts = _counts(what, settings, path, geometry, store)
            found = _explanation(bundle, counts, method, fill, cells, label)
        if out is not None:
            _write(out, counts, found, what, bundle.manifest.id)
        facts = _facts(found, bundle.manifest.id)
        if as_json:
            write_json({**facts, "importance": found.importance.tolist() if method == "occlusion" else None})
            return
        from rich.table import Table

        table = Table(show_header=False)
        for fact, value in facts.items():
            table.add_row(fact.replace("_", " "), str(value))
        console().print(table)


def _explanation(
    bundle: Bundle,
    counts: NDArray[np.float32],
    method: ExplainMethod,
    fill: ExplainFill,
    cells: int,
    label: str | None,
) -> Explanation:
    if method is ExplainMethod.GRADCAM:
        from braggwatch.models.cxdp.explain.gradcam import gradcam

        return gradcam(bundle, counts, label=label)
    from braggwatch.models.cxdp.explain.occlusion import occlude
    from braggwatch.models.runtimes.factory import open_runtime

    runtime, _ = open_runtime(bundle)
    return occlude(
        runtime,
        bundle.manifest.classes,
        counts,
        shape=bundle.manifest.input.shape,
        label=label,
        cells=16 if cells == 16 else 8,
        fill="radial" if fill is ExplainFill.RADIAL else "zero",
    ).explanation()


def _counts(
    what: str, settings: Settings, bundle: Path, geometry: str | None, store: Path | None
) -> NDArray[np.float32]:
    file = Path(what)
    if not file.is_file():
        return _stored(what, store if store is not None else settings.store.path)
    if file.suffix.lower() == ".npz":
        return _kept(file)
    return _recorded(file, settings, bundle, geometry)


def _kept(file: Path) -> NDArray[np.float32]:
    import zipfile
    import zlib

    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as archive:
            if "intensity" not in archive.files:
                raise InputError(f"{file.name} holds no array 'intensity', only {', '.join(archive.files)}")
            return np.asarray(archive["intensity"], dtype=np.float32)
    except (EOFError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file.name} is no NPZ file of counts: {' '.join(str(error).split())}") from error


def _stored(run_uid: str, path: Path) -> NDArray[np.float32]:
    from braggwatch.services.storage.result_store import ResultStore

    if not path.is_file():
        raise FileNotFoundError(f"{run_uid} is no file, and there is no store {path} to look it up in: give --store")
    with ResultStore(path, read_only=True) as opened:
        if opened.get(run_uid) is None:
            raise UnknownNameError(f"{run_uid} is neither a file nor a run in {path}")
        counts = opened.model_input(run_uid)
    if counts is None:
        raise UnknownNameError(f"no model input kept for run {run_uid}")
    return counts


def _recorded(file: Path, settings: Settings, bundle: Path, geometry: str | None) -> NDArray[np.float32]:
    from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor
    from braggwatch.models.cxdp.classifier import BundleClassifier
    from braggwatch.services.cxdp.preprocessing import preprocessing_settings
    from braggwatch.services.cxdp.preset import chosen_preset
    from braggwatch.services.cxdp.recorded_runs import screen_documents
    from braggwatch.services.recording.recordings import read_header, read_recording

    read_header(file)
    preset = chosen_preset(settings, geometry)
    classifier = BundleClassifier.load(bundle, threads=settings.screening.threads)
    preprocessor = CpuPreprocessor(preprocessing_settings(settings.preprocessing, preset))
    unrecorded: list[UnrecordedRun] = []
    records = read_recording(file)
    reports = list(
        screen_documents(records, preset, preprocessor, classifier, settings.assembly, on_unrecorded=unrecorded.append)
    )
    if len(reports) != 1:
        why = "".join(f"; {run.in_words}" for run in unrecorded)
        raise InputError(f"{file.name} holds {len(reports)} rocking curves, one is needed{why}")
    model_input = reports[0].model_input
    if model_input is None or model_input.quality.invalid_reason is not None:
        raise InputError(f"{file.name} gives no model input: {reports[0].result.verdict.reason}")
    return model_input.intensity


def _facts(found: Explanation, model_id: str) -> dict[str, object]:
    import numpy as np

    strongest = np.unravel_index(int(np.abs(found.importance).argmax()), found.importance.shape)
    facts: dict[str, object] = {
        "method": found.method,
        "model": model_id,
        "label": found.label,
        "probability": round(found.probability, 6),
        "strongest_cell": [int(index) for index in strongest],
        "cells": list(found.importance.shape),
        "evaluations": found.evaluations,
        "seconds": round(found.seconds, 3),
    }
    if found.largest_drop is not None:
        facts["largest_drop"] = round(found.largest_drop, 6)
    return facts


def _write(out: Path, counts: NDArray[np.float32], found: Explanation, what: str, model_id: str) -> None:
    from braggwatch.models.explain.picture import explanation_png

    png = explanation_png(counts, found)
    if out.suffix.lower() == ".png":
        out.write_bytes(png)
        return
    from braggwatch.services.cxdp.explanation_page import explanation_page

    out.write_text(explanation_page(png, found, title=Path(what).name, model_id=model_id), encoding="utf-8")
