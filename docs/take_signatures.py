"""Draw what each defect does to a Bragg peak: docs/images/signatures.png, from unrelaxed crystals of 120 000 atoms.

``python docs/take_signatures.py`` needs the simulation's and the developers' packages; half a minute.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from braggwatch.sim.crystallography.fcc import Miller
from braggwatch.sim.cxdp.crystal import (
    METALS,
    NO_STRAIN,
    CrystalSpec,
    DefectSpec,
    FaultSpec,
    LineSpec,
    LoopSpec,
    ShapeSpec,
    ShockleyPairSpec,
    ShockleySpec,
    StraightLineSpec,
    TwinSpec,
    build_crystal,
)
from braggwatch.sim.cxdp.crystal.dislocations import line_frame
from braggwatch.sim.cxdp.scattering import amplitude_on_grid

PICTURE = Path(__file__).resolve().parent / "images" / "signatures.png"
PLANE: Miller = (1, 1, 1)
SEEN: Miller = (1, -1, 1)
CELLS = 31
SAMPLING = 8.0
FRINGES = 3.2
SCREW = LineSpec(burgers=(1, -1, 0), plane=1, character_deg=0.0, offset=(0.0, 0.0))
EDGE = SCREW.model_copy(update={"character_deg": 90.0})


def _at(line: LineSpec, x: float) -> LineSpec:
    return line.model_copy(update={"offset": (0.0, x)})


def _line(line: LineSpec, *, opposite: bool = False) -> StraightLineSpec:
    return StraightLineSpec(line=line, opposite=opposite)


PANELS: tuple[tuple[str, Miller, LineSpec, tuple[DefectSpec, ...]], ...] = (
    ("perfect", SEEN, SCREW, ()),
    ("screw, g·b = 1", SEEN, SCREW, (_line(SCREW),)),
    ("edge, g·b = 1", SEEN, EDGE, (_line(EDGE),)),
    ("screw, g·b = 2", (2, -2, 0), SCREW, (_line(SCREW),)),
    ("edge, g·b = 2", (2, -2, 0), EDGE, (_line(EDGE),)),
    ("edge, g·b = 0", (1, 1, 1), EDGE, (_line(EDGE),)),
    ("Shockley pair, 0.3 apart", SEEN, EDGE, (ShockleyPairSpec(line=EDGE, separation=0.3),)),
    (
        "one Shockley, g·b = 1/3",
        SEEN,
        EDGE,
        (ShockleySpec(plane=PLANE, shift=2, angle_deg=90.0, offset=(0.0, 0.0)),),
    ),
    ("stacking fault", SEEN, EDGE, (FaultSpec(plane=PLANE, shift=0, offset=0.0),)),
    ("twin, 0.2 thick", SEEN, EDGE, (TwinSpec(plane=PLANE, shift=0, offset=0.0, thickness=0.2),)),
    (
        "Frank loop, g·b = 1",
        (1, 1, 1),
        EDGE,
        (LoopSpec(burgers=PLANE, interstitial=False, radius=0.3, centre=(0.0, 0.0, 0.0)),),
    ),
    (
        "prismatic loop, g·b = 1",
        (2, 0, 0),
        EDGE,
        (LoopSpec(burgers=(1, -1, 0), interstitial=True, radius=0.3, centre=(0.0, 0.0, 0.0)),),
    ),
    ("two edges, like, g·b = 2 x 1", SEEN, EDGE, (_line(_at(EDGE, 0.15)), _line(_at(EDGE, -0.15)))),
    ("edge dipole", SEEN, EDGE, (_line(_at(EDGE, 0.15)), _line(_at(EDGE, -0.15), opposite=True))),
    ("two screws, like, g·b = 2 x 1", SEEN, SCREW, (_line(_at(SCREW, 0.15)), _line(_at(SCREW, -0.15)))),
)


def pattern(hkl: Miller, view: LineSpec, defects: tuple[DefectSpec, ...]) -> NDArray[np.float64]:
    """Return |F|² on 64³ points, axes as `line_frame` of ``view`` (in the plane, its normal, the line)."""
    metal = METALS["Pt"]
    spec = CrystalSpec(
        element="Pt",
        size_nm=CELLS * metal.lattice_parameter_nm,
        points_across=CELLS,
        shape=ShapeSpec(
            ratio_100=metal.surface_ratio_100,
            ratio_110=metal.surface_ratio_110,
            facet_jitter=0.0,
            interface=None,
            height_fraction=1.0,
            elongation=(1.0, 1.0, 1.0),
        ),
        line=None,
        strain=NO_STRAIN,
        hkl=hkl,
        seed=1,
        defects=defects,
    )
    field = amplitude_on_grid(build_crystal(spec), line_frame(view) / (spec.size_nm * SAMPLING), (64, 64, 64))
    return field.real**2 + field.imag**2


def main() -> None:
    """Draw all panels."""
    reference = {hkl: pattern(hkl, EDGE, ()).max() for hkl in {panel[1] for panel in PANELS}}
    half = int(FRINGES * SAMPLING)
    extent = (-FRINGES, FRINGES, -FRINGES, FRINGES)
    figure, axes = plt.subplots(3, 5, figsize=(12.5, 8.4), layout="constrained", sharex=True, sharey=True)
    for axis, (title, hkl, view, defects) in zip(axes.flat, PANELS, strict=True):
        intensity = pattern(hkl, view, defects)
        slab = intensity[32 - half : 32 + half + 1, 32 - half : 32 + half + 1, 32].T / reference[hkl]
        axis.imshow(slab, origin="lower", extent=extent, norm=LogNorm(1e-4, 1.0, clip=True), cmap="magma")
        axis.set_title(f"{title}\n({' '.join(map(str, hkl))}), peak {intensity.max() / reference[hkl]:.2f}", fontsize=9)
    figure.supxlabel("q across the line, in the slip plane (fringes)")
    figure.supylabel("q along the slip plane's normal (fringes)")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=90)


if __name__ == "__main__":
    main()
