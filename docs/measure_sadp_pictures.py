"""Judge drawn diffraction pictures end to end: spot finding, centring, lattice map, network, group.

Run: ``python docs/measure_sadp_pictures.py --data data/sadp --bundle models/bundles/sadp-cubic/1.3.0``
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.sadp.pattern import measure_pattern
from braggwatch.models.sadp.classifier import PatternJudgement, SadpClassifier
from braggwatch.models.sadp.outliers import outlier_spots
from braggwatch.sim.sadp.cif import group_operations
from braggwatch.sim.sadp.kinematic import BeamSettings, simulate
from braggwatch.sim.sadp.model import ZONES, SpotPattern
from braggwatch.sim.sadp.pattern_files import read_patterns
from braggwatch.sim.sadp.render import RenderSettings, render
from braggwatch.sim.sadp.splits import validation_structures
from braggwatch.sim.sadp.structure import CrystalStructure, Site, expand
from braggwatch.sim.sadp.table import structures
from braggwatch.sim.sadp.visibility import shows_lattice

PEAK = 3e4
TILTS_DEG = (4.0, 8.0)
FEWEST = 8


def monoclinic() -> tuple[CrystalStructure, ...]:
    """Baddeleyite (Howard, Hill, Reichert, Acta Cryst. B44, 116, 1988), tenorite (Asbrink, Norrby, B26, 8, 1970)."""
    zirconia = (
        Site("Zr", (0.2754, 0.0395, 0.2083)),
        Site("O", (0.0700, 0.3317, 0.3447)),
        Site("O", (0.4496, 0.7569, 0.4792)),
    )
    tenorite = (Site("Cu", (0.25, 0.25, 0.0)), Site("O", (0.0, 0.4184, 0.25)))
    return (
        expand("baddeleyite", zirconia, cell(5.1505, 5.2116, 5.3173, 99.230), group_operations("P 1 21/c 1")),
        expand("tenorite", tenorite, cell(4.6837, 3.4226, 5.1288, 99.54), group_operations("C 1 2/c 1")),
    )


def cell(a: float, b: float, c: float, beta_deg: float) -> NDArray[np.float64]:
    """Return rows a, b, c in Å of a monoclinic cell, b unique."""
    beta = np.radians(beta_deg)
    return np.array([[a, 0, 0], [0, b, 0], [c * np.cos(beta), 0, c * np.sin(beta)]])


def views(
    crystals: tuple[CrystalStructure, ...], count: int, tilted: bool, rng: np.random.Generator
) -> list[SpotPattern]:
    """Simulate patterns along the sixteen directions, or off them by 4 to 8°; those with too few spots are left out."""
    found: list[SpotPattern] = []
    while len(found) < count:
        crystal = crystals[rng.integers(len(crystals))]
        lean = rng.uniform(*TILTS_DEG) * (1.0 if tilted else 0.0)
        turn = rng.uniform(0, 2 * np.pi)
        beam = BeamSettings(
            voltage_kV=200.0,
            thickness_A=float(rng.uniform(60, 400)),
            tilt_deg=(float(lean * np.cos(turn)), float(lean * np.sin(turn))),
            half_width_inv_A=float(rng.uniform(1.0, 2.0)),
        )
        pattern = simulate(crystal, ZONES[rng.integers(len(ZONES))], beam).visible(1e-4)
        if len(pattern.visible(1e-3).intensity) >= FEWEST:
            found.append(SpotPattern(pattern.g_inv_A / beam.half_width_inv_A * 1.28, pattern.intensity, pattern.hkl))
    return found


def picture(pattern: SpotPattern, inv_A_per_px: float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Draw 256 x 256 pixels of 16 bits: any turn, mirror and centre, direct beam, halo, noise, now and then a stop."""
    centre = tuple(127.5 + rng.uniform(-12, 12, size=2))
    settings = RenderSettings(
        inv_A_per_px=inv_A_per_px,
        spot_sigma_px=float(rng.uniform(1.2, 2.0)),
        centre_px=(float(centre[0]), float(centre[1])),
        rotation_deg=float(rng.uniform(0, 360)),
        mirrored=bool(rng.random() < 0.5),
        direct_beam=10.0,
    )
    rows, columns = np.mgrid[:256, :256]
    x, y = columns - centre[0], rows - centre[1]
    halo = 10 ** rng.uniform(1, 3) * np.exp(-np.hypot(x, y) / rng.uniform(12, 30))
    clean = PEAK * 10 ** rng.uniform(-1, 0) * render(pattern, settings) + halo + rng.uniform(5, 40)
    if rng.random() < 0.3:
        turn = rng.uniform(0, 2 * np.pi)
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        clean = np.where(((along > 0) & (np.abs(across) < 6)) | (np.hypot(x, y) < 9), 1.0, clean)
    return np.minimum(rng.poisson(clean), 65535).astype(np.uint16)


def rings(rng: np.random.Generator, grains: int | None) -> NDArray[np.uint16]:
    """Draw an fcc powder: whole rings, or as many spots on each as there are grains."""
    rows, columns = np.mgrid[:256, :256]
    centre = 127.5 + rng.uniform(-8, 8, size=2)
    radius = np.hypot(columns - centre[0], rows - centre[1])
    image = 20 + 400 * np.exp(-radius / 20)
    unit = rng.uniform(20, 32)
    for order, height in ((3, 1.0), (4, 0.6), (8, 0.5), (11, 0.4), (12, 0.15)):
        if grains is None:
            image = image + 300 * height * np.exp(-0.5 * ((radius - unit * np.sqrt(order)) / 1.6) ** 2)
            continue
        turn = rng.uniform(0, 2 * np.pi, size=grains)
        points = unit * np.sqrt(order) * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        spots = SpotPattern(points, rng.uniform(0.05, 1, size=grains), np.zeros((grains, 3), dtype=np.int32))
        middle = (float(centre[0]), float(centre[1]))
        image = image + 4000 * height * render(spots, RenderSettings(inv_A_per_px=1.0, centre_px=middle))
    return rng.poisson(image).astype(np.uint16)


def amorphous(rng: np.random.Generator) -> NDArray[np.uint16]:
    """Draw two broad halos."""
    rows, columns = np.mgrid[:256, :256]
    radius = np.hypot(columns - 127, rows - 128)
    halos = 500 * np.exp(-0.5 * ((radius - rng.uniform(50, 70)) / 10) ** 2)
    return rng.poisson(100 + 3000 * np.exp(-radius / 15) + halos).astype(np.uint16)


def main() -> int:
    """Print scores as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--split", choices=("structure", "prototype"), default="structure")
    parser.add_argument("--n", type=int, default=400)
    options = parser.parse_args()
    classifier = SadpClassifier.load(options.bundle)
    patterns = read_patterns(options.data)
    test = patterns.of_structures(validation_structures(patterns.structures, options.split))
    test = test[shows_lattice(patterns)[test]]
    rng = np.random.default_rng(11)
    right, groups, named, named_right = 0, 0.0, 0, 0
    outcomes: Counter[str] = Counter()
    measuring: list[float] = []
    judging: list[float] = []

    def judge(image: NDArray[np.uint16]) -> PatternJudgement:
        began = time.process_time()
        measured = measure_pattern(image)
        between = time.process_time()
        said = classifier.classify(measured)
        measuring.append(between - began)
        judging.append(time.process_time() - between)
        return said

    chosen = rng.choice(test, size=min(options.n, len(test)), replace=False)
    for index in chosen:
        facts = patterns.facts(int(index))
        said = judge(picture(patterns.pattern(int(index)), facts.inv_A_per_px, rng))
        outcomes[said.verdict.outcome.value] += 1
        truth = classifier.classes[facts.class_label]
        best = max(said.verdict.probabilities, key=lambda name: said.verdict.probabilities[name], default="")
        right += best == truth
        groups += said.groups.get(str(facts.space_group), 0.0)
        if said.verdict.label is not None:
            named += 1
            named_right += said.verdict.label == truth
    refused: dict[str, float] = {}
    kinds = {
        "rings": lambda: rings(rng, None),
        "rings of 300 grains": lambda: rings(rng, 300),
        "40 grains": lambda: rings(rng, 40),
        "amorphous": lambda: amorphous(rng),
        "noise": lambda: rng.poisson(50, size=(256, 256)).astype(np.uint16),
    }
    for kind, draw in kinds.items():
        refused[kind] = float(np.mean([judge(draw()).verdict.label is None for _ in range(40)]))
    lattices = outlier_spots(150, 240, classifier.table, seed=21)
    others = [SpotPattern(one[:, :2] * 1.28, one[:, 2], np.zeros((len(one), 3), dtype=np.int32)) for one in lattices]
    refused["lattices of no cubic zone"] = float(
        np.mean([judge(picture(one.visible(1e-5), 0.01, rng)).verdict.label is None for one in others])
    )
    rows = structures()
    cubic = tuple(row.build() for row in rows[:: max(1, len(rows) // 40)])
    for kind, spots in (
        ("monoclinic crystals along zones", views(monoclinic(), 150, tilted=False, rng=rng)),
        ("cubic crystals 4 to 8 degrees off zone", views(cubic, 150, tilted=True, rng=rng)),
    ):
        judged = [judge(picture(one, 0.01, rng)) for one in spots]
        refused[kind] = float(np.mean([one.verdict.label is None for one in judged]))
        refused[f"{kind}: taken for other"] = float(
            np.mean([one.verdict.outcome.value in {"out_of_distribution", "invalid"} for one in judged])
        )
    good = [outcomes[name] for name in ("out_of_distribution", "invalid")]
    result = {
        "good_pictures_taken_for_other": sum(good) / len(chosen),
        "pictures": len(chosen),
        "class_accuracy": right / len(chosen),
        "mean_probability_of_the_group": groups / len(chosen),
        "named": named / len(chosen),
        "right_where_named": named_right / max(named, 1),
        "outcomes": dict(outcomes),
        "no_class_given": refused,
        "measuring_ms": 1e3 * float(np.median(measuring)),
        "judging_ms": 1e3 * float(np.median(judging)),
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
