"""How often disordered cubes are called L1₂ because they are blurred: docs/images/apt-shortcut.png and a table.

``python docs/measure_apt_shortcut.py --registry DIR --bundle 'trained as published=apt-l12-paper/1.0.0' …`` simulates
cubes of one phase by the published table of parameters, but of both phases at every blur along z, and asks each bundle.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from braggwatch.models.apt.order_bundle import sdm_input_of
from braggwatch.models.bundle import Bundle
from braggwatch.models.registry import Registry
from braggwatch.models.runtimes.factory import open_runtime
from braggwatch.models.scores import wilson_interval
from braggwatch.services.apt_images import judge_maps, library_cubes
from braggwatch.services.cli.console import clear_errors, counted_progress
from braggwatch.sim.apt.library import load_library_spec

PICTURE = Path(__file__).resolve().parent / "images" / "apt-shortcut.png"
BLUR_NM = (0.01, 0.02, 0.03, 0.04, 0.05, 0.055, 0.06, 0.065)
SEED = 4_711


@dataclass(frozen=True, slots=True)
class Share:
    """Of cubes of one phase between two blurs: how many were called L1₂."""

    bundle: str
    ordered: bool
    sigma_z_nm: tuple[float, float]
    called: int
    cubes: int

    @property
    def text(self) -> str:
        """Share with its 95 % interval, per cent."""
        low, high = wilson_interval(self.called, self.cubes)
        return f"{100 * self.called / self.cubes:.0f} ({100 * low:.0f} to {100 * high:.0f})"


def main(
    bundle: Annotated[list[str], typer.Option(help="WHAT=NAME/VERSION; again for more.")],
    out: Annotated[Path, typer.Option(help="Folder for shortcut.json, taken up again where there.")],
    registry: Annotated[Path | None, typer.Option(help="Folder of bundles; else those of the package.")] = None,
    cubes: Annotated[int, typer.Option(min=10, help="Of each phase in each interval of blur.")] = 100,
    picture: Annotated[bool, typer.Option(help="Write docs/images/apt-shortcut.png.")] = True,
) -> None:
    """Measure, print a table, draw."""
    with clear_errors():
        named = {
            what: Bundle.load(Registry(registry).resolve(name)) for what, name in (b.split("=", 1) for b in bundle)
        }
        out.mkdir(parents=True, exist_ok=True)
        shares: list[Share] = []
        with counted_progress() as progress:
            task = progress.add_task("cubes", total=len(named) * (len(BLUR_NM) - 1))
            for what, one in named.items():
                for low, high in itertools.pairwise(BLUR_NM):
                    shares += _measured(out, what, one, (low, high), cubes)
                    progress.advance(task)
        typer.echo(_table(shares, list(named)))
        typer.echo(f"{datetime.now(UTC).date()}, {cubes} cubes of each phase in each interval")
        if picture:
            _draw(shares, list(named))


def _measured(out: Path, what: str, bundle: Bundle, blur_nm: tuple[float, float], cubes: int) -> list[Share]:
    path = out / f"{bundle.sha256[:12]}-{blur_nm[0]:g}-{blur_nm[1]:g}-{cubes}.json"
    if path.exists():
        called = json.loads(path.read_text())
    else:
        spec = load_library_spec("published").model_copy(
            update={"sigma_z_disordered_nm": blur_nm, "sigma_z_ordered_nm": blur_nm}
        )
        maps, ordered = library_cubes(spec, sdm_input_of(bundle), SEED, range(2 * cubes))
        runtime, _ = open_runtime(bundle, "onnxruntime-cpu")
        said = judge_maps(runtime, bundle.manifest.temperature, maps, ordered)
        called = [int((said.called_ordered & (ordered == phase)).sum()) for phase in (False, True)]
        path.write_text(json.dumps(called))
    return [Share(what, phase, blur_nm, n, cubes) for phase, n in zip((False, True), called, strict=True)]


def _table(shares: list[Share], bundles: list[str]) -> str:
    lines = [f"| cubes, σz nm | {' | '.join(bundles)} |", f"|---|{'---|' * len(bundles)}"]
    for phase, name in ((False, "fcc"), (True, "L1₂")):
        for blur in itertools.pairwise(BLUR_NM):
            row = [
                s.text for what in bundles for s in shares if (s.bundle, s.ordered, s.sigma_z_nm) == (what, phase, blur)
            ]
            lines.append(f"| {name}, {blur[0]:g} to {blur[1]:g} | {' | '.join(row)} |")
    return "\n".join(lines)


def _draw(shares: list[Share], bundles: list[str]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for axis, phase, name in zip(axes, (False, True), ("disordered cubes", "L1₂ cubes"), strict=True):
        for color, what in zip(("#D55E00", "#0072B2", "#009E73", "#CC79A7"), bundles, strict=False):
            own = [s for s in shares if s.bundle == what and s.ordered == phase]
            middle = [1000 * sum(s.sigma_z_nm) / 2 for s in own]
            share = np.array([s.called / s.cubes for s in own])
            low, high = np.array([wilson_interval(s.called, s.cubes) for s in own]).T
            axis.errorbar(
                middle,
                100 * share,
                100 * np.clip([share - low, high - share], 0, None),
                color=color,
                marker="o",
                capsize=2,
                label=what,
            )
        axis.axvspan(*((10, 40) if not phase else (30, 55)), color="0.92", zorder=0)
        axis.set(xlabel="blur along z, σz, pm", title=name, ylim=(-3, 103))
    axes[0].set_ylabel("called L1₂, %")
    axes[0].legend(fontsize=8, loc="upper left")
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    typer.run(main)
