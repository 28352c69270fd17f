"""LAMMPS relaxes what it is given, says why it stopped, and explains itself when it can't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.sim.cxdp.relaxation.engines.lammps import LammpsRelaxer
from braggwatch.sim.cxdp.relaxation.engines.lammps_program import (
    LammpsError,
    LammpsNotFoundError,
    LammpsProgram,
    find_lammps,
)
from braggwatch.sim.cxdp.relaxation.model import EamPotential, RelaxationSettings
from braggwatch.sim.cxdp.relaxation.potentials.periodic import PeriodicEam
from braggwatch.sim.cxdp.relaxation.potentials.zhou2004 import zhou_potential

try:
    PROGRAM = find_lammps()
except LammpsNotFoundError as error:
    pytest.skip(str(error), allow_module_level=True)

A_PT = 3.92


def ball(radius_A: float, a_A: float = A_PT) -> NDArray[np.float64]:
    n = int(2 * radius_A / a_A) + 1
    index = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    points = index[index.sum(axis=1) % 2 == 0] * (a_A / 2)
    return np.ascontiguousarray(points[np.linalg.norm(points, axis=1) < radius_A], np.float64)


def shaken(positions: NDArray[np.float64], sigma_A: float = 0.05) -> NDArray[np.float64]:
    return positions + np.random.default_rng(5).normal(0, sigma_A, positions.shape)


@pytest.fixture(scope="module")
def pt() -> EamPotential:
    return zhou_potential("Pt")


@pytest.fixture
def relaxer() -> LammpsRelaxer:
    return LammpsRelaxer()


def test_forces_are_the_slope_of_the_energy_and_sum_to_zero(relaxer: LammpsRelaxer, pt: EamPotential) -> None:
    positions = shaken(ball(8.0))
    here = relaxer.energy_and_forces(positions, pt)
    direction = np.random.default_rng(1).normal(size=positions.shape)
    step = 1e-4
    ahead = relaxer.energy_and_forces(positions + step * direction, pt).energy_eV
    behind = relaxer.energy_and_forces(positions - step * direction, pt).energy_eV
    assert (behind - ahead) / (2 * step) == pytest.approx((here.force_eV_A * direction).sum(), rel=1e-5)
    np.testing.assert_allclose(here.force_eV_A.sum(axis=0), 0, atol=1e-10)


@pytest.mark.parametrize("element", ["Al", "Pt"])
def test_energies_and_forces_are_those_of_the_tables(relaxer: LammpsRelaxer, element: str) -> None:
    potential = zhou_potential(element)
    positions = shaken(ball(8.0, potential.lattice_parameter_A))
    expected = PeriodicEam(potential, 100.0 * np.eye(3), positions).evaluate(positions)
    found = relaxer.energy_and_forces(positions, potential)
    np.testing.assert_allclose(found.atom_energy_eV, expected.atom_energy_eV, atol=1e-9)
    np.testing.assert_allclose(found.force_eV_A, expected.force_eV_A, atol=1e-9)


def test_order_and_frame_are_the_callers(relaxer: LammpsRelaxer, pt: EamPotential) -> None:
    positions = shaken(ball(8.0))
    order = np.random.default_rng(2).permutation(len(positions))
    here = relaxer.energy_and_forces(positions, pt)
    moved = relaxer.energy_and_forces(positions[order] + [1234.5, -77.0, 0.25], pt)
    np.testing.assert_allclose(moved.force_eV_A, here.force_eV_A[order], atol=1e-9)
    np.testing.assert_allclose(moved.atom_energy_eV, here.atom_energy_eV[order], atol=1e-9)


def test_the_papers_rule_relaxes_a_5_nm_crystal(relaxer: LammpsRelaxer, pt: EamPotential) -> None:
    positions = shaken(ball(25.0))
    before = relaxer.energy_and_forces(positions, pt)
    relaxed = relaxer.relax(positions, pt, RelaxationSettings(protocol="paper"))
    after = relaxer.energy_and_forces(relaxed.positions_A, pt)
    assert relaxed.stopped == "energy_tolerance"
    assert relaxed.engine.startswith("LAMMPS ")
    assert relaxed.energy_eV < before.energy_eV
    assert after.energy_eV == pytest.approx(relaxed.energy_eV, abs=1e-7)
    assert after.max_force_eV_A == pytest.approx(relaxed.max_force_eV_A, abs=1e-9)
    assert after.max_force_eV_A < 0.2 * before.max_force_eV_A
    inside = np.linalg.norm(relaxed.positions_A, axis=1) < 10
    assert after.atom_energy_eV[inside].mean() == pytest.approx(-5.77, abs=0.01)


def test_clamped_holds_the_shell_then_releases_it(relaxer: LammpsRelaxer, pt: EamPotential) -> None:
    positions = shaken(ball(12.0))
    shell = np.linalg.norm(positions, axis=1) > 9
    held = relaxer.relax(positions, pt, RelaxationSettings(release_steps=0), shell=shell)
    np.testing.assert_array_equal(held.positions_A[shell], positions[shell])
    forces = np.linalg.norm(relaxer.energy_and_forces(held.positions_A, pt).force_eV_A, axis=1)
    assert forces[~shell].max() < 0.01
    assert held.max_force_eV_A == pytest.approx(forces.max())  # of all atoms: the shell is still strained
    assert held.max_force_eV_A > 0.1
    free = relaxer.relax(positions, pt, RelaxationSettings(), shell=shell)
    assert np.linalg.norm((free.positions_A - positions)[shell], axis=1).max() > 0.01
    assert free.energy_eV < held.energy_eV


def test_the_last_accepted_portion_is_kept(relaxer: LammpsRelaxer, pt: EamPotential) -> None:
    positions = shaken(ball(12.0))
    shell = np.linalg.norm(positions, axis=1) > 9
    seen: list[NDArray[np.float64]] = []

    def accept_two(snapshot: NDArray[np.float64]) -> bool:
        seen.append(snapshot)
        return len(seen) < 3

    settings = RelaxationSettings(release_steps=20, check_every=4)
    relaxed = relaxer.relax(positions, pt, settings, shell=shell, accept=accept_two)
    assert len(seen) == 3
    assert relaxed.stopped == "rejected_by_check"
    np.testing.assert_array_equal(relaxed.positions_A, seen[1])
    assert not np.array_equal(seen[0], seen[1])
    held = relaxer.relax(positions, pt, settings, shell=shell, accept=lambda _: False)
    np.testing.assert_array_equal(held.positions_A[shell], positions[shell])
    assert held.stopped == "rejected_by_check"


def test_a_step_limit_is_said(relaxer: LammpsRelaxer, pt: EamPotential) -> None:
    positions = shaken(ball(8.0))
    settings = RelaxationSettings(protocol="paper", energy_tolerance=1e-14, max_steps=2)
    relaxed = relaxer.relax(positions, pt, settings)
    assert relaxed.stopped == "step_limit"
    assert relaxed.steps == 2


@pytest.mark.parametrize("positions", [[[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [900.0, 0.0, 0.0]]])
def test_lone_atoms_have_no_forces(relaxer: LammpsRelaxer, pt: EamPotential, positions: list[list[float]]) -> None:
    result = relaxer.energy_and_forces(np.array(positions), pt)
    np.testing.assert_array_equal(result.force_eV_A, 0)


@pytest.mark.parametrize(
    ("positions", "says"),
    [
        (np.zeros((0, 3)), "shape"),
        (np.zeros((4, 2)), "shape"),
        (np.array([[0.0, 0.0, np.nan]]), "finite"),
        (np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.8], [0.0, 0.01, 2.8]]), "atoms 1 and 2 coincide"),
    ],
)
def test_bad_positions_are_named(
    relaxer: LammpsRelaxer, pt: EamPotential, positions: NDArray[np.float64], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        relaxer.relax(positions, pt, RelaxationSettings(protocol="paper"))


@pytest.mark.parametrize(
    ("shell", "says"),
    [(None, "needs the shell"), (np.ones(5, dtype=bool), "shape"), (np.ones(13, dtype=bool), "every atom")],
)
def test_clamped_asks_for_a_sensible_shell(
    relaxer: LammpsRelaxer, pt: EamPotential, shell: NDArray[np.bool_] | None, says: str
) -> None:
    positions = ball(3.0)
    assert len(positions) == 13
    with pytest.raises(ValueError, match=says):
        relaxer.relax(positions, pt, RelaxationSettings(), shell=shell)


def test_lammps_own_words_come_up(tmp_path: Path) -> None:
    with pytest.raises(LammpsError, match="no_such_style"):
        PROGRAM.run("units metal\nboundary s s s\npair_style no_such_style\n", tmp_path)


def test_a_process_over_its_time_is_ended(pt: EamPotential) -> None:
    with pytest.raises(LammpsError, match="its time limit"):
        LammpsRelaxer(timeout_s=0.01).relax(shaken(ball(20.0)), pt, RelaxationSettings(protocol="paper"))


def test_a_killed_lammps_is_told_from_a_failed_one(tmp_path: Path) -> None:
    program = tmp_path / "lmp"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    with pytest.raises(LammpsError, match="signal 9"):
        LammpsProgram(program, "of the test", frozenset()).run("", tmp_path)


@pytest.mark.parametrize("content", [None, "#!/bin/sh\necho 'libmpi.so.12: cannot open' >&2; exit 127\n"])
def test_a_missing_or_broken_lammps_says_what_to_install(tmp_path: Path, pt: EamPotential, content: str | None) -> None:
    program = tmp_path / "lmp"
    if content is not None:
        program.write_text(content)
        program.chmod(0o755)
    with pytest.raises(LammpsNotFoundError, match=r"pip install 'braggwatch\[sim\]'"):
        LammpsRelaxer(program).energy_and_forces(ball(4.0), pt)


def test_lammps_is_never_loaded_into_our_process() -> None:
    code = (
        "import sys; from braggwatch.sim.cxdp.relaxation.engines.lammps import LammpsRelaxer; LammpsRelaxer().program; "
        "sys.exit('lammps' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_100_000_atoms_relax_by_either_protocol(relaxer: LammpsRelaxer, pt: EamPotential) -> None:
    radius_A = 71.0
    positions = ball(radius_A)
    assert len(positions) > 95_000
    paper = relaxer.relax(positions, pt, RelaxationSettings(protocol="paper"))
    shell = np.linalg.norm(positions, axis=1) > radius_A - 5
    clamped = relaxer.relax(positions, pt, RelaxationSettings(), shell=shell, accept=lambda _: True)
    assert (paper.stopped, clamped.stopped) == ("energy_tolerance", "force_tolerance")
    assert max(paper.steps, clamped.steps) < 250
    assert clamped.energy_eV == pytest.approx(paper.energy_eV, rel=1e-4)
    middle = np.linalg.norm(positions, axis=1) < 30
    np.testing.assert_allclose(paper.positions_A[middle], positions[middle], atol=0.3)
