"""How long the paper's small and large crystals take to build, relax and scatter, in processor seconds of one core.

``pytest -m benchmark tests/benchmarks/test_simulation.py -s`` prints the figures, beside what Lim et al. (npj Comput.
Mater. 7, 115, 2021) state for theirs. Processor time, not wall time: the figures hold on a busy machine, too.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.sim.crystal import Crystal
from braggwatch.sim.crystal.atomistic import crystal_of_atoms, initial_atoms
from braggwatch.sim.crystal.paper import PaperRegime, paper_crystal_spec
from braggwatch.sim.relaxation.lammps import LammpsRelaxer
from braggwatch.sim.relaxation.lammps_program import LammpsNotFoundError, find_lammps
from braggwatch.sim.relaxation.model import Relaxation, RelaxationSettings, Relaxer
from braggwatch.sim.relaxation.zhou2004 import zhou_potential
from braggwatch.sim.scattering import amplitude_factorised, amplitude_on_grid

pytest.importorskip("warp")

from braggwatch.sim.relaxation.warp_relaxer import WarpRelaxer

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

T = TypeVar("T")
POTENTIAL = zhou_potential("Pt")
PAPER_RULE = RelaxationSettings(protocol="paper", energy_tolerance=1e-6)
GRID = (64, 64, 64)
POINTS_PER_FRINGE = 3.0
RUNS = 7


@dataclass(frozen=True)
class Stated:
    """What the paper says of a size: hours for 1000 relaxations and for 10 000 patterns, on a V100; our aim."""

    relaxations_h: str
    patterns_h: str
    scattering_aim_s: float
    exact_share: float


STATED = {
    "small": Stated("10 to 25 min", "40 min", 0.25, 1.0),
    "large": Stated("1.5 to 4 h", "6 h", 2.0, 0.05),
}
"""``exact_share``: of the large crystal's atoms only so many go through the exact sum, whose time is then scaled."""


def processor_s() -> float:
    """Of this process with all its threads, and of the processes that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def timed(work: Callable[[], T]) -> tuple[T, float]:
    before = processor_s()
    result = work()
    return result, processor_s() - before


def relaxed(engine: Relaxer, atoms: NDArray[np.float64]) -> tuple[Relaxation, float]:
    return timed(lambda: engine.relax(atoms, POTENTIAL, PAPER_RULE))


def hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min"


def part_of(crystal: Crystal, count: int) -> Crystal:
    """Return the first atoms of a crystal."""
    return Crystal(
        spec=crystal.spec,
        positions_nm=crystal.positions_nm[:count],
        displacement_nm=crystal.displacement_nm[:count],
        phase_turns=crystal.phase_turns[:count],
        label=crystal.label,
        g_dot_b=crystal.g_dot_b,
        line_distance=crystal.line_distance,
    )


@pytest.mark.parametrize("size", ["small", "large"])
def test_the_papers_crystals(size: Literal["small", "large"], benchmark: Any) -> None:
    spec = paper_crystal_spec(np.random.default_rng(0), "screw", PaperRegime(size=size))
    atoms, build_s = timed(lambda: initial_atoms(spec, POTENTIAL.lattice_parameter_A))
    lines = [f"{size}: {len(atoms)} atoms, a screw; build {build_s:.2f} s"]
    own = WarpRelaxer("cpu")
    own.energy_and_forces(atoms[:1000], POTENTIAL)  # compile the kernels
    ours, ours_s = relaxed(own, atoms)
    lines.append(f"  relax, own engine: {ours.steps} steps, {ours.stopped}, {ours_s:.1f} s")
    try:
        find_lammps()
    except LammpsNotFoundError as error:
        lines.append(f"  no LAMMPS beside it: {error}")
    else:
        theirs, theirs_s = relaxed(LammpsRelaxer(), atoms)
        lines.append(f"  relax, LAMMPS: {theirs.steps} steps, {theirs.stopped}, {theirs_s:.1f} s")
    crystal = crystal_of_atoms(
        ours.positions_A, POTENTIAL.lattice_parameter_A, spec, "screw", hkl=spec.hkl, size_nm=spec.size_nm
    )
    basis = np.eye(3) / (spec.size_nm * POINTS_PER_FRINGE)
    benchmark.pedantic(lambda: amplitude_on_grid(crystal, basis, GRID), rounds=1, warmup_rounds=1)
    fast_s = float(np.median([timed(lambda: amplitude_on_grid(crystal, basis, GRID))[1] for _ in range(RUNS)]))
    part = part_of(crystal, round(STATED[size].exact_share * len(atoms)))
    exact, part_s = timed(lambda: amplitude_factorised(part, basis, GRID))
    exact_s = part_s * len(atoms) / len(part.positions_nm)
    error = float(np.abs(amplitude_on_grid(part, basis, GRID) - exact).max() / np.abs(exact).max())
    scaled = "" if part_s == exact_s else f" (from {len(part.positions_nm)} atoms, scaled)"
    lines += [
        f"  scatter to 64³: {fast_s:.3f} s; exact factorised sum {exact_s:.0f} s{scaled}, {exact_s / fast_s:.0f} ×; "
        f"largest difference {error:.1e} of the peak",
        f"  1000 configurations {hours(1000 * (build_s + ours_s))} (the paper: {STATED[size].relaxations_h}), "
        f"10 000 patterns {hours(1e4 * fast_s)} (the paper, one V100: {STATED[size].patterns_h}), on one core",
    ]
    print("\n" + "\n".join(lines))  # noqa: T201 the figures are the result
    assert error < 1e-5
    assert fast_s < STATED[size].scattering_aim_s
