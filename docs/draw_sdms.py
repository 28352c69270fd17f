"""Draw what order looks like in spatial distribution maps: docs/images/sdm.png, from crystals of our simulated world.

``python docs/draw_sdms.py`` needs the developers' packages; a few seconds.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from braggwatch.sim.apt.imaging import Imaging
from braggwatch.sim.apt.model import label_ions
from braggwatch.sim.apt.precipitates import Precipitates
from braggwatch.sim.apt.sdm import SdmWindow, zx_sdm
from braggwatch.sim.apt.volume import VolumeSpec, simulate_volume

PICTURE = Path(__file__).resolve().parent / "images" / "sdm.png"
SIZE = (12.0, 12.0, 12.0)
WINDOW = SdmWindow(half_x_nm=0.7, half_y_nm=0.7, half_z_nm=0.6975, bins_x=24, bins_z=93)
SHARP, MEASURED = (0.08, 0.02), (0.5, 0.03)
BLURRED = (0.5, 0.0425)
CASES = (
    ("disordered,\nhardly blurred", "matrix", SHARP),
    ("L1₂,\nhardly blurred", "ordered", SHARP),
    ("disordered,\nσz = 0.03 nm", "matrix", MEASURED),
    ("L1₂,\nσz = 0.03 nm", "ordered", MEASURED),
    ("disordered,\nσz = 0.0425 nm", "matrix", BLURRED),
    ("L1₂,\nσz = 0.0425 nm", "ordered", BLURRED),
)


def main() -> None:
    """Draw a row of maps, and the z-SDM under each."""
    middle, nobody = np.array([SIZE]) / 2, Precipitates(np.empty((0, 3)), np.empty(0), np.empty(0, dtype=np.uint8))
    sphere = Precipitates(middle, np.array([20.0]), np.zeros(1, dtype=np.uint8))
    figure, axes = plt.subplots(2, len(CASES), figsize=(11, 4.4), height_ratios=(2, 1), layout="constrained")
    for column, (title, phase, (sigma_xy, sigma_z)) in enumerate(CASES):
        imaging = Imaging(sigma_xy_nm=sigma_xy, sigma_z_matrix_nm=sigma_z, sigma_z_ordered_nm=sigma_z, efficiency=0.5)
        world = VolumeSpec(size_nm=SIZE, imaging=imaging)
        cloud = simulate_volume(world, 1, precipitates=sphere if phase == "ordered" else nobody).cloud
        ions = label_ions(cloud, world.resolved_alloy().ranges())
        al = ions.species == ions.index("Al")
        inner = (np.abs(cloud.positions_nm - middle) < 4.0).all(axis=1)
        counts = zx_sdm(cloud.positions_nm, WINDOW, centres=al & inner, neighbours=al)
        extent = (-WINDOW.half_x_nm, WINDOW.half_x_nm, -WINDOW.half_z_nm, WINDOW.half_z_nm)
        axes[0, column].imshow(counts, extent=extent, origin="lower", cmap="viridis")
        axes[0, column].set_title(title, fontsize=8)
        profile = counts.sum(axis=1)
        axes[1, column].plot(WINDOW.z_nm(), profile / profile.max(), color="black", linewidth=0.8)
        axes[1, column].set_ylim(0, 1.05)
        for axis in axes[:, column]:
            axis.tick_params(labelsize=6)
    axes[0, 0].set_ylabel("dz, nm", fontsize=8)
    axes[0, 0].set_xlabel("dx, nm", fontsize=8)
    axes[1, 0].set_xlabel("dz, nm", fontsize=8)
    axes[1, 0].set_ylabel("pairs", fontsize=8)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).quantize(64).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
