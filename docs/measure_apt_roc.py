"""How well whole cubes are told apart under noise that no network was trained on: docs/images/apt-roc.png and a table.

``python docs/measure_apt_roc.py --registry DIR --bundle paper=apt-l12-paper/1.1.0 --bundle default=apt-l12/1.0.0 --out
DIR`` simulates cubes of one phase with the same noise for both phases and asks each bundle; the centre-voxel network
judges the central voxel of a 3-nm cube, the published one a cube of 4 nm, both of crystals of the same parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from braggwatch.models.apt.area import Area, area_under_curve, curve
from braggwatch.models.apt.order_bundle import sdm_input_of
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.runtimes.factory import open_runtime
from braggwatch.services.apt.training.labelled_maps import judge_maps, library_cubes
from braggwatch.services.cli.console import clear_errors, counted_progress
from braggwatch.sim.apt.library import Range, load_library_spec

PICTURE = Path(__file__).resolve().parent / "images" / "apt-roc.png"
SEED = 8_128


@dataclass(frozen=True, slots=True)
class Noise:
    """One kind of noise, the same for both phases; what isn't named is as in the published table."""

    name: str
    sigma_z_nm: Range = (0.03, 0.04)
    sigma_xy_nm: Range = (0.2, 0.8)
    efficiency: Range = (0.35, 0.8)
    displaced: Range = (0.0, 0.0)
    background: Range = (0.0, 0.0)
    tilt_deg: Range = (-1.0, 1.0)


NOISES = (
    Noise("inside the training ranges of both"),
    Noise("blur along z 0.06 to 0.075 nm", sigma_z_nm=(0.06, 0.075)),
    Noise("blur along x and y 0.8 to 1.2 nm", sigma_xy_nm=(0.8, 1.2)),
    Noise("15 to 30 % of the atoms detected", efficiency=(0.15, 0.3)),
    Noise("10 to 30 % displaced, 5 to 15 % background", displaced=(0.1, 0.3), background=(0.05, 0.15)),
    Noise("tilts of 5 to 7°", tilt_deg=(5.0, 7.0)),
    Noise(
        "all of these, each less",
        sigma_z_nm=(0.06, 0.065),
        sigma_xy_nm=(0.8, 1.0),
        efficiency=(0.25, 0.3),
        displaced=(0.1, 0.2),
        background=(0.05, 0.1),
    ),
)


def main(
    bundle: Annotated[list[str], typer.Option(help="WHAT=NAME/VERSION; again for more.")],
    out: Annotated[Path, typer.Option(help="Folder for the scores, taken up again where there.")],
    registry: Annotated[Path | None, typer.Option(help="Folder of bundles; else those of the package.")] = None,
    cubes: Annotated[int, typer.Option(min=10, help="Of each phase and kind of noise.")] = 150,
    picture: Annotated[bool, typer.Option(help="Write docs/images/apt-roc.png.")] = True,
) -> None:
    """Measure, print a table, draw."""
    with clear_errors():
        named = {
            what: Bundle.load(Registry(registry).resolve(name)) for what, name in (b.split("=", 1) for b in bundle)
        }
        out.mkdir(parents=True, exist_ok=True)
        scores: dict[tuple[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        with counted_progress() as progress:
            task = progress.add_task("cubes", total=len(named) * len(NOISES))
            for noise in NOISES:
                for what, one in named.items():
                    scores[what, noise.name] = _scores(out, one, noise, cubes)
                    progress.advance(task)
        outside = "all outside together"
        for what in named:
            parts = [scores[what, noise.name] for noise in NOISES[1:]]
            scores[what, outside] = (np.concatenate([p for p, _ in parts]), np.concatenate([n for _, n in parts]))
        typer.echo(_table(scores, list(named), [*(noise.name for noise in NOISES), outside]))
        typer.echo(f"{datetime.now(UTC).date()}, {cubes} cubes of each phase and kind of noise")
        if picture:
            _draw(scores, list(named), outside)


def _scores(out: Path, bundle: Bundle, noise: Noise, cubes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the log-odds of L1₂ and of disordered cubes."""
    path = out / f"{bundle.sha256[:12]}-{NOISES.index(noise)}-{cubes}.npz"
    if not path.exists():
        spec = load_library_spec("published").model_copy(
            update={
                "sigma_z_disordered_nm": noise.sigma_z_nm,
                "sigma_z_ordered_nm": noise.sigma_z_nm,
                "sigma_xy_nm": noise.sigma_xy_nm,
                "efficiency": noise.efficiency,
                "displaced": noise.displaced,
                "background": noise.background,
                "tilt_deg": noise.tilt_deg,
            }
        )
        maps, ordered = library_cubes(spec, sdm_input_of(bundle), SEED, range(2 * cubes))
        runtime, _ = open_runtime(bundle, "onnxruntime-cpu")
        said = judge_maps(runtime, bundle.manifest.temperature, maps, ordered)
        np.savez(path, positive=said.log_odds[ordered], negative=said.log_odds[~ordered])
    with np.load(path) as archive:
        return archive["positive"], archive["negative"]


def _table(
    scores: dict[tuple[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]], bundles: list[str], rows: list[str]
) -> str:
    lines = [
        f"| noise | {' | '.join(f'{what}: area | right' for what in bundles)} |",
        f"|---|{'---|---|' * len(bundles)}",
    ]
    for row in rows:
        cells: list[str] = []
        for what in bundles:
            positive, negative = scores[what, row]
            right = (float((positive > 0).mean()) + float((negative <= 0).mean())) / 2
            cells += [_text(area_under_curve(positive, negative)), f"{100 * right:.0f} %"]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _text(area: Area) -> str:
    return f"{area.area:.3f} ({area.low:.3f} to {area.high:.3f})"


def _draw(
    scores: dict[tuple[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]], bundles: list[str], row: str
) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    for color, what in zip(("#D55E00", "#0072B2", "#009E73", "#CC79A7"), bundles, strict=False):
        positive, negative = scores[what, row]
        axis.plot(
            *curve(positive, negative), color=color, label=f"{what}, {_text(area_under_curve(positive, negative))}"
        )
    axis.plot([0, 1], [0, 1], color="0.8", linestyle=":")
    axis.set(xlabel="disordered cubes above the cut", ylabel="L1₂ cubes above the cut", title=row)
    axis.legend(fontsize=8, loc="lower right")
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    typer.run(main)
