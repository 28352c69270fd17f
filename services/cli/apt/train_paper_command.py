"""``braggwatch apt train-paper``: the network of Li et al. 2021, trained as published."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from braggwatch.services.cli.console import clear_errors, counted_progress, error_console, write_json


class PaperLibrary(StrEnum):
    """Libraries of the simulated maps."""

    PUBLISHED = "published"
    EQUAL = "equal"


def train_paper(
    version: Annotated[str, typer.Option("--version", help="Version of the new bundle, e.g. 1.0.0.")],
    name: Annotated[str, typer.Option("--name", help="Name of the bundle.")] = "apt-l12-paper",
    library: Annotated[
        PaperLibrary,
        typer.Option(help="'published': blur along z differs by class, as in the paper; 'equal': the same for both."),
    ] = PaperLibrary.PUBLISHED,
    disordered: Annotated[int, typer.Option(min=32, help="Simulated maps of disordered cubes.")] = 9866,
    ordered: Annotated[int, typer.Option(min=32, help="Simulated maps of L1₂ cubes.")] = 8550,
    held_out: Annotated[int, typer.Option(min=40, help="Other maps, for calibration and testing.")] = 600,
    measured: Annotated[
        Path | None,
        typer.Option(
            help="Your labelled measured maps, in seven variants each (the paper's case 2): an HDF5 file of 'maps' and "
            "'ordered', or a folder with subfolders fcc and l12 of .npy, .csv or .txt files."
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=0, help="Folds of the preceding cross-validation; 0: none.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs: passes through the maps.")] = 7,
    work: Annotated[
        Path, typer.Option("--work", help="Folder of maps, logs and checkpoints; an existing run is resumed.")
    ] = Path("runs/apt-train-paper"),
    config: Annotated[
        Path | None, typer.Option(help="JSON file with a library's specification, instead of --library.")
    ] = None,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Matrix products in half precision (bfloat16): faster if supported.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="Cores.")] = 1,
    device: Annotated[
        str, typer.Option("--device", help="'cpu', or 'cuda', which loads the whole set into GPU memory.")
    ] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="Seed of maps, weights and order of samples.")] = 1,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Folder of bundles; default: those of the package.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's path as one JSON object.")] = False,
) -> None:
    """Train the published network (Li et al., npj Comput. Mater. 7, 8, 2021), for comparison with the default one.

    Four convolutions, pictures of 150 x 150, RMSprop, seven epochs, fivefold cross-validation, then a final training on
    all maps. Run again, it resumes.

    Example: **braggwatch apt train-paper --version 1.0.0 --measured my-maps --registry my-bundles**
    """
    with clear_errors():
        from braggwatch.models.bundling.bundle import Bundle
        from braggwatch.models.bundling.registry import Registry, check_new_bundle
        from braggwatch.models.learning.device import check_device
        from braggwatch.models.learning.freed_memory import keep_freed_memory
        from braggwatch.services.apt.training.vote_training import PaperRecipe, make_paper_bundle
        from braggwatch.sim.apt.library import LibrarySpec, load_library_spec
        from braggwatch.sim.validated import read_json_model

        keep_freed_memory()
        check_new_bundle(Registry(registry).root, name, version)
        check_device(device)
        recipe = PaperRecipe(
            name=name,
            version=version,
            library=load_library_spec(library.value) if config is None else read_json_model(config, LibrarySpec),
            disordered=disordered,
            ordered=ordered,
            held_out=held_out,
            folds=folds,
            epochs=epochs,
            measured=measured,
            seed=seed,
            threads=threads,
            device=device,
            bf16=bf16,
        )
        with counted_progress() as progress:
            simulating = progress.add_task("simulating maps", total=2 * max(disordered, ordered) + held_out)
            training = progress.add_task("training", total=None)

            def stepped(network: int, step: int, loss: float) -> None:
                maps = disordered + ordered if network == folds else (disordered + ordered) * (folds - 1) // folds
                progress.update(
                    training,
                    completed=step,
                    total=max(recipe.config(maps).steps, step),
                    description=f"network {network + 1} of {folds + 1}, loss {loss:.3f}",
                )

            path = make_paper_bundle(
                recipe, Registry(registry).root, work, lambda maps: progress.advance(simulating, maps), stepped
            )
        metrics = Bundle.load(path).manifest.metrics
        if as_json:
            write_json({"bundle": str(path), "metrics": None if metrics is None else metrics.model_dump()})
        elif metrics is not None:
            error_console().print(
                f"{path}: {metrics.accuracy:.2%} of {metrics.samples} held-out maps classified correctly"
            )
