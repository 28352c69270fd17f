"""The own relaxation engine: exact energies and forces, the protocols, batches; on CPU, and the same on CUDA."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from braggwatch.sim.cxdp.relaxation.engines.fire import Fire, FireSettings
from braggwatch.sim.cxdp.relaxation.engines.lammps import LammpsRelaxer
from braggwatch.sim.cxdp.relaxation.engines.lammps_program import LammpsNotFoundError
from braggwatch.sim.cxdp.relaxation.model import EamPotential, RelaxationSettings
from braggwatch.sim.cxdp.relaxation.potentials.eam_spline import evaluate, knot_cubics, make_spline
from braggwatch.sim.cxdp.relaxation.potentials.zhou2004 import zhou_potential

pytest.importorskip("warp")

from braggwatch.sim.cxdp.relaxation.engines.warp_crystals import WarpCrystals
from braggwatch.sim.cxdp.relaxation.engines.warp_relaxer import WarpRelaxer

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def relaxer(request: pytest.FixtureRequest) -> WarpRelaxer:
    return WarpRelaxer(request.param)


@cache
def potential(element: str = "Pt") -> EamPotential:
    return zhou_potential(element)


def ball(radius_cells: float, shake_A: float = 0.0, seed: int = 0, element: str = "Pt") -> NDArray[np.float64]:
    """Atoms of a sphere cut from the perfect lattice, shaken."""
    a = potential(element).lattice_parameter_A
    n = int(np.ceil(radius_cells)) + 1
    axis = np.arange(-2 * n, 2 * n + 1)
    halves = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    halves = halves[(halves.sum(axis=1) % 2 == 0) & ((halves**2).sum(axis=1) < (2 * radius_cells) ** 2)]
    rng = np.random.default_rng(seed)
    return rng.permutation(halves * (a / 2.0)) + rng.normal(scale=shake_A, size=(len(halves), 3))


def rim(x: NDArray[np.float64], depth_A: float = 3.0) -> NDArray[np.bool_]:
    r = np.linalg.norm(x - x.mean(axis=0), axis=1)
    return r > r.max() - depth_A


def dense_reference(x: NDArray[np.float64], pot: EamPotential) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies and forces from all N² distances."""
    spline = make_spline(pot)
    d = x[None] - x[:, None]
    r = np.sqrt((d**2).sum(axis=-1))
    near = (r < spline.cutoff_A) & (r > 0)
    safe = np.where(near, r, 1.0)
    f, f1 = (np.where(near, v, 0.0) for v in evaluate(spline.density, spline.distance_step_A, safe))
    z, z1 = evaluate(spline.pair, spline.distance_step_A, safe)
    phi = np.where(near, z / safe, 0.0)
    phi1 = np.where(near, z1 / safe - z / safe**2, 0.0)
    rho = f.sum(axis=1)
    embedding, slope = evaluate(spline.embedding, spline.density_step, rho)
    embedding += slope * np.maximum(rho - len(spline.embedding) * spline.density_step, 0.0)
    pull = ((slope[:, None] + slope[None]) * f1 + phi1) / safe
    return embedding + 0.5 * phi.sum(axis=1), (pull[..., None] * d).sum(axis=1)


class TestEnergiesAndForces:
    @pytest.mark.parametrize("element", ["Pt", "Al", "Ag", "Au"])
    def test_are_those_of_all_pairs(self, relaxer: WarpRelaxer, element: str) -> None:
        x = ball(3.2, shake_A=0.15, element=element)
        found = relaxer.energy_and_forces(x, potential(element))
        energy, force = dense_reference(x, potential(element))
        np.testing.assert_allclose(found.atom_energy_eV, energy, rtol=0, atol=1e-11)
        np.testing.assert_allclose(found.force_eV_A, force, rtol=0, atol=1e-11)

    @pytest.mark.parametrize("element", ["Pt", "Al"])
    def test_are_those_of_lammps(self, relaxer: WarpRelaxer, element: str) -> None:
        x = ball(6.0, shake_A=0.1, element=element)
        try:
            theirs = LammpsRelaxer().energy_and_forces(x, potential(element))
        except LammpsNotFoundError as error:
            pytest.skip(str(error))
        ours = relaxer.energy_and_forces(x, potential(element))
        np.testing.assert_allclose(ours.atom_energy_eV, theirs.atom_energy_eV, rtol=0, atol=1e-10)
        np.testing.assert_allclose(ours.force_eV_A, theirs.force_eV_A, rtol=0, atol=1e-9)

    def test_bulk_atom_has_the_cohesive_energy(self, relaxer: WarpRelaxer) -> None:
        found = relaxer.energy_and_forces(ball(4.0), potential())
        assert found.atom_energy_eV.min() == pytest.approx(-5.77, abs=0.01)

    def test_forces_are_the_slope_of_the_energy(self, relaxer: WarpRelaxer) -> None:
        x = ball(2.0, shake_A=0.1)
        force = relaxer.energy_and_forces(x, potential()).force_eV_A
        h = 1e-5
        for atom, axis in [(0, 0), (7, 1), (20, 2)]:
            step = np.zeros_like(x)
            step[atom, axis] = h
            up, down = (relaxer.energy_and_forces(x + s, potential()).energy_eV for s in (step, -step))
            assert force[atom, axis] == pytest.approx(-(up - down) / (2 * h), abs=1e-4)

    def test_no_net_force_and_no_net_torque(self, relaxer: WarpRelaxer) -> None:
        x = ball(4.0, shake_A=0.1)
        force = relaxer.energy_and_forces(x, potential()).force_eV_A
        np.testing.assert_allclose(force.sum(axis=0), 0.0, atol=1e-10)
        np.testing.assert_allclose(np.cross(x, force).sum(axis=0), 0.0, atol=1e-8)

    @given(
        turn=st.tuples(*[st.floats(-3, 3)] * 3),
        shift=st.tuples(*[st.floats(-500, 500)] * 3),
        seed=st.integers(0, 1000),
    )
    @settings(max_examples=25, deadline=None)
    def test_do_not_depend_on_place_direction_or_order(
        self, turn: tuple[float, ...], shift: tuple[float, ...], seed: int
    ) -> None:
        engine = WarpRelaxer()
        x = ball(2.5, shake_A=0.1)
        rotation = Rotation.from_rotvec(turn)
        order = np.random.default_rng(seed).permutation(len(x))
        here = engine.energy_and_forces(x, potential())
        there = engine.energy_and_forces((rotation.apply(x) + shift)[order], potential())
        np.testing.assert_allclose(there.atom_energy_eV, here.atom_energy_eV[order], atol=1e-8)
        np.testing.assert_allclose(there.force_eV_A, rotation.apply(here.force_eV_A)[order], atol=1e-7)

    def test_lone_atom_and_far_pair(self, relaxer: WarpRelaxer) -> None:
        lone = relaxer.energy_and_forces(np.zeros((1, 3)), potential())
        far = relaxer.energy_and_forces(np.array([[0.0, 0, 0], [0, 0, 300.0]]), potential())
        assert not lone.force_eV_A.any()
        assert not far.force_eV_A.any()
        np.testing.assert_array_equal(far.atom_energy_eV, np.repeat(lone.atom_energy_eV, 2))

    def test_more_neighbours_than_expected_are_all_counted(self, relaxer: WarpRelaxer) -> None:
        x = 0.75 * ball(3.5, shake_A=0.05)
        found = relaxer.energy_and_forces(x, potential())
        energy, _ = dense_reference(x, potential())
        np.testing.assert_allclose(found.atom_energy_eV, energy, rtol=1e-9)


class TestBadInput:
    def test_coincident_atoms(self, relaxer: WarpRelaxer) -> None:
        x = ball(2.0)
        with pytest.raises(ValueError, match="coincide"):
            relaxer.energy_and_forces(np.concatenate([x, x[:1] + 1e-3]), potential())

    @pytest.mark.parametrize("x", [np.zeros((0, 3)), np.zeros(3), np.array([[0.0, np.nan, 0.0]])])
    def test_positions_that_are_none(self, relaxer: WarpRelaxer, x: NDArray[np.float64]) -> None:
        with pytest.raises(ValueError, match="position"):
            relaxer.energy_and_forces(x, potential())

    def test_clamped_without_a_shell_or_with_one_that_does_not_fit(self, relaxer: WarpRelaxer) -> None:
        x = ball(2.0)
        with pytest.raises(ValueError, match="shell"):
            relaxer.relax(x, potential(), RelaxationSettings())
        for shell in (np.ones(3, dtype=bool), np.ones(len(x), dtype=bool)):
            with pytest.raises(ValueError, match="shell"):
                relaxer.relax(x, potential(), RelaxationSettings(), shell=shell)

    def test_useless_tables(self) -> None:
        with pytest.raises(ValueError, match="finite"):
            make_spline(replace(potential(), density=np.full_like(potential().density, np.nan)))
        with pytest.raises(ValueError, match="differ in length"):
            make_spline(replace(potential(), density=potential().density[:-1]))
        with pytest.raises(ValueError, match="knots"):
            knot_cubics(np.zeros(4))

    def test_no_cuda_is_said_clearly(self) -> None:
        import warp as wp

        if wp.is_cuda_available():
            pytest.skip("there is a CUDA device")
        with pytest.raises(RuntimeError, match="no CUDA device"):
            WarpRelaxer("cuda")


class TestClamped:
    SETTINGS = RelaxationSettings(force_tolerance_eV_A=0.005, release_steps=30, check_every=10)

    def test_holds_the_shell_until_the_rest_is_relaxed(self, relaxer: WarpRelaxer) -> None:
        x = ball(4.0, shake_A=0.1)
        shell = rim(x)
        held = self.SETTINGS.model_copy(update={"release_steps": 0})
        found = relaxer.relax(x, potential(), held, shell=shell)
        assert found.stopped == "force_tolerance"
        np.testing.assert_array_equal(found.positions_A[shell], x[shell])
        force = np.linalg.norm(relaxer.energy_and_forces(found.positions_A, potential()).force_eV_A, axis=1)
        assert force[~shell].max() <= 0.005 + 1e-9
        assert found.max_force_eV_A == pytest.approx(force.max(), abs=1e-9)

    def test_release_lowers_the_energy_and_counts_its_steps(self, relaxer: WarpRelaxer) -> None:
        x = ball(4.0, shake_A=0.1)
        held = relaxer.relax(x, potential(), self.SETTINGS.model_copy(update={"release_steps": 0}), shell=rim(x))
        asked: list[NDArray[np.float64]] = []

        def accept(positions: NDArray[np.float64]) -> bool:
            asked.append(positions.copy())
            return True

        found = relaxer.relax(x, potential(), self.SETTINGS, shell=rim(x), accept=accept)
        assert len(asked) == 3
        np.testing.assert_array_equal(asked[-1], found.positions_A)
        assert found.steps == held.steps + 30
        assert found.energy_eV < held.energy_eV
        again = relaxer.energy_and_forces(found.positions_A, potential())
        assert found.energy_eV == pytest.approx(again.energy_eV, abs=1e-8)
        assert found.max_force_eV_A == pytest.approx(again.max_force_eV_A, abs=1e-8)

    @pytest.mark.parametrize("accepted", [0, 1, 2])
    def test_keeps_the_last_snapshot_that_was_accepted(self, relaxer: WarpRelaxer, accepted: int) -> None:
        x = ball(4.0, shake_A=0.1)
        asked: list[NDArray[np.float64]] = []

        def accept(positions: NDArray[np.float64]) -> bool:
            asked.append(positions.copy())
            return len(asked) <= accepted

        found = relaxer.relax(x, potential(), self.SETTINGS, shell=rim(x), accept=accept)
        assert found.stopped == "rejected_by_check"
        assert len(asked) == accepted + 1
        if accepted:
            np.testing.assert_array_equal(found.positions_A, asked[accepted - 1])
        else:
            np.testing.assert_array_equal(found.positions_A[rim(x)], x[rim(x)])

    def test_step_limit_is_said(self, relaxer: WarpRelaxer) -> None:
        x = ball(3.0, shake_A=0.1)
        short = self.SETTINGS.model_copy(update={"max_steps": 2})
        assert relaxer.relax(x, potential(), short, shell=rim(x)).stopped == "step_limit"


class TestPaper:
    def test_stops_on_the_energy_and_later_at_a_tighter_tolerance(self, relaxer: WarpRelaxer) -> None:
        x = ball(5.0, shake_A=0.1)
        loose, tight = (
            relaxer.relax(x, potential(), RelaxationSettings(protocol="paper", energy_tolerance=t))
            for t in (1e-5, 1e-8)
        )
        assert loose.stopped == tight.stopped == "energy_tolerance"
        assert tight.steps > loose.steps
        assert tight.energy_eV < loose.energy_eV
        assert tight.max_force_eV_A < loose.max_force_eV_A

    def test_reaches_the_energy_of_lammps(self, relaxer: WarpRelaxer) -> None:
        x = ball(5.0, shake_A=0.05)
        chosen = RelaxationSettings(protocol="paper", energy_tolerance=1e-9)
        try:
            theirs = LammpsRelaxer().relax(x, potential(), chosen)
        except LammpsNotFoundError as error:
            pytest.skip(str(error))
        ours = relaxer.relax(x, potential(), chosen)
        assert ours.energy_eV == pytest.approx(theirs.energy_eV, rel=1e-6)

    def test_step_limit_is_said(self, relaxer: WarpRelaxer) -> None:
        limited = RelaxationSettings(protocol="paper", energy_tolerance=1e-12, max_steps=7)
        found = relaxer.relax(ball(3.0, shake_A=0.1), potential(), limited)
        assert (found.stopped, found.steps) == ("step_limit", 7)


class TestBatch:
    def test_gives_each_crystal_what_it_gets_alone(self, relaxer: WarpRelaxer) -> None:
        crystals = [ball(r, shake_A=0.1, seed=n) for n, r in enumerate([2.0, 4.0, 3.0, 2.5])]
        shells = [rim(x) for x in crystals]
        accepts: list[Any] = [None, lambda _: False, None, lambda _: True]
        batch = relaxer.relax_batch(crystals, potential(), RelaxationSettings(), shells=shells, accepts=accepts)
        for x, shell, accept, found in zip(crystals, shells, accepts, batch, strict=True):
            alone = relaxer.relax(x, potential(), RelaxationSettings(), shell=shell, accept=accept)
            np.testing.assert_array_equal(found.positions_A, alone.positions_A)
            assert (found.steps, found.stopped, found.energy_eV, found.max_force_eV_A) == (
                alone.steps,
                alone.stopped,
                alone.energy_eV,
                alone.max_force_eV_A,
            )

    def test_crystals_in_one_place_do_not_feel_each_other(self, relaxer: WarpRelaxer) -> None:
        x = ball(3.0, shake_A=0.1)
        chosen = RelaxationSettings(protocol="paper")
        first, second = relaxer.relax_batch([x, x], potential(), chosen)
        np.testing.assert_array_equal(first.positions_A, second.positions_A)
        assert first.energy_eV == relaxer.relax(x, potential(), chosen).energy_eV

    def test_empty_and_mismatched(self, relaxer: WarpRelaxer) -> None:
        chosen = RelaxationSettings(protocol="paper")
        assert relaxer.relax_batch([], potential(), chosen) == []
        with pytest.raises(ValueError, match="checks"):
            relaxer.relax_batch([ball(2.0)], potential(), chosen, accepts=[])
        with pytest.raises(ValueError, match="shells"):
            relaxer.relax_batch([ball(2.0)], potential(), chosen, shells=[])


def test_lists_for_many_threads_give_the_same(relaxer: WarpRelaxer) -> None:
    import warp as wp

    crystals = [ball(r, shake_A=0.1, seed=n) for n, r in enumerate([3.0, 5.0])]
    device = wp.get_device("cpu")
    found = []
    for many in (False, True):
        here = WarpCrystals(crystals, None, make_spline(potential()), skin_A=0.4, device=device, for_many_threads=many)
        here.evaluate()
        found.append((here.measure(), [here.forces_eV_A(k) for k in range(2)], here))
    (one, forces_one, _), (other, forces_other, _) = found
    np.testing.assert_allclose(one.energy_eV, other.energy_eV, rtol=1e-13)
    np.testing.assert_allclose(one.f2, other.f2, rtol=1e-11)
    np.testing.assert_allclose(one.max_force_eV_A, other.max_force_eV_A, rtol=1e-11)
    for a, b in zip(forces_one, forces_other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


class TestFire:
    def test_finds_the_bottom_of_bowls_of_any_stiffness(self) -> None:
        stiffness = np.array([[0.01, 1.0], [1.0, 0.3], [0.5, 0.9]])
        x, v = np.ones((3, 2)), np.zeros((3, 2))
        fire = Fire(3, FireSettings(0.3, 0.8))
        rest = np.zeros(3, dtype=bool)
        for _ in range(1500):
            force = -stiffness * x
            how = fire.advance((force * v).sum(1), (v**2).sum(1), (force**2).sum(1), rest)
            old = v
            v = how.keep[:, None] * v + how.push[:, None] * force
            x = x + how.step[:, None] * v - how.back[:, None] * old
        assert np.abs(x).max() < 1e-4

    def test_slows_down_and_stops_uphill(self) -> None:
        fire = Fire(1, FireSettings(0.3, 0.8))
        before = fire.time_step
        how = fire.advance(np.array([-1.0]), np.array([1.0]), np.array([1.0]), np.array([False]))
        assert fire.time_step < before
        assert how.keep == 0
        assert how.back > 0

    @given(values=st.tuples(st.floats(-1e3, 1e3), st.floats(0, 1e3), st.floats(0, 1e6)), rest=st.booleans())
    def test_moves_are_finite_and_time_steps_stay_in_bounds(
        self, values: tuple[float, float, float], rest: bool
    ) -> None:
        fire = Fire(1, FireSettings(0.3, 0.8))
        for _ in range(30):
            force_v, v_v, force_force = (np.array([v]) for v in values)
            how = fire.advance(force_v, v_v, force_force, np.array([rest]))
            assert np.isfinite(how.stacked()).all()
            assert 0 < fire.time_step[0] <= 0.8


def test_importing_the_storey_leaves_warp_alone() -> None:
    code = "import sys, braggwatch.sim, braggwatch.sim.cxdp.relaxation; sys.exit('warp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_kernels_compile_for_cuda(tmp_path: Any) -> None:
    import warp as wp

    from braggwatch.sim.cxdp.relaxation.engines import cell_kernels, eam_kernels, motion_kernels

    wp.init()
    for module in (eam_kernels, cell_kernels, motion_kernels):
        wp.compile_aot_module(module, arch=90, module_dir=tmp_path, use_ptx=True)
    assert len(list(tmp_path.glob("*.ptx"))) == 3
