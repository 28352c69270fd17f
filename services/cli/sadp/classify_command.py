"""``braggwatch sadp classify`` and ``braggwatch sadp report``: verdicts on electron diffraction pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.console import ExitCode, clear_errors, console, error_console, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from braggwatch.models.bundling.registry import Registry
    from braggwatch.models.sadp.classifier import CrystalJudgement, SadpClassifier
    from braggwatch.services.sadp.report import JudgedPicture

_Files = Annotated[
    list[Path],
    typer.Argument(help="Pictures (tif, png, mrc, dm3, dm4, mib, hdf5) or folders of them.", metavar="FILE..."),
]
_Model = Annotated[str, typer.Option("--model", help="Bundle name with version, alias or folder.")]
_Registry = Annotated[Path | None, typer.Option("--registry", help="Folder of bundles; default: those of the package.")]
_Crystal = Annotated[
    bool, typer.Option("--crystal", help="All pictures are of one crystal: determine its space group.")
]
_Dataset = Annotated[str | None, typer.Option(help="HDF5: dataset of the pictures.")]
_Scale = Annotated[
    float | None,
    typer.Option(min=1e-6, help="Scale in 1/Å per pixel, for the lattice parameter; default: the file's own."),
]
_Centre = Annotated[
    tuple[float, float] | None, typer.Option(help="Direct beam, x and y in pixels; default: found from Friedel pairs.")
]
DEFAULT_MODEL = "sadp"


def classify(
    files: _Files,
    model: _Model = DEFAULT_MODEL,
    crystal: _Crystal = False,
    registry: _Registry = None,
    dataset: _Dataset = None,
    scale: _Scale = None,
    centre: _Centre = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report with indexed pictures here.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON record per picture, and one for the crystal.")
    ] = False,
) -> None:
    """Classify zone-axis patterns of cubic crystals: class of look-alike patterns and P(space group), or why not.

    Any picture size, bit depth, rotation and camera length; bright spots on dark background. Exit code 1 if no picture
    got a class or, with --crystal, none was usable.

    Example: **braggwatch sadp classify grain7_001.tif grain7_002.tif --crystal --report grain7.html**
    """
    with clear_errors():
        classifier, pictures = _judge(files, model, registry, dataset, scale, centre)
        whole = classifier.judge_crystal([one.judgement for one in pictures]) if crystal else None
        if report is not None:
            from braggwatch.services.sadp.report import write_sadp_report

            write_sadp_report(report, pictures, classifier.table, whole)
        if as_json:
            for one in pictures:
                write_json({"picture": one.name, **one.judgement.model_dump(mode="json")})
            if whole is not None:
                write_json({"crystal": whole.model_dump(mode="json")})
        else:
            _show(console(), pictures, whole)
        named = any(one.judgement.verdict.label is not None for one in pictures)
        if not (whole.patterns if whole is not None else named):
            raise typer.Exit(ExitCode.FAILED)


def report(
    files: _Files,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    model: _Model = DEFAULT_MODEL,
    crystal: _Crystal = False,
    registry: _Registry = None,
    dataset: _Dataset = None,
    scale: _Scale = None,
    centre: _Centre = None,
) -> None:
    """Write an HTML page with each picture, its spots, their reflections, zone, residual and lattice parameter.

    Example: **braggwatch sadp report session/ -o session.html**
    """
    with clear_errors():
        from braggwatch.services.sadp.report import write_sadp_report

        classifier, pictures = _judge(files, model, registry, dataset, scale, centre)
        whole = classifier.judge_crystal([one.judgement for one in pictures]) if crystal else None
        write_sadp_report(output, pictures, classifier.table, whole)
        error_console().print(f"{output}: {len(pictures)} pictures")


def _judge(
    files: list[Path],
    model: str,
    registry: Path | None,
    dataset: str | None,
    scale: float | None,
    centre: tuple[float, float] | None,
) -> tuple[SadpClassifier, list[JudgedPicture]]:
    from braggwatch.callbacks.sadp.pattern import PatternSettings, measure_pattern
    from braggwatch.models.bundling.registry import Registry
    from braggwatch.models.sadp.classifier import SadpClassifier
    from braggwatch.services.sadp.report import JudgedPicture
    from braggwatch.services.sadp.sources.picture_files import find_pictures, read_pictures

    paths = [path for one in files for path in find_pictures(one)]
    classifier = SadpClassifier.load(_bundle_folder(model, Registry(registry)))
    settings = PatternSettings(centre_px=centre)
    judged: list[JudgedPicture] = []
    with error_console().status("judging"):
        for path in paths:
            for picture in read_pictures(path, dataset):
                measured = measure_pattern(picture.pixels, settings, inv_A_per_px=scale or picture.inv_A_per_px)
                judged.append(JudgedPicture(picture.name, picture.pixels, measured, classifier.classify(measured)))
    return classifier, judged


def _bundle_folder(model: str, bundles: Registry) -> Path:
    from braggwatch.models.bundling.registry import RegistryError, default_root

    try:
        return bundles.locate(model)
    except RegistryError as error:
        into = "" if bundles.root == default_root() else f" --registry {bundles.root}"
        raise RegistryError(
            f"{error}. To make one: 'braggwatch sadp simulate --out data/sadp', then 'braggwatch sadp train --data "
            f"data/sadp --version 1.0.0{into}'; then name it: --model sadp-cubic/1.0.0, or --model and its folder"
        ) from error


def _show(screen: Console, pictures: Sequence[JudgedPicture], crystal: CrystalJudgement | None) -> None:
    from rich.table import Table

    table = Table("picture", "class", "probability", "P(group)", "spots", "cell", "notes")
    for one in pictures:
        judgement, verdict = one.judgement, one.judgement.verdict
        ranked = sorted(judgement.groups.items(), key=lambda item: -item[1])
        cell = "" if judgement.cell_ratio is None else f"{judgement.cell_ratio:.3f}, {judgement.cell_angle_deg:.1f}°"
        table.add_row(
            one.name,
            verdict.headline.replace("_", " "),
            "" if verdict.confidence is None else f"{verdict.confidence:.3f}",
            ", ".join(f"{name} {p:.0%}" for name, p in ranked[:3] if p >= 0.01),
            str(judgement.spots),
            cell,
            verdict.reason or ", ".join(judgement.members),
        )
    screen.print(table)
    if crystal is not None and crystal.best is not None:
        group, probability = crystal.best
        screen.print(
            f"crystal: space group {group} at {probability:.3f} (product), {crystal.mean[group]:.3f} (mean), from "
            f"{crystal.patterns} patterns; {crystal.set_aside} set aside"
        )
        zone, bits = crystal.next_zones[0]
        screen.print(f"next zone: [{' '.join(map(str, zone))}], {bits:.2f} bit expected")
