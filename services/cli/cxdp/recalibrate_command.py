"""``braggwatch cxdp recalibrate``: a bundle's network calibrated on other crystals, as a new version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, counted_progress, error_console
from braggwatch.services.cli.cxdp.train_command import Lines, NamedRight


def recalibrate(
    bundle: Annotated[str, typer.Argument(help="Bundle whose network is taken: name, alias or folder.")],
    version: Annotated[str, typer.Option("--version", help="Version of the new bundle, e.g. 1.6.0.")],
    calibration: Annotated[
        list[Path],
        typer.Option("--calibration", help="Folder of shards of crystals that it didn't learn from; again for more."),
    ],
    test: Annotated[
        list[Path], typer.Option("--test", help="Folder of test shards, of crystals used nowhere else; again for more.")
    ],
    lines: Lines = None,
    named_right: NamedRight = None,
    largest_line_offset: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Calibrate with lines up to this far from the centre, over the cube root of the volume, as the "
            "network was trained. A verdict of perfect speaks of the measured region alone.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the new bundle; else the same.")] = None,
    work: Annotated[Path, typer.Option("--work", help="Receives report.html and evaluation.json.")] = Path(
        "runs/recalibrate"
    ),
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="Go on where calibration and test share crystals; card and manifest say."),
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes of the test, one core each.")] = 1,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Folder of bundles; else those of the package.")
    ] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make it 'production' when it is written.")] = False,
) -> None:
    """Calibrate a bundle's network anew: thresholds, checks on the volume, and how far out it finds lines.

    The weights stay; the result is another version. For crystals of your own whose answers you know, or where a newer
    Braggwatch checks what the bundle's makers couldn't.

    Example: **braggwatch cxdp recalibrate production --version 1.9.0 --calibration data/calibration --test data/test**
    """
    with clear_errors():
        from braggwatch.models.bundling.bundle import Bundle
        from braggwatch.models.bundling.registry import Registry
        from braggwatch.models.learning.training_config import TrainingConfig
        from braggwatch.services.cxdp.training.bundle_making import find_shards
        from braggwatch.services.cxdp.training.bundle_recipe import BundleRecipe
        from braggwatch.services.cxdp.training.recalibration import recalibrate as calibrate_anew

        found = Registry(registry)
        former = Bundle.load(found.locate(bundle))
        recipe = BundleRecipe(
            name=name or former.manifest.name,
            version=version,
            training=(),
            outliers=(),
            calibration=tuple(path for folder in calibration for path in find_shards(folder, "cxdp-*.h5")),
            lines=() if lines is None else find_shards(lines, "cxdp-*.h5"),
            test=tuple(path for folder in test for path in find_shards(folder, "cxdp-*.h5")),
            test_outliers=tuple(path for folder in test for path in sorted(folder.glob("outlier-*.h5"))),
            config=TrainingConfig(),
            largest_line_offset=largest_line_offset,
            allow_overlap=allow_overlap,
            named_right=named_right,
            test_workers=workers,
        )
        with counted_progress() as progress:
            task = progress.add_task("calibrating and testing", total=None)
            path, evaluation = calibrate_anew(
                former, recipe, found.root, work, lambda done, of: progress.update(task, completed=done, total=of)
            )
        if promote:
            found.promote("production", f"{recipe.name}/{recipe.version}")
        error_console().print(f"{path}: accuracy {evaluation.overall.accuracy:.3f}; report {work / 'report.html'}")
