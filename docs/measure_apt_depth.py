"""Compare one to four convolutions by their final losses, as Li et al. 2021 do, on the published and on equal noise.

``python docs/measure_apt_depth.py --maps DIR --library published --out DIR`` takes the maps that ``braggwatch apt
train-paper`` left under its ``--work`` (the folder ``maps`` there), or makes them; it goes on where it stopped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from braggwatch.models.apt.training.pictures import PictureSamples
from braggwatch.models.apt.training.vote_network import judge_fold, paper_sdm_config, train_paper
from braggwatch.models.networks.sdm import PaperSdmNet
from braggwatch.services.apt.training.vote_training import HELD_OUT_FROM, PaperRecipe, library_maps, simulated_pictures
from braggwatch.services.cli.apt.train_paper_command import PaperLibrary
from braggwatch.services.cli.console import clear_errors, counted_progress
from braggwatch.sim.apt.library import load_library_spec


def main(
    maps: Annotated[Path, typer.Option(help="Folder of maps.")],
    out: Annotated[Path, typer.Option(help="Logs and checkpoints.")],
    library: Annotated[PaperLibrary, typer.Option(help="What the maps are of.")] = PaperLibrary.PUBLISHED,
    disordered: Annotated[int, typer.Option(help="Maps of disordered cubes to learn from.")] = 9866,
    ordered: Annotated[int, typer.Option(help="Maps of L1₂ cubes.")] = 8550,
    tested: Annotated[int, typer.Option(help="Other maps to test on.")] = 600,
    epochs: Annotated[int, typer.Option(help="Times through the maps.")] = 7,
    depth: Annotated[list[int] | None, typer.Option(help="Convolutions; again for more. Else 4, 3, 2, 1.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of maps, weights and order.")] = 1,
    bf16: Annotated[bool, typer.Option("--bf16", help="Products in half precision.")] = False,
) -> None:
    """Train, print a table."""
    with clear_errors():
        depths = depth or [4, 3, 2, 1]
        spec = load_library_spec(library.value)
        recipe = PaperRecipe("depth", "0", spec, disordered, ordered, folds=0, epochs=epochs, seed=seed, bf16=bf16)
        samples = simulated_pictures(recipe, maps)
        held_out, labels = library_maps(maps, spec, seed, HELD_OUT_FROM, tested)
        test = PictureSamples.of_maps(held_out[:, 0], labels)
        config = paper_sdm_config(len(samples), epochs=epochs, seed=seed, bf16=bf16)
        typer.echo("| convolutions | parameters | loss, nats | right |\n|---|---|---|---|")
        with counted_progress() as progress:
            task = progress.add_task("steps", total=len(depths) * config.steps)
            for convolutions in depths:
                network = train_paper(
                    samples,
                    test,
                    config,
                    out / f"{library.value}-{convolutions}",
                    depth=convolutions,
                    on_step=lambda *_: progress.advance(task),
                )
                found = judge_fold(network, len(samples), test)
                parameters = sum(p.numel() for p in PaperSdmNet(convolutions).parameters())
                typer.echo(f"| {convolutions} | {parameters} | {found.loss:.4f} | {100 * found.accuracy:.1f} % |")
        typer.echo(
            f"{datetime.now(UTC).date()}, {len(samples)} maps learnt from, {len(test)} tested on, {epochs} epochs"
        )


if __name__ == "__main__":
    typer.run(main)
