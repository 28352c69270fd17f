"""``braggwatch apt explain``: the parts of a spatial distribution map that a classification depends on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braggwatch.services.cli.apt.simulate_command import Library
from braggwatch.services.cli.console import clear_errors, console, write_json
from braggwatch.sim.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from braggwatch.models.apt.sdm_input import SdmInput


def explain(
    reconstruction: Annotated[
        Path | None, typer.Argument(help="Reconstruction: .pos, .epos or .apt; default: a simulated cube.")
    ] = None,
    ranges: Annotated[Path | None, typer.Option("--ranges", help="Its ranges: .rrng or .rng.")] = None,
    at: Annotated[
        tuple[float, float, float] | None, typer.Option(help="Centre of the cube in the reconstruction, nm.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Element of the matrix; default: the most abundant.")] = None,
    solute: Annotated[
        str | None, typer.Option(help="Element on the corner sites; default: the second most abundant.")
    ] = None,
    library: Annotated[
        Library, typer.Option(help="Library to simulate from, without a reconstruction.")
    ] = Library.PUBLISHED,
    number: Annotated[int, typer.Option(min=0, help="Number of the simulated cube; odd numbers are L1₂.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated cubes.")] = 0,
    bundle: Annotated[str, typer.Option("--bundle", help="Bundle: NAME/VERSION, alias or folder.")] = "apt-l12-paper",
    label: Annotated[
        str | None, typer.Option(help="Class to explain, fcc or l12; default: the more probable one.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Picture to write (.png).")] = None,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Folder of bundles; default: those of the package.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as one JSON object.")] = False,
) -> None:
    """Show the evidence for a classification: Grad-CAM over the map, and the output of each convolution.

    Needs the extra 'train'. The picture shows the map, the map overlaid with the evidence, then a block of tiles per
    convolution.

    Example: **braggwatch apt explain R76.pos --ranges R76.rrng --at 12 8 40 --out why.png** or **braggwatch apt explain
    --library published --number 3 --out why.png**
    """
    with clear_errors():
        from braggwatch.models.apt.explain.sdm import explain_sdm
        from braggwatch.models.apt.explain.sdm_picture import sdm_explanation_pixels
        from braggwatch.models.apt.order_bundle import sdm_input_of
        from braggwatch.models.bundling.bundle import Bundle
        from braggwatch.models.bundling.registry import Registry
        from braggwatch.models.slice_picture import write_png

        if out is not None and out.suffix.lower() != ".png":
            raise InputError(f"{out.name}: the picture is a .png")
        model = Bundle.load(Registry(registry).locate(bundle))
        sdm = sdm_input_of(model)
        if reconstruction is None:
            counts = _simulated(sdm, library, seed, number)
        elif ranges is None or at is None:
            raise InputError("a reconstruction needs --ranges FILE and --at X Y Z")
        else:
            counts = _measured(sdm, reconstruction, ranges, at, host, solute)
        found = explain_sdm(model, counts, label=label)
        if out is not None:
            write_png(out, sdm_explanation_pixels(found))
        share = found.evidence_by_depth()
        rows = (sdm.window.half_z_nm * 2) * ((share * range(len(share))).sum() + 0.5) / len(share)
        facts = {
            "model": model.manifest.id,
            "label": found.label,
            "probability": round(found.probability, 6),
            "mean_dz_nm": round(float(rows - sdm.window.half_z_nm), 4) if share.sum() > 0 else None,
            "counts": int(counts.sum()),
            "feature_maps": [list(maps.shape) for maps in found.feature_maps],
        }
        if as_json:
            write_json({**facts, "evidence_by_depth": [round(float(one), 6) for one in share]})
            return
        from rich.table import Table

        table = Table(show_header=False)
        for fact, value in facts.items():
            table.add_row(fact.replace("_", " "), str(value))
        console().print(table)


def _simulated(sdm: SdmInput, library: Library, seed: int, number: int) -> NDArray[np.float32]:
    from braggwatch.services.apt.training.labelled_maps import library_cubes
    from braggwatch.sim.apt.library import load_library_spec

    return library_cubes(load_library_spec(library.value), sdm, seed, range(number, number + 1))[0][0]


def _measured(
    sdm: SdmInput,
    reconstruction: Path,
    ranges: Path,
    at: tuple[float, float, float],
    host: str | None,
    solute: str | None,
) -> NDArray[np.float32]:
    from braggwatch.services.apt.files import label_checked, read_ions, read_ranges
    from braggwatch.services.apt.scanning.cube_maps import cube_maps

    return cube_maps(label_checked(read_ions(reconstruction), read_ranges(ranges)), sdm, at, host, solute)
