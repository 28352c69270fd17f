"""How long a force call of the own engine takes beside LAMMPS on the same atoms, and a whole relaxation.

``pytest -m benchmark tests/benchmarks/test_relaxation.py -s`` prints the figures.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.sim.cxdp.crystal import NO_STRAIN, CrystalSpec, LineSpec, ShapeSpec, build_crystal
from braggwatch.sim.cxdp.relaxation.census.surface import surface_shell
from braggwatch.sim.cxdp.relaxation.engines.lammps import LammpsRelaxer, _write_data
from braggwatch.sim.cxdp.relaxation.engines.lammps_program import LammpsNotFoundError
from braggwatch.sim.cxdp.relaxation.model import RelaxationSettings
from braggwatch.sim.cxdp.relaxation.potentials.eam_spline import make_spline
from braggwatch.sim.cxdp.relaxation.potentials.setfl import write_setfl
from braggwatch.sim.cxdp.relaxation.potentials.zhou2004 import zhou_potential

pytest.importorskip("warp")

from braggwatch.sim.cxdp.relaxation.engines.warp_crystals import WarpCrystals
from braggwatch.sim.cxdp.relaxation.engines.warp_relaxer import WarpRelaxer

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

POTENTIAL = zhou_potential("Pt")
CALLS = 20


@pytest.fixture(scope="module", params=[20, 30])
def atoms(request: pytest.FixtureRequest) -> NDArray[np.float64]:
    """A platinum crystal with a screw line, 20 or 30 cells across."""
    shape = ShapeSpec(
        ratio_100=1.05,
        ratio_110=1.1,
        facet_jitter=0.1,
        interface=None,
        height_fraction=1.0,
        elongation=(1.0, 1.0, 1.0),
    )
    line = LineSpec(burgers=(1, -1, 0), plane=0, character_deg=0.0, offset=(0.0, 0.0))
    spec = CrystalSpec(
        element="Pt",
        size_nm=request.param * 0.392,
        points_across=request.param,
        shape=shape,
        line=line,
        strain=NO_STRAIN,
        hkl=(1, 1, 1),
        seed=1,
    )
    crystal = build_crystal(spec)
    return (crystal.positions_nm + crystal.displacement_nm) * (POTENTIAL.lattice_parameter_A / 0.392)


def lammps_cpu_s(x: NDArray[np.float64], steps: int, folder: Path) -> float:
    """Processor seconds of a LAMMPS process that calculates forces ``steps`` + 1 times."""
    engine = LammpsRelaxer()
    _write_data(folder / "crystal.data", x, POTENTIAL, None)
    write_setfl(POTENTIAL, folder / "potential.eam.alloy")
    script = [*engine._setup(POTENTIAL, types=1), "fix move all nve", "timestep 1e-9", f"run {steps}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    engine.program.run("\n".join(script) + "\n", folder, timeout_s=None)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_force_call(atoms: NDArray[np.float64], device: Any, cpu_seconds: Any, benchmark: Any, tmp_path: Path) -> None:
    import warp as wp

    WarpRelaxer(device)
    here = WarpCrystals([atoms], None, make_spline(POTENTIAL), skin_A=0.5, device=wp.get_device(device))

    def call() -> None:
        here.evaluate()
        here.measure()

    benchmark.pedantic(call, rounds=CALLS, warmup_rounds=1)
    ours = float(np.median([cpu_seconds(call) for _ in range(CALLS)])) / len(atoms) * 1e6
    try:
        theirs = (lammps_cpu_s(atoms, CALLS, tmp_path) - lammps_cpu_s(atoms, 0, tmp_path)) / CALLS / len(atoms) * 1e6
    except LammpsNotFoundError as error:
        pytest.skip(str(error))
    print(f"\n{len(atoms)} atoms, {device}: {ours:.2f} µs CPU per atom and force call, LAMMPS {theirs:.2f} µs")  # noqa: T201 the figures are the result
    assert device == "cuda" or ours < 1.5


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_clamped_relaxation(
    atoms: NDArray[np.float64], device: Any, cpu_seconds: Callable[[Callable[[], object]], float], benchmark: Any
) -> None:
    shell = surface_shell(atoms, POTENTIAL.lattice_parameter_A, 5.0)
    engine = WarpRelaxer(device)
    engine.energy_and_forces(atoms, POTENTIAL)
    found: list[Any] = []
    work = lambda: found.append(engine.relax(atoms, POTENTIAL, RelaxationSettings(), shell=shell))  # noqa: E731
    cpu = benchmark.pedantic(lambda: cpu_seconds(work), rounds=1)
    assert found[0].stopped == "force_tolerance"
    print(  # noqa: T201 the figures are the result
        f"\n{len(atoms)} atoms, {device}: {found[0].steps} steps, {cpu:.1f} s CPU, {found[0].seconds:.1f} s wall, "
        f"{cpu / found[0].steps / len(atoms) * 1e6:.2f} µs CPU per atom and step"
    )
