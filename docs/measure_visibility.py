"""Measure how far off the centre a line can be told from a perfect crystal: two bounds that need no network.

1. *The crystal is known*: shape, strain, size, orientation. Two patterns remain, with the line and without; counting
   noise alone can hide it. The error of the best test is at most half of exp(-B), B the Bhattacharyya distance of the
   two Poisson laws.
2. *The crystal may be strained*: the smooth strain up to a given rms that imitates the line best is searched for. What
   is left of B says how well any test can do that does not know the strain beforehand, if nature were an adversary.

    python docs/measure_visibility.py --crystals 12 --out runs/visibility.json

Each crystal is written as it is done, and a call with the same file goes on. Curves: docs/draw_visibility.py.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from braggwatch.sim.crystallography.fcc import BURGERS, Miller, g_dot_b
from braggwatch.sim.cxdp.crystal import PopulationSpec, random_crystal_spec
from braggwatch.sim.cxdp.crystal.build import CrystalSpec
from braggwatch.sim.cxdp.crystal.defects import StraightLineSpec, defect_displacement
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec, line_frame
from braggwatch.sim.cxdp.crystal.shapes import make_polyhedron
from braggwatch.sim.cxdp.diffraction_setup import orient

SIDE = 64
FRINGE_VOXELS = 3.5
DISTANCES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
COUNTS = (1e3, 1e4, 1e5, 1e6)
STRAINS_RAD = (0.4, 1.0, 2.0)
BLURS_FRINGES = (0.0, 0.3, 0.5)
BACKGROUND = 0.02
MODES = 90
STEPS = 120
SUBSAMPLES = 3

REFLECTIONS: dict[int, Miller] = {1: (1, 1, 1), 2: (2, 2, 0)}


@dataclass(frozen=True)
class Row:
    """One line in one crystal.

    Attributes
    ----------
    distance
        Of the line from the centre of mass, in cube roots of the volume.
    inside
        Whether the line passes through the crystal.
    known
        B with the crystal known, by blur (fringes) and counts at the peak.
    imitated
        B against the strain that imitates the line best, by its largest rms (rad) and counts at the peak, unblurred.
    """

    crystal: int
    character: str
    g_dot_b: float
    distance: float
    inside: bool
    known: dict[str, dict[str, float]]
    imitated: dict[str, dict[str, float]]


def object_grid(spec: CrystalSpec, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the real-space voxels' centres, (64³, 3) in particle sizes and crystal axes, and how full each is."""
    shape = make_polyhedron(spec.shape, np.random.default_rng(spec.seed))
    shape = shape.scaled(shape.volume() ** (-1 / 3))
    shape = shape.moved(-shape.sampled(48)[0].mean(axis=0))
    axes = orient(np.asarray(spec.g_per_a), np.array([1.0, 0.0, 0.0]), rng)
    step = FRINGE_VOXELS / SIDE  # a fringe is one over the size
    n = (np.arange(SIDE) - SIDE // 2) * step
    centres = np.stack(np.meshgrid(n, n, n, indexing="ij"), axis=-1).reshape(-1, 3)
    offsets = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5
    filled = np.zeros(len(centres), dtype=np.float32)
    for x in offsets:
        for y in offsets:
            for z in offsets:
                filled += shape.inside((centres + step * np.array([x, y, z])) @ axes)
    return centres @ axes, np.asarray(filled / SUBSAMPLES**3, dtype=np.float32)


def pattern(filled: Tensor, phase: Tensor) -> Tensor:
    """Return |F|² of (64, 64, 64) voxels with a phase in radians."""
    field = torch.fft.fftn(torch.polar(filled, phase))
    return torch.fft.fftshift(field.real**2 + field.imag**2)


def bhattacharyya(first: NDArray[np.float64], second: NDArray[np.float64], counts: float) -> float:
    """Return B of two patterns whose first has this many counts at its peak and which have equal totals."""
    one = first * (counts / first.max()) + BACKGROUND
    two = second * (counts / first.max() * first.sum() / second.sum()) + BACKGROUND
    return float(0.5 * np.sum((np.sqrt(one) - np.sqrt(two)) ** 2))


def blurred(intensity: NDArray[np.float64], fringes: float) -> NDArray[np.float64]:
    """Return a pattern with partial coherence: a Gaussian of that sigma along each axis."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(intensity, fringes * FRINGE_VOXELS, truncate=3.0)) if fringes else intensity


def imitate(
    target: Tensor, filled: Tensor, points: Tensor, largest_rad: float, generator: torch.Generator
) -> NDArray[np.float64]:
    """Return the pattern of the smooth strain, of this rms at most, that is closest to the target (Hellinger)."""
    waves = torch.randn((MODES, 3), generator=generator) / torch.linspace(1 / 6, 1 / 2, MODES)[:, None]
    inside = torch.nonzero(filled.flatten())[:, 0]
    angles = points[inside] @ waves.T
    modes = torch.cat([torch.cos(angles), torch.sin(angles), points[inside]], dim=1)
    weight = filled.flatten()[inside] / filled.sum()
    modes = modes - weight @ modes
    modes = modes / torch.sqrt(weight @ modes**2).clamp_min(1e-6)
    coefficients = (0.02 * torch.randn(modes.shape[1], generator=generator)).requires_grad_()
    optimiser = torch.optim.Adam([coefficients], lr=0.05)
    goal = torch.sqrt(target / target.sum())
    best, found = float("inf"), target
    for _ in range(STEPS):
        smooth = modes[:, :-3] @ coefficients[:-3]
        rms = torch.sqrt(weight @ smooth**2)
        smooth = smooth * torch.clamp(largest_rad / rms.clamp_min(1e-6), max=1.0)
        phase = torch.zeros(filled.numel()).index_put((inside,), smooth + modes[:, -3:] @ coefficients[-3:])
        tried = pattern(filled, phase.reshape(filled.shape))
        loss = torch.sum((torch.sqrt(tried / tried.sum() + 1e-12) - goal) ** 2)
        if loss.item() < best:
            best, found = loss.item(), tried.detach()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return found.numpy().astype(np.float64)


def rows_of(number: int, population: PopulationSpec) -> list[Row]:
    """Measure all lines of one crystal."""
    rng = np.random.default_rng((2207, number))
    contrast = 1 if number % 2 == 0 else 2
    hkl = REFLECTIONS[contrast]
    spec = random_crystal_spec(rng, "perfect", population, hkl=hkl)
    points, filled = object_grid(spec, rng)
    voxels = torch.from_numpy(filled.reshape(SIDE, SIDE, SIDE))
    perfect = pattern(voxels, torch.zeros_like(voxels)).numpy().astype(np.float64)
    vectors = [b for b in BURGERS if abs(g_dot_b(hkl, b)) == contrast]
    burgers = vectors[int(rng.integers(len(vectors)))]
    character: Literal["screw", "edge"] = "screw" if (number // 2) % 2 == 0 else "edge"
    angle = float(rng.uniform(0, 2 * np.pi))
    a = spec.metal.lattice_parameter_nm
    g = np.asarray(spec.g_per_a) / a
    generator = torch.Generator().manual_seed(number)
    found: list[Row] = []
    for distance in DISTANCES:
        line = LineSpec(
            burgers=burgers,
            plane=1,
            character_deg=0.0 if character == "screw" else 90.0,
            offset=(distance * float(np.cos(angle)), distance * float(np.sin(angle))),
        )
        one = StraightLineSpec(line=line)
        u = defect_displacement(one, points * spec.size_nm, spec.size_nm, a, spec.metal.poisson_ratio)
        phase = torch.from_numpy((-2 * np.pi * (u @ g)).astype(np.float32)).reshape(voxels.shape)
        target = pattern(voxels, phase)
        told = target.numpy().astype(np.float64)
        known = {
            f"{blur:g}": {
                f"{counts:g}": bhattacharyya(blurred(told, blur), blurred(perfect, blur), counts) for counts in COUNTS
            }
            for blur in BLURS_FRINGES
        }
        imitated: dict[str, dict[str, float]] = {}
        for largest in STRAINS_RAD:
            closest = imitate(target, voxels, torch.from_numpy(points.astype(np.float32)), largest, generator)
            imitated[f"{largest:g}"] = {f"{counts:g}": bhattacharyya(told, closest, counts) for counts in COUNTS}
        across = points @ line_frame(line)[[1, 0]].T - np.asarray(line.offset)
        inside = bool(np.any((np.hypot(*across.T) < 0.04) & (filled > 0.5)))
        found.append(Row(number, character, float(contrast), distance, inside, known, imitated))
    return found


def main() -> None:
    """Measure what isn't in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=12, help="Crystals; characters and g·b take turns.")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one line of a crystal each.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out: Path = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {json.loads(text)["crystal"] for text in out.read_text().splitlines()} if out.exists() else set[int]()
    population = PopulationSpec(line_positions="cross-section")
    for number in tqdm(range(arguments.crystals), unit="crystal"):
        if number in done:
            continue
        with out.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(asdict(row)) + "\n" for row in rows_of(number, population)))


if __name__ == "__main__":
    main()
