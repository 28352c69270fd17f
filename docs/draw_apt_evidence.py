"""Draw what the order networks' calls rest on, Grad-CAM over the maps of simulated cubes: docs/images/apt-evidence.png.

``python docs/draw_apt_evidence.py --registry DIR --published apt-l12-paper/1.1.0 --default apt-l12/1.0.0``
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import typer

from braggwatch.models.apt.explain.sdm import explain_sdm
from braggwatch.models.apt.order_bundle import sdm_input_of
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.services.apt.training.labelled_maps import library_cubes
from braggwatch.sim.apt.library import load_library_spec

PICTURE = Path(__file__).resolve().parent / "images" / "apt-evidence.png"
CASES = (("fcc", 0, 0.02), ("L1₂", 5, 0.0125), ("fcc", 2, 0.0625), ("L1₂", 3, 0.05))
"""Phase, number, blur; the second and third are picked because the published network calls them wrongly."""
SEED = 12


def main(
    published: Annotated[str, typer.Option(help="Bundle of 'apt train-paper'.")],
    default: Annotated[str, typer.Option(help="Bundle of 'apt train'.")],
    registry: Annotated[Path | None, typer.Option(help="Folder of bundles; else those of the package.")] = None,
) -> None:
    """Draw a row a network, a column a cube."""
    figure, axes = plt.subplots(2, len(CASES), figsize=(10, 5.4), layout="constrained")
    for row, name in enumerate((published, default)):
        bundle = Bundle.load(Registry(registry).resolve(name))
        sdm = sdm_input_of(bundle)
        for axis, (phase, number, sigma_z) in zip(axes[row], CASES, strict=True):
            blur = (sigma_z, sigma_z)
            spec = load_library_spec("published").model_copy(
                update={"sigma_z_disordered_nm": blur, "sigma_z_ordered_nm": blur}
            )
            maps, _ = library_cubes(spec, sdm, SEED, range(number, number + 1))
            found = explain_sdm(bundle, maps[0])
            half = (-sdm.half_x_nm, sdm.half_x_nm, -sdm.half_z_nm, sdm.half_z_nm)
            axis.imshow(found.shown[0], origin="lower", extent=half, cmap="gray", aspect="auto")
            strength = found.importance / (found.importance.max() or 1)
            axis.imshow(
                np.ones_like(strength), origin="lower", extent=half, aspect="auto", cmap="Oranges", vmin=0, vmax=1.4,
                alpha=0.6 * strength,
            )  # fmt: skip
            axis.set_title(
                f"{phase}, σz {1000 * sigma_z:g} pm\ncalled {'L1₂' if found.label == 'l12' else found.label}, "
                f"{found.probability:.3f}",
                fontsize=9,
            )
            axis.tick_params(labelsize=7)
        axes[row, 0].set_ylabel(f"{bundle.manifest.name}\ndz, nm", fontsize=9)
    for axis in axes[1]:
        axis.set_xlabel("dx, nm", fontsize=8)
    figure.savefig(PICTURE, dpi=80)


if __name__ == "__main__":
    typer.run(main)
