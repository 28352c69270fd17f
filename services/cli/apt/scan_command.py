"""``braggwatch apt scan``: from a reconstruction and its ranges to precipitates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, counted_progress, write_json


def scan(
    reconstruction: Annotated[Path, typer.Argument(help="Reconstruction: .pos, .epos or .apt.")],
    ranges: Annotated[Path, typer.Option("--ranges", help="Its ranges: .rrng or .rng.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results; an existing scan is resumed.")],
    host: Annotated[str | None, typer.Option(help="Element of the matrix; default: the most abundant.")] = None,
    solute: Annotated[
        str | None, typer.Option(help="Element on the corner sites; default: the second most abundant.")
    ] = None,
    bundle: Annotated[str, typer.Option("--bundle", help="Bundle: NAME/VERSION, alias or folder.")] = "apt",
    threshold: Annotated[
        float | None, typer.Option(help="Log odds above which a voxel is ordered; default: the bundle's.")
    ] = None,
    isoconcentration: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Solute fraction of an additional isoconcentration surface, e.g. 0.08; Otsu's is always shown.",
        ),
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Also score regions without resolved planes.")
    ] = False,
    spacing: Annotated[
        tuple[float, float], typer.Option(help="Smallest and largest plane spacing to search for, nm.")
    ] = (0.12, 0.24),
    controls: Annotated[
        bool, typer.Option(help="Scan a part again with random labels, where everything found is false.")
    ] = True,
    injected: Annotated[
        bool, typer.Option(help="Measure the detection limit by precipitates injected into these data.")
    ] = True,
    threads: Annotated[int, typer.Option(min=1, help="CPU cores for the network.")] = 1,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Folder of bundles; default: those of the package.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Find L1₂-ordered precipitates: map, sizes, detection limit, and isoconcentration surfaces for comparison.

    Data without resolved lattice planes across z are rejected with the reason. Writes scan.h5, scan.vti (ParaView),
    ordered-ions.pos, precipitates.csv, summary.json; 'braggwatch apt report' makes a page of them.

    Example: **braggwatch apt scan R76.pos --ranges R76.rrng --host Al --solute Li --isoconcentration 0.08 --out R76**
    """
    with clear_errors():
        from braggwatch.callbacks.apt.planes import PlaneSearch
        from braggwatch.models.apt.scoring import OrderScorer
        from braggwatch.models.bundling.bundle import Bundle
        from braggwatch.models.bundling.registry import Registry, RegistryError
        from braggwatch.models.runtimes.factory import open_runtime
        from braggwatch.services.apt.files import label_checked, read_ions, read_ranges
        from braggwatch.services.apt.scanning.outputs import write_outputs
        from braggwatch.services.apt.scanning.scan import ScanOptions, scan_reconstruction
        from braggwatch.services.apt.scanning.summary import summary

        options = ScanOptions(
            host=host,
            solute=solute,
            threshold=threshold,
            isoconcentration=isoconcentration,
            pole_only=not everywhere,
            controls=controls,
            injected=injected,
            search=PlaneSearch(spacing),
        )
        try:
            path = Registry(registry).locate(bundle)
        except RegistryError as error:
            raise RegistryError(f"{error}. {_how_to_train(bundle, registry)}") from error
        model = Bundle.load(path)
        scorer = OrderScorer(model, open_runtime(model, "onnxruntime-cpu", threads)[0])
        found_ranges = read_ranges(ranges)
        cloud = read_ions(reconstruction)
        with counted_progress() as progress:
            tasks: dict[str, int] = {}

            def say(what: str, done: int, of: int) -> None:
                if what not in tasks:
                    tasks[what] = progress.add_task(what, total=of)
                progress.update(tasks[what], completed=done)  # pyright: ignore[reportArgumentType]

            result = scan_reconstruction(
                label_checked(cloud, found_ranges),
                scorer,
                options,
                work=out / "parts",
                say=say,
            )
        paths = write_outputs(result, cloud.mass_to_charge_Da, out)
        if as_json:
            write_json({**summary(result), "files": {name: str(path) for name, path in paths.items()}})
            return
        sizes, limit = result.sizes, result.limit
        console().print(
            f"planes {result.planes.median_spacing_nm:.4f} nm apart, resolved in {result.planes.share:.0%} of the "
            "regions"
        )
        mean = "none whole" if sizes.mean_nm is None else f"mean radius {sizes.mean_nm:.2f} nm"
        console().print(
            f"{sizes.precipitates} ordered precipitates ({sizes.at_edge} at the edge), {mean}, "
            f"{sizes.volume_fraction:.1%} of the volume; cut at log odds {result.cut.threshold:.2f} ({result.cut.rule})"
        )
        for one in result.baselines:
            console().print(
                f"{result.solute} above {one.part:.1%} ({one.name}): {one.sizes.precipitates} precipitates, "
                f"{one.sizes.volume_fraction:.1%} of the volume"
            )
        if result.control is not None:
            console().print(
                f"control with random labels: {result.control.precipitates} false precipitates in "
                f"{result.control.voxels} voxels"
            )
        if limit is not None:
            reached = "above the largest tried" if limit.limit_nm is None else f"{limit.limit_nm:g} nm"
            console().print(f"smallest radius found at 80 % in these data: {reached}")
        console().print(f"written to {out}")


def _how_to_train(bundle: str, registry: Path | None) -> str:
    """Return what to type for a bundle of that name."""
    name, _, version = bundle.partition("/")
    where = "" if registry is None else f" --registry {registry}"
    return f"To make it, run 'braggwatch apt train --name {name} --version {version or '1.0.0'}{where}'"
