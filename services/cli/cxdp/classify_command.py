"""``braggwatch classify``: verdicts on recorded scans, without a service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import (
    ExitCode,
    clear_errors,
    console,
    error_console,
    say,
    write_json,
)
from braggwatch.services.cli.cxdp.scan_input import (
    AllowTruncated,
    Angles,
    Config,
    Frames,
    Geometry,
    Monitor,
    Read,
    ScanInput,
    Stated,
    numbered,
    scan_documents,
)

if TYPE_CHECKING:
    from rich.console import Console

    from braggwatch.callbacks.cxdp.records import ScreeningReport, ScreeningResult
    from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
    from braggwatch.services.recording.recordings import RecordedDocument
    from braggwatch.services.settings import Settings
    from braggwatch.sim.geometry.model import GeometryPreset


def classify(
    file: Annotated[Path, typer.Argument(help="Recording, or HDF5 file of one rocking curve.", metavar="FILE")],
    geometry: Geometry = None,
    model: Annotated[str | None, typer.Option(help="Bundle name, alias or folder; else the settings'.")] = None,
    config: Config = None,
    picture: Annotated[Path | None, typer.Option(help="PNG with three slices of what the network saw.")] = None,
    frames: Frames = None,
    angles: Angles = None,
    monitor: Monitor = None,
    set_: Stated = None,
    read: Read = None,
    hkl: Annotated[
        str | None,
        typer.Option(
            metavar="'H K L'",
            help="HDF5: the reflection, e.g. '1 -1 1', so that the verdict says which Burgers directions it sees; else "
            "the geometry's.",
        ),
    ] = None,
    allow_truncated: AllowTruncated = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON record a run, as the service stores it.")] = False,
) -> None:
    """Judge the runs of a recording, or a rocking curve in an HDF5 file, with the callback that judges live ones.

    Exit code 1 where no run got a class. Runs without frames of the preset's detector get no record: each is told of
    with the reason, on standard error. Several runs and --picture: the run's place is put into the file name.

    Example: **braggwatch classify scan54.bwrec --geometry 34idc --picture scan54.png**

    Example: **braggwatch classify scan.h5 --geometry 34idc --frames /entry/data/data --angles /entry/th ...**
    """
    with clear_errors():
        from braggwatch.services.cxdp.preset import chosen_preset
        from braggwatch.services.settings import load_settings

        settings = load_settings(config)
        scan = ScanInput(
            file, frames, angles, monitor, tuple(set_ or ()), tuple(read or ()), hkl, allow_truncated=allow_truncated
        )
        preset = chosen_preset(settings, geometry, hint=scan.hint)
        records = scan_documents(scan, settings, preset)
        results: list[ScreeningResult] = []
        unrecorded: list[UnrecordedRun] = []
        with error_console().status("judging"):
            for report in _reports(records, settings, preset, model, unrecorded.append):
                results.append(report.result)
                if picture is not None and report.model_input is not None:
                    _draw(report, picture, len(results))
                if as_json:
                    write_json(report.result)
        if not as_json and results:
            show(console(), results)
        if not results and not unrecorded:
            say(f"{file.name} holds no scan: 'braggwatch inspect {file.name}' lists what it holds")
        for run in unrecorded:
            say(run.in_words)
        if len(unrecorded) > 1:
            say(f"{len(unrecorded)} runs without a record, {len(results)} with one")
        if not any(result.verdict.label is not None for result in results):
            raise typer.Exit(ExitCode.FAILED)


def show(screen: Console, results: list[ScreeningResult]) -> None:
    """Print results as a table."""
    from rich.table import Table

    table = Table("scan", "verdict", "confidence", "out of distribution", "frames", "d (Å)", "size (nm)", "notes")
    for result in results:
        verdict, quality = result.verdict, result.quality
        flags = quality.flags if quality is not None else ()
        frames = f"{result.frames_received}/{result.frames_expected if result.frames_expected is not None else '?'}"
        notes = "; ".join(
            dict.fromkeys(filter(None, [verdict.reason, result.region_statement, result.training_note, *flags]))
        )
        score = "" if verdict.ood_score is None else f"{verdict.ood_score:.1f} (limit {verdict.ood_threshold:.1f})"
        table.add_row(
            str(result.scan_id if result.scan_id is not None else result.run_uid[:8]),
            result.in_words,
            "" if verdict.confidence is None else f"{verdict.confidence:.3f}",
            score,
            frames,
            "" if quality is None else f"{quality.d_spacing_A:.4f}",
            "" if quality is None or quality.size_nm is None else f"{quality.size_nm:.0f}",
            notes,
        )
    screen.print(table)


def _reports(
    records: Iterator[RecordedDocument],
    settings: Settings,
    preset: GeometryPreset,
    model: str | None,
    on_unrecorded: Callable[[UnrecordedRun], None],
) -> Iterator[ScreeningReport]:
    from braggwatch.callbacks.cxdp.preprocess.preprocessing import CpuPreprocessor
    from braggwatch.models.bundling.registry import Registry
    from braggwatch.models.cxdp.classifier import BundleClassifier
    from braggwatch.services.cxdp.preprocessing import preprocessing_settings
    from braggwatch.services.cxdp.recorded_runs import screen_documents

    name = model if model is not None else settings.screening.model
    path = Registry(settings.screening.registry).locate(name)
    classifier = BundleClassifier.load(path, threads=settings.screening.threads, prior=settings.screening.prior)
    preprocessor = CpuPreprocessor(preprocessing_settings(settings.preprocessing, preset))
    yield from screen_documents(
        records,
        preset,
        preprocessor,
        classifier,
        settings.assembly,
        allow_untrained=settings.screening.allow_untrained_crystals,
        on_unrecorded=on_unrecorded,
    )


def _draw(report: ScreeningReport, picture: Path, place: int) -> None:
    from braggwatch.models.slice_picture import render_slices, write_png

    if report.model_input is not None:
        path = numbered(picture, place)
        write_png(path, render_slices(report.model_input.intensity))
