"""``braggwatch apt scan-by-votes``: the scan of Li et al. 2021, for comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, console, counted_progress, write_json


def scan_by_votes(
    reconstruction: Annotated[Path, typer.Argument(help="Reconstruction: .pos, .epos or .apt.")],
    ranges: Annotated[Path, typer.Option("--ranges", help="Its ranges: .rrng or .rng.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results; an existing scan is resumed.")],
    host: Annotated[str | None, typer.Option(help="Element of the matrix; default: the most abundant.")] = None,
    solute: Annotated[
        str | None, typer.Option(help="Element on the corner sites; default: the second most abundant.")
    ] = None,
    bundle: Annotated[str, typer.Option("--bundle", help="Bundle of 'apt train-paper'.")] = "apt-l12-paper",
    threshold: Annotated[int, typer.Option(min=1, max=64, help="Votes from which a voxel is ordered.")] = 62,
    threads: Annotated[int, typer.Option(min=1, help="CPU cores for the network.")] = 1,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Folder of bundles; default: those of the package.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Find ordered voxels by the published rule: each cube of 4 nm is classified, a voxel needs 62 of its 64 cubes.

    For comparison with **braggwatch apt scan**, which finds far smaller precipitates: 62 votes need an ordered
    neighbourhood of 7 nm. Writes votes.h5 and summary.json. An interrupted scan can be resumed.

    Example: **braggwatch apt scan-by-votes R76.pos --ranges R76.rrng --host Al --solute Li --out R76-votes**
    """
    with clear_errors():
        import json

        from braggwatch.models.apt.cube_votes import CubeCaller
        from braggwatch.models.bundling.bundle import Bundle
        from braggwatch.models.bundling.registry import Registry
        from braggwatch.models.runtimes.factory import open_runtime
        from braggwatch.services.apt.files import label_checked, read_ions, read_ranges
        from braggwatch.services.apt.scanning.vote_scan import paper_summary, scan_by_votes, write_paper_scan
        from braggwatch.sim.whole_file import whole_file

        model = Bundle.load(Registry(registry).locate(bundle))
        caller = CubeCaller(model, open_runtime(model, "onnxruntime-cpu", threads)[0])
        ions = label_checked(read_ions(reconstruction), read_ranges(ranges))
        with counted_progress() as progress:
            task = progress.add_task("slabs of cubes", total=None)
            found = scan_by_votes(
                ions,
                caller,
                host=host,
                solute=solute,
                threshold=threshold,
                work=out / "parts",
                progress=lambda done, of: progress.update(task, completed=done, total=of),
            )
        out.mkdir(parents=True, exist_ok=True)
        write_paper_scan(out / "votes.h5", found, model.manifest.id)
        facts = paper_summary(found, model.manifest.id)
        with whole_file(out / "summary.json") as path:
            path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        if as_json:
            write_json(facts)
            return
        console().print(
            f"{facts['cubes_called_ordered']} of {facts['cubes']} cubes are L1₂; {facts['voxels_ordered']} voxels "
            f"with at least {threshold} votes, in {found.sizes.precipitates} precipitates; written to {out}"
        )
