"""Faults, twins, loops and pairs are what their names say: stacking, jumps, decay, visibility."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from scipy.spatial import KDTree

from braggwatch.sim.crystallography.fcc import Miller, family, slip_planes
from braggwatch.sim.cxdp.crystal import (
    BURGERS,
    METALS,
    NO_STRAIN,
    CrystalSpec,
    DefectSpec,
    FaultSpec,
    LineSpec,
    LoopSpec,
    PopulationSpec,
    ShockleyPairSpec,
    ShockleySpec,
    StraightLineSpec,
    TwinSpec,
    build_crystal,
)
from braggwatch.sim.cxdp.crystal.defects import contrast
from braggwatch.sim.cxdp.crystal.dislocations import displacement, line_frame
from braggwatch.sim.cxdp.crystal.loops import burgers_nm, loop_corners, loop_displacement, polygon_displacement
from braggwatch.sim.cxdp.crystal.paper import PaperLabel, PaperRegime, paper_crystal_spec
from braggwatch.sim.cxdp.crystal.planar import fault_shifts, pair_displacement, partial_frame, split
from braggwatch.sim.cxdp.crystal.zoo import ZOO_KINDS, ZooKind, random_zoo_spec
from braggwatch.sim.cxdp.datasets import DatasetSpec
from braggwatch.sim.cxdp.scattering import amplitude_on_grid
from support.shapes import free_shape

A_NM = METALS["Au"].lattice_parameter_nm
NEIGHBOUR_NM = A_NM / np.sqrt(2)
planes = st.sampled_from(family((1, 1, 1)))
lines = st.builds(
    LineSpec,
    burgers=st.sampled_from(BURGERS),
    plane=st.sampled_from((0, 1)),
    character_deg=st.sampled_from((0.0, 30.0, 60.0, 90.0)),
    offset=st.just((0.0, 0.0)),
)
loops = st.builds(
    LoopSpec,
    burgers=st.sampled_from(family((1, 1, 0)) + family((1, 1, 1))),
    interstitial=st.booleans(),
    radius=st.just(0.25),
    centre=st.just((0.0, 0.0, 0.0)),
)


def atoms(*defects: DefectSpec, line: LineSpec | None = None, hkl: Miller = (1, 1, 1)) -> CrystalSpec:
    """Describe a free gold crystal of 16 000 atoms."""
    return CrystalSpec(
        element="Au",
        size_nm=16 * A_NM,
        points_across=16,
        shape=free_shape(1.08, 1.28),
        line=line,
        strain=NO_STRAIN,
        hkl=hkl,
        seed=3,
        defects=defects,
    )


def coarse(*defects: DefectSpec, hkl: Miller) -> CrystalSpec:
    """Describe the same shape at 200 nm, 20 points across."""
    return atoms(*defects, hkl=hkl).model_copy(update={"size_nm": 200.0, "points_across": 20})


def placed(spec: CrystalSpec) -> NDArray[np.float64]:
    crystal = build_crystal(spec)
    return crystal.positions_nm + crystal.displacement_nm


def coordination(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    tree = KDTree(positions)
    return np.asarray(tree.query_ball_point(positions, 1.2 * NEIGHBOUR_NM, return_length=True)) - 1


def nearest(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    return KDTree(positions).query(positions, k=2)[0][:, 1]


def hcp_atoms(positions: NDArray[np.float64]) -> int:
    """Count atoms whose twelve neighbours form three collinear pairs, as in hcp; fcc has six."""
    whole = positions[coordination(positions) == 12]
    found = np.asarray(KDTree(positions).query(whole, k=13)[1])
    rays = positions[found[:, 1:]] - whole[:, None]
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    pairs = np.sum(np.einsum("nik,njk->nij", rays, rays) < -0.98, axis=(1, 2)) // 2
    return int(np.sum(pairs == 3))


def test_the_default_data_set_keeps_its_name() -> None:
    assert DatasetSpec().digest() == "918de052203f"


def test_every_defect_survives_json() -> None:
    adapter: TypeAdapter[CrystalSpec] = TypeAdapter(CrystalSpec)
    for kind in ZOO_KINDS:
        spec = random_zoo_spec(np.random.default_rng(3), kind)
        assert adapter.validate_json(spec.model_dump_json()) == spec


@settings(deadline=None)
@given(planes)
def test_the_three_shifts_of_a_plane_lie_in_it_and_give_one_fault(plane: Miller) -> None:
    for shift in fault_shifts(plane):
        assert int(np.dot(shift, plane)) == 0
        assert sorted(abs(i) for i in shift) == [1, 1, 2]
    first, second, third = (np.asarray(shift) for shift in fault_shifts(plane))
    assert np.all((first - second) % 3 == 0)
    assert np.all((second - third) % 3 == 0)


def test_an_intrinsic_fault_is_two_layers_of_hcp_neighbours() -> None:
    for plane in ((1, 1, 1), (-1, 1, -1)):
        positions = placed(atoms(FaultSpec(plane=plane, shift=1, offset=0.02)))
        assert nearest(positions).min() > 0.99 * NEIGHBOUR_NM
        height = positions @ np.asarray(plane) / np.sqrt(3.0)
        in_a_layer = np.sum(np.abs(height - np.median(height)) < 0.3 * A_NM)
        assert 0.5 * in_a_layer < hcp_atoms(positions) < 2.5 * in_a_layer


def test_a_twin_has_two_boundary_layers_however_thick_it_is() -> None:
    thin, thick = (placed(atoms(TwinSpec(plane=(1, 1, -1), shift=0, offset=0.0, thickness=t))) for t in (0.15, 0.45))
    counts = [hcp_atoms(p) for p in (thin, thick)]
    assert counts[0] == pytest.approx(counts[1], rel=0.25)
    for positions in (thin, thick):
        assert nearest(positions).min() > 0.99 * NEIGHBOUR_NM
        height = positions @ np.asarray((1, 1, -1)) / np.sqrt(3.0)
        assert len(positions) == len(placed(atoms()))
        assert np.ptp(height) == pytest.approx(np.ptp(placed(atoms()) @ np.asarray((1, 1, -1)) / np.sqrt(3.0)))


@settings(deadline=None)
@given(lines)
def test_a_line_splits_into_two_partials_of_its_plane_that_sum_to_it(line: LineSpec) -> None:
    first, second = split(line)
    assert first in fault_shifts(slip_planes(line.burgers)[line.plane])
    assert np.array_equal(np.add(first, second), np.multiply(line.burgers, 3))
    squares = [int(np.dot(p, p)) for p in (first, second)]
    assert squares == [6, 6]


@settings(deadline=None)
@given(lines)
def test_between_the_partials_lies_the_fault_and_behind_them_the_perfect_line(line: LineSpec) -> None:
    pair = ShockleyPairSpec(line=line, separation=0.4)
    frame = line_frame(line)

    def jump(x: float) -> NDArray[np.float64]:
        sides = np.stack([frame[0] * x + frame[1] * s * 1e-7 for s in (1, -1)])
        u = pair_displacement(pair, sides, 10.0, A_NM, 0.42)
        return u[0] - u[1]

    np.testing.assert_allclose(jump(0.5), np.asarray(split(line)[0]) * A_NM / 6, atol=1e-6)
    np.testing.assert_allclose(jump(-4.0), np.asarray(line.burgers) * A_NM / 2, atol=1e-6)
    np.testing.assert_allclose(jump(4.0), 0.0, atol=1e-6)


def test_a_pair_is_far_away_a_perfect_line_and_a_partial_faults_one_side() -> None:
    line = LineSpec(burgers=(1, -1, 0), plane=1, character_deg=90.0, offset=(0.0, 0.0))
    far = np.random.default_rng(1).normal(size=(200, 3)) * 100
    u = pair_displacement(ShockleyPairSpec(line=line, separation=0.1), far, 10.0, A_NM, 0.42)
    whole = displacement(line, far, np.zeros(3), A_NM, 0.42)
    # points whose direction crosses the cut between the two fields' middles are left out
    difference = np.linalg.norm(u - whole, axis=1)
    assert np.median(difference) < 0.02 * A_NM
    partial = ShockleySpec(plane=(1, 1, 1), shift=0, angle_deg=90.0, offset=(0.0, 0.0))
    positions = placed(atoms(partial))
    x = positions @ partial_frame(partial)[0]
    core = np.abs(x) < 1.0
    assert nearest(positions)[~core].min() > 0.8 * NEIGHBOUR_NM
    assert nearest(positions[x < -1.0]).min() > 0.9 * NEIGHBOUR_NM


@settings(deadline=None)
@given(loops)
def test_a_circuit_through_a_loop_fails_to_close_by_its_burgers_vector(loop: LoopSpec) -> None:
    size = 20.0
    normal = np.asarray(loop.burgers) / np.linalg.norm(loop.burgers)
    corner = loop_corners(loop)[0] * size
    out = corner / np.linalg.norm(corner)
    angle = np.linspace(-np.pi + 1e-7, np.pi - 1e-7, 801)
    # around the corner, from just under the loop's face, outside, to just over it
    circuit = corner + 3.0 * (np.outer(np.cos(angle), out) + np.outer(np.sin(angle), normal))
    u = loop_displacement(loop, circuit, size, A_NM, 0.42)
    np.testing.assert_allclose(u[-1] - u[0], burgers_nm(loop, A_NM), atol=1e-5)
    assert np.linalg.norm(np.diff(u, axis=0), axis=1).max() < 0.01


@settings(deadline=None)
@given(st.sampled_from(("x", "y", "z")), st.integers(3, 9), st.floats(0.0, 0.45))
def test_a_loops_field_is_in_equilibrium_and_falls_with_the_distance_squared(axis: str, sides: int, nu: float) -> None:
    angle = 2 * np.pi * np.arange(sides) / sides
    corners = 5.0 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    b = np.eye(3)["xyz".index(axis)]

    def u(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return polygon_displacement(corners, b, points, nu, 1e-9)

    points, h, steps = np.array([[1.3, 2.1, 3.7], [7.0, 1.0, 0.9], [-1.0, 9.0, 2.0]]), 1e-2, np.eye(3)

    def divergence(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return sum((u(p + h * e)[:, i] - u(p - h * e)[:, i] for i, e in enumerate(steps)), np.zeros(3)) / (2 * h)

    laplacian = sum(((u(points + h * e) + u(points - h * e) - 2 * u(points)) for e in steps), np.zeros((3, 3))) / h**2
    grad_div = np.stack([(divergence(points + h * e) - divergence(points - h * e)) / (2 * h) for e in steps], axis=1)
    # Navier's equation without body forces
    assert np.abs(laplacian + grad_div / (1 - 2 * nu)).max() < 2e-3 * np.abs(laplacian).max() + 1e-6
    ray = np.array([[1.0, 2.0, 3.0]]) / np.sqrt(14)
    assert np.linalg.norm(u(1000 * ray)) / np.linalg.norm(u(2000 * ray)) == pytest.approx(4.0, rel=1e-3)


def test_near_a_long_side_the_loop_is_the_straight_line() -> None:
    line = LineSpec(burgers=(1, -1, 0), plane=1, character_deg=90.0, offset=(0.0, 0.0))
    frame = line_frame(line)
    b = np.asarray(line.burgers) * A_NM / 2
    # the loop's material lies at x < 0, where the line has its cut; its normal is the slip plane's
    reach = 1e4
    corners = np.stack([-frame[2] * reach, frame[2] * reach, frame[2] * reach, -frame[2] * reach])
    corners[2:] -= frame[0] * 2 * reach
    if np.cross(corners[1] - corners[0], corners[2] - corners[1]) @ frame[1] < 0:
        corners = corners[::-1]
    points = np.random.default_rng(2).normal(size=(50, 3)) * 3
    points -= np.outer(points @ frame[2], frame[2])
    loop = polygon_displacement(corners, b, points, 0.42, 1e-6)
    straight = displacement(line, points, np.zeros(3), A_NM, 0.42)
    difference = loop - straight
    assert np.ptp(difference, axis=0).max() < 1e-3


def test_atoms_of_a_platelet_are_removed_or_inserted_without_overlap() -> None:
    perfect = len(placed(atoms()))
    for burgers in ((1, 1, 1), (1, -1, 0)):
        counts: list[int] = []
        for interstitial in (False, True):
            loop = LoopSpec(burgers=burgers, interstitial=interstitial, radius=0.25, centre=(0.01, 0.0, 0.0))
            positions = placed(atoms(loop))
            counts.append(len(positions) - perfect)
            away = np.ones(len(positions), dtype=bool)
            for start, end in zip(loop_corners(loop), np.roll(loop_corners(loop), -1, axis=0), strict=True):
                for t in np.linspace(0, 1, 9):
                    core = (start * (1 - t) + end * t) * 16 * A_NM
                    away &= np.linalg.norm(positions - core, axis=1) > 0.8
            assert nearest(positions)[away].min() > 0.85 * NEIGHBOUR_NM
            # inside the loop, away from its rim, the crystal is whole: nobody has more or fewer than twelve neighbours
            middle = np.linalg.norm(positions - np.asarray(loop.centre) * 16 * A_NM, axis=1) < 0.1 * 16 * A_NM
            assert set(coordination(positions)[middle]) == {12}
        assert counts[0] < 0 < counts[1]


def test_what_is_visible() -> None:
    fault = FaultSpec(plane=(1, 1, 1), shift=0, offset=0.0)
    twin = TwinSpec(plane=(1, 1, 1), shift=0, offset=0.0, thickness=0.2)
    for hkl, seen in (((1, 1, 1), False), ((2, -2, 0), False), ((1, 1, -1), True), ((2, 0, 0), True)):
        assert contrast(hkl, fault).visible is seen
        assert contrast(hkl, twin).visible is seen
    split_line = ShockleyPairSpec(
        line=LineSpec(burgers=(1, -1, 0), plane=1, character_deg=0.0, offset=(0.0, 0.0)), separation=0.2
    )
    assert contrast((1, 1, 1), split_line).visible is False
    # the perfect line is invisible here, its partials are not
    hidden = contrast((1, 1, -1), split_line)
    assert hidden.g_dot_b == 0.0
    assert hidden.visible
    frank = LoopSpec(burgers=(1, 1, 1), interstitial=False, radius=0.2, centre=(0.0, 0.0, 0.0))
    assert contrast((1, 1, 1), frank).g_dot_b == -1.0
    assert contrast((1, 1, -1), frank).g_dot_b == pytest.approx(-1 / 3)
    assert not contrast((2, -2, 0), frank).visible


def test_an_invisible_fault_leaves_the_pattern_as_it_was() -> None:
    basis = np.eye(3) / (200.0 * 3.5)
    for defect in (
        FaultSpec(plane=(1, 1, 1), shift=0, offset=0.05),
        TwinSpec(plane=(1, 1, 1), shift=0, offset=0.05, thickness=0.2),
    ):
        same, changed = (
            np.abs(amplitude_on_grid(build_crystal(coarse(*d, hkl=(2, -2, 0))), basis, (24, 24, 24))) ** 2
            for d in ((), (defect,))
        )
        assert np.abs(changed - same).max() < 0.01 * same.max()
        seen = np.abs(amplitude_on_grid(build_crystal(coarse(defect, hkl=(2, 0, 0))), basis, (24, 24, 24))) ** 2
        assert np.abs(seen - same).max() > 0.3 * same.max()


def test_a_coarse_twin_scatters_like_one_of_atoms() -> None:
    twin = TwinSpec(plane=(1, 1, -1), shift=0, offset=0.03, thickness=0.3)
    fine = atoms(twin, hkl=(1, 1, 1)).model_copy(update={"size_nm": 24 * A_NM, "points_across": 24})
    rough = fine.model_copy(update={"points_across": 18})
    basis = np.eye(3) / (fine.size_nm * 3.5)
    patterns: list[NDArray[np.float64]] = []
    for spec in (fine, rough):
        crystal = build_crystal(spec)
        field = np.abs(amplitude_on_grid(crystal, basis, (20, 20, 20))) ** 2
        patterns.append(field / field.max())
    assert fine.atomic
    assert not rough.atomic
    assert np.abs(patterns[0] - patterns[1]).max() < 0.08


def test_two_lines_and_mixtures_are_named() -> None:
    line = LineSpec(burgers=(1, -1, 0), plane=1, character_deg=0.0, offset=(0.1, 0.0))
    other = StraightLineSpec(line=line.model_copy(update={"offset": (-0.1, 0.0)}), opposite=True)
    dipole = build_crystal(atoms(other, line=line, hkl=(2, 0, 0)))
    assert dipole.label == "two_lines"
    assert [c.g_dot_b for c in dipole.contrasts] == [1.0, -1.0]
    assert dipole.line_distance == pytest.approx(0.1)
    # far from a dipole of screws nothing turns: the phase around both closes
    far = np.linalg.norm(dipole.positions_nm @ line_frame(line)[:2].T, axis=1) > 0.35 * dipole.spec.size_nm
    turns = dipole.phase_turns[far]
    assert np.abs(turns - np.round(turns)).max() < 0.3
    same = build_crystal(atoms(other.model_copy(update={"opposite": False}), line=line, hkl=(2, 0, 0)))
    assert np.abs(same.phase_turns[far] - np.round(same.phase_turns[far])).max() > 0.49
    fault = FaultSpec(plane=(1, 1, 1), shift=0, offset=0.0)
    assert build_crystal(atoms(fault, line=line)).label == "several"
    assert build_crystal(atoms(line=line)).label == "screw"


def test_wrong_planes_and_burgers_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="faults and twins lie"):
        build_crystal(atoms(FaultSpec(plane=(2, 0, 0), shift=0, offset=0.0)))
    with pytest.raises(ValidationError, match="along <110> or <111>"):
        LoopSpec(burgers=(1, 0, 0), interstitial=True, radius=0.2, centre=(0.0, 0.0, 0.0))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(ZOO_KINDS), st.integers(0, 1000))
def test_the_zoo_is_seeded_labelled_and_visible(kind: ZooKind, seed: int) -> None:
    small = PopulationSpec(points_across=(9, 10))
    spec = random_zoo_spec(np.random.default_rng(seed), kind, small)
    assert spec == random_zoo_spec(np.random.default_rng(seed), kind, small)
    crystal = build_crystal(spec)
    assert crystal.visible
    assert np.isfinite(crystal.displacement_nm).all()
    expected = {"prismatic_loop": "loop", "frank_loop": "loop", "dipole": "two_lines", "same_sign_pair": "two_lines"}
    assert crystal.label == expected.get(kind, kind)


def test_an_impossible_wish_is_refused() -> None:
    with pytest.raises(ValueError, match="no frank_loop is invisible"):
        random_zoo_spec(np.random.default_rng(0), "frank_loop", hkl=(1, 1, 1), visible=False)


@given(st.sampled_from(("perfect", "screw", "edge")), st.sampled_from(("CD", "RPD")), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_paper_specifications_follow_the_paper(label: PaperLabel, where: str, seed: int) -> None:
    regime = PaperRegime(lines="CD" if where == "CD" else "RPD", elements=("Al", "Ag", "Au", "Pt"))
    spec = paper_crystal_spec(np.random.default_rng(seed), label, regime)
    assert spec.atomic
    assert spec.shape.interface in family((1, 1, 1))
    assert 0.65 <= spec.shape.height_fraction <= 0.75
    if label == "perfect":
        assert spec.line is None
    else:
        assert spec.line is not None
        along = line_frame(spec.line)[2]
        wanted = np.asarray((1, -1, 0)) / np.sqrt(2) if label == "screw" else np.asarray((1, 1, -2)) / np.sqrt(6)
        assert abs(along @ wanted) == pytest.approx(1.0)
        distance = float(np.hypot(*spec.line.offset))
        assert distance < (0.15 if where == "CD" else 0.8)


def test_a_small_paper_crystal_has_its_atoms_and_its_size() -> None:
    spec = paper_crystal_spec(np.random.default_rng(4), "edge", PaperRegime(lines="RPD"))
    crystal = build_crystal(spec)
    assert 100_000 <= len(crystal.positions_nm) <= 140_000
    assert abs(crystal.g_dot_b) == 1.0
    height = np.ptp(crystal.positions_nm @ (np.asarray(spec.shape.interface) / np.sqrt(3)))
    assert 9.0 < height < 12.0
