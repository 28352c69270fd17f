"""``braggwatch cxdp gap``: how far a bundle is from real data, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, error_console, write_json

if TYPE_CHECKING:
    from braggwatch.callbacks.cxdp.preprocess.preprocessing import PreprocessingSettings
    from braggwatch.callbacks.cxdp.records import RockingCurve
    from braggwatch.services.cxdp.studies.gap_to_real_data import Case, GapReport
    from braggwatch.sim.cxdp.given_particles import Measurement, ParticleObject


def gap(
    bundles: Annotated[list[str], typer.Option("--bundle", help="Bundle name, alias or folder; again for more.")],
    shards: Annotated[
        list[Path] | None, typer.Option("--test", help="Shard or folder of shards of the default population.")
    ] = None,
    hard: Annotated[int, typer.Option(min=0, help="Strained and odd perfect crystals, of each kind.")] = 40,
    per_row: Annotated[
        int, typer.Option(min=0, help="Patterns of each other hard row: shapes, lines at the rim, blur, artefacts.")
    ] = 40,
    keep: Annotated[Path | None, typer.Option(help="Folder to keep those in, for the next bundle.")] = None,
    scan: Annotated[Path | None, typer.Option(help="Recording of a measured perfect crystal.")] = None,
    object_: Annotated[
        Path | None, typer.Option("--object", help="Its object (npz): read where it is there, else phased and written.")
    ] = None,
    truth: Annotated[str, typer.Option(help="Class of the measured scan.")] = "perfect",
    lines: Annotated[bool, typer.Option(help="Put dislocations into the particle.")] = True,
    geometry: Annotated[str | None, typer.Option(help="Geometry preset of the scan; else the settings'.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Settings (TOML): mask, flat field.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes for the strained crystals.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON record a bundle.")] = False,
) -> None:
    """Measure what a bundle says of crystals other than those it was trained on.

    Five sets: test shards; perfect crystals of growing strain and odd shapes; lines out to the rim, blurred and spoilt
    patterns, two particles; a measured scan and its object scanned again; that object, or the shipped fitted
    polyhedron, with screw and edge lines in it.

    Example: **braggwatch cxdp gap --bundle production**

    Example: **braggwatch cxdp gap --bundle production --scan scan54.bwrec --geometry 34idc --object scan54.npz**
    """
    with clear_errors():
        from tempfile import TemporaryDirectory

        from rich.progress import Progress

        from braggwatch.models.bundling.registry import Registry
        from braggwatch.models.cxdp.classifier import BundleClassifier
        from braggwatch.services.cxdp.studies.gap_to_real_data import score_cases
        from braggwatch.sim.cxdp.hard_perfect import HARDNESSES
        from braggwatch.sim.cxdp.hard_rows import hard_rows

        classifiers = [BundleClassifier.load(Registry().locate(b), threads=1) for b in bundles]
        with TemporaryDirectory() as scratch, Progress(console=error_console()) as progress:
            measured = None if scan is None else _curve(scan, geometry, config)
            source, particles = _particles(object_, measured)
            making = progress.add_task("simulating", total=hard * len(HARDNESSES) + per_row * len(hard_rows()))
            judging = progress.add_task("classifying", total=None)
            cases = _cases(
                shards or [],
                keep or Path(scratch),
                (hard, per_row),
                workers,
                measured,
                particles,
                truth,
                lines,
                lambda made: progress.advance(making, made),
            )
            reports = score_cases(cases, classifiers, source, lambda: progress.advance(judging))
        for report in reports:
            if as_json:
                write_json(report)
            else:
                show(report)


def show(report: GapReport) -> None:
    """Print one bundle's gap as a table."""
    from rich.table import Table

    table = Table("set", "condition", "truth", "n", "right", "wrong", "no class", "said", title=report.bundle)
    for row in report.rows:
        wrong = row.wrong(report.classes)
        said = ", ".join(f"{name} {count}" for name, count in sorted(row.named.items(), key=lambda i: -i[1]))
        rest = row.cases - row.right - wrong
        table.add_row(row.group, row.condition, row.truth, str(row.cases), str(row.right), str(wrong), str(rest), said)
    console().print(table)


def _curve(scan: Path, geometry: str | None, config: Path | None) -> tuple[RockingCurve, PreprocessingSettings]:
    from braggwatch.services.cxdp.preprocessing import preprocessing_settings
    from braggwatch.services.cxdp.preset import chosen_preset
    from braggwatch.services.cxdp.studies.phased_scan import recorded_curve
    from braggwatch.services.recording.recordings import read_recording
    from braggwatch.services.settings import load_settings

    settings = load_settings(config)
    preset = chosen_preset(settings, geometry)
    return recorded_curve(read_recording(scan), preset), preprocessing_settings(settings.preprocessing, preset)


def _particles(
    stored: Path | None, measured: tuple[RockingCurve, PreprocessingSettings] | None
) -> tuple[str, list[tuple[str, ParticleObject, Measurement]]]:
    from braggwatch.services.cxdp.studies.phased_scan import phase_scan
    from braggwatch.sim.cxdp.object_files import fitted_gold, load_object, save_object

    fitted = fitted_gold()
    particles = [("fitted polyhedron", fitted.particle(), fitted.measurement)]
    if stored is not None and stored.exists():
        particle, measurement, source = load_object(stored)
        return source, [("retrieved object", particle, measurement), *particles]
    if measured is None:
        if stored is not None:
            raise FileNotFoundError(f"{stored} isn't there: give --scan too, then it is made")
        return fitted.source, particles
    curve, settings = measured
    phased = phase_scan(curve, settings)
    found = phased.reconstruction
    source = f"run {curve.run_uid}, phased to an error of {found.error:.4f}, two starts agree to {found.agreement:.2f}"
    if stored is not None:
        save_object(stored, phased.particle, phased.measurement, source)
    return source, [("retrieved object", phased.particle, phased.measurement), *particles]


def _cases(
    shards: list[Path],
    folder: Path,
    samples: tuple[int, int],
    workers: int,
    measured: tuple[RockingCurve, PreprocessingSettings] | None,
    particles: list[tuple[str, ParticleObject, Measurement]],
    truth: str,
    lines: bool,
    on_made: Callable[[int], None],
) -> Iterator[Case]:
    from braggwatch.services.cxdp.studies.gap_to_real_data import (
        RIM_OFFSETS,
        ParticleCases,
        hard_cases,
        row_cases,
        scan_cases,
        shard_cases,
    )

    paths = [path for given in shards for path in (sorted(given.glob("cxdp-*.h5")) if given.is_dir() else [given])]
    yield from shard_cases(paths)
    hard, per_row = samples
    if hard:
        yield from hard_cases(folder, hard, workers, on_made=on_made)
    if per_row:
        yield from row_cases(folder, per_row, workers, on_made)
    if measured is not None:
        yield from scan_cases(*measured, truth)
    for name, particle, measurement in particles:
        cases = ParticleCases(particle, measurement, name)
        yield from cases.as_it_is("perfect")
        if lines:
            yield from cases.with_lines()
            # after the others, so that these keep the noise that they always had
            yield from cases.with_lines(RIM_OFFSETS)
