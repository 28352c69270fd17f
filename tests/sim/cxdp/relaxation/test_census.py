"""A crystal's label comes from the lines that are in its atoms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, KDTree

from braggwatch.sim.crystallography.fcc import Miller
from braggwatch.sim.cxdp.crystal import BURGERS, METALS, NO_STRAIN, CrystalSpec, LineSpec, ShapeSpec, build_crystal
from braggwatch.sim.cxdp.crystal.dislocations import displacement, line_frame
from braggwatch.sim.cxdp.relaxation.census.bonds import CUTOFF, FCC, HCP, OTHER, classify_structure, find_bonds
from braggwatch.sim.cxdp.relaxation.census.census import character_label, still_holds, surface_shell, take_census
from support.shapes import free_shape

A_NM = METALS["Pt"].lattice_parameter_nm
A = 10.0 * A_NM
FREE = free_shape(1.046, 1.151)
ON_SUBSTRATE = FREE.model_copy(update={"interface": (1, 1, 1), "height_fraction": 0.7})
Positions = NDArray[np.float64]


def platinum(cells: int, line: LineSpec | None = None, *, shape: ShapeSpec = FREE, seed: int = 3) -> Positions:
    spec = CrystalSpec(
        element="Pt",
        size_nm=cells * A_NM,
        points_across=cells,
        shape=shape,
        line=line,
        strain=NO_STRAIN,
        hkl=(1, 1, 1),
        seed=seed,
    )
    crystal = build_crystal(spec)
    return 10.0 * (crystal.positions_nm + crystal.displacement_nm)


def straight(
    burgers: Miller = (1, -1, 0), *, plane: int = 0, character: float = 0.0, offset: tuple[float, float] = (0.0, 0.0)
) -> LineSpec:
    return LineSpec.model_validate({"burgers": burgers, "plane": plane, "character_deg": character, "offset": offset})


def shear_above(atoms: Positions, heights: tuple[float, ...], normal: Miller = (1, 1, 1)) -> Positions:
    """Shift by 1/6[11-2] all that lies above each plane: one plane makes a stacking fault, many make a twin."""
    assert normal == (1, 1, 1)
    shift = np.array([1.0, 1.0, -2.0]) * A / 6.0
    z = atoms @ np.ones(3) / np.sqrt(3.0)
    faulted = atoms.copy()
    for height in heights:
        faulted[z > height] += shift
    return faulted


def between_layers(atoms: Positions, number: int) -> float:
    """Return a height halfway between two {111} layers, ``number`` layers above the middle."""
    z = atoms @ np.ones(3) / np.sqrt(3.0)
    layer = float(z[np.abs(z).argmin()])
    return layer + (number + 0.5) * A / np.sqrt(3.0)


lines = st.builds(
    straight,
    st.sampled_from(BURGERS),
    plane=st.sampled_from((0, 1)),
    character=st.sampled_from((0.0, 30.0, 60.0, 90.0)),
    offset=st.tuples(st.floats(-0.15, 0.15), st.floats(-0.15, 0.15)),
)


@pytest.mark.parametrize("shape", [FREE, ON_SUBSTRATE])
def test_a_perfect_crystal_is_fcc_throughout(shape: ShapeSpec) -> None:
    atoms = platinum(14, shape=shape)
    census = take_census(atoms, A)
    assert (census.state, census.label) == ("perfect", "perfect")
    assert census.atoms == len(atoms)
    assert census.interior_fcc > 0.5 * len(atoms)
    assert census.interior_hcp == census.interior_other == census.hcp_count == 0
    assert census.burgers is None
    assert census.line_length_nm == 0.0


@given(line=lines)
@settings(max_examples=60, deadline=None)
def test_every_line_that_is_put_in_is_found_as_it_was_put_in(line: LineSpec) -> None:
    atoms = platinum(14, line)
    census = take_census(atoms, A, line=line)
    assert census.state == "line"
    assert census.burgers == line.burgers
    assert census.character_deg == pytest.approx(line.character_deg, abs=6.0)
    assert census.label == line.character
    assert census.line_offset == pytest.approx(np.hypot(*line.offset), abs=0.06)
    assert 0.4 * 14 * A_NM < census.line_length_nm < 1.4 * 14 * A_NM
    assert abs(np.dot(census.direction or (0, 0, 0), line_frame(line)[2])) > np.cos(np.deg2rad(8))


@given(line=lines)
@settings(max_examples=25, deadline=None)
def test_nothing_that_is_found_depends_on_the_hint(line: LineSpec) -> None:
    atoms = platinum(12, line)
    told, untold = take_census(atoms, A, line=line), take_census(atoms, A)
    assert untold.state == "line"
    assert told.burgers is not None
    assert untold.burgers in (told.burgers, tuple(-b for b in told.burgers))
    assert (untold.label, untold.character_deg, untold.line_length_nm) == (
        told.label,
        told.character_deg,
        told.line_length_nm,
    )


def test_the_opposite_line_is_told_from_the_one_put_in() -> None:
    line = straight(character=30.0)
    points = platinum(14) / 10.0
    field = displacement(line, points, np.zeros(3), A_NM, 0.39)
    right = take_census(10.0 * (points + field), A, line=line)
    left = take_census(10.0 * (points - field), A, line=line)
    assert (right.state, right.burgers) == ("line", line.burgers)
    assert (left.state, left.burgers) == ("turned", tuple(-b for b in line.burgers))


def test_a_line_is_found_in_a_strained_and_rotated_crystal() -> None:
    line = straight(character=60.0)
    rng = np.random.default_rng(5)
    strain = np.eye(3) + np.diag([0.012, -0.01, 0.008])
    turn = np.deg2rad(3.0)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    for made, state in ((platinum(14, line), "line"), (platinum(14), "perfect")):
        atoms = made @ strain @ rotation + rng.normal(scale=0.03, size=made.shape)
        assert take_census(atoms, A).state == state


def test_a_line_that_has_left_is_called_lost() -> None:
    census = take_census(platinum(14), A, line=straight())
    assert (census.state, census.label, census.burgers) == ("escaped", "lost", None)


def test_a_line_that_left_a_step_on_the_surface_is_called_lost() -> None:
    """Above a glide plane through the whole crystal all has moved by one Burgers vector."""
    line = straight(plane=0)
    atoms = platinum(14)
    height = atoms @ line_frame(line)[1]
    layer = float(height[np.abs(height).argmin()])
    atoms[height > layer + 0.1] += np.asarray(line.burgers) * A / 2.0
    assert take_census(atoms, A, line=line).label == "lost"


def test_another_line_than_the_one_put_in_has_turned() -> None:
    put_in = straight(character=90.0)
    census = take_census(platinum(14, straight(character=30.0)), A, line=put_in)
    assert (census.state, census.label) == ("turned", "mixed")
    assert not still_holds(put_in, A)(platinum(14, straight(character=30.0)))


def test_the_check_of_a_relaxation_tells_whether_the_line_is_in() -> None:
    line = straight(character=90.0)
    holds = still_holds(line, A)
    assert holds(platinum(14, line))
    assert not holds(platinum(14))


def test_a_stacking_fault_is_no_line() -> None:
    atoms = platinum(14)
    faulted = shear_above(atoms, (between_layers(atoms, 0),))
    for line in (None, straight()):
        census = take_census(faulted, A, line=line)
        assert (census.state, census.label) == ("other", "other")
        assert census.hcp_count > 100


def test_a_twin_is_no_line() -> None:
    atoms = platinum(14)
    twinned = shear_above(atoms, tuple(between_layers(atoms, n) for n in range(6)))
    census = take_census(twinned, A, line=straight())
    assert (census.state, census.label) == ("other", "other")
    assert census.interior_hcp > 100


def test_two_lines_are_not_taken_for_one() -> None:
    points = platinum(18) / 10.0
    first, second = straight(plane=0, character=90.0), straight(plane=0, character=90.0)
    x = line_frame(first)[0]
    atoms = points.copy()
    for line, place in ((first, 1.6 * x), (second, -1.6 * x)):
        atoms += displacement(line, points, place, A_NM, 0.39)
    census = take_census(10.0 * atoms, A, line=first)
    assert (census.state, census.label) == ("other", "other")


@pytest.mark.parametrize(
    ("character", "label"), [(0.0, "screw"), (15.0, "screw"), (16.0, "mixed"), (74.0, "mixed"), (75.0, "edge")]
)
def test_characters_fall_into_stated_bins(character: float, label: str) -> None:
    assert character_label(character) == label


@pytest.mark.parametrize("line", [None, straight(), straight(character=90.0, offset=(0.1, 0.2))])
@pytest.mark.parametrize("shape", [FREE, ON_SUBSTRATE])
def test_the_surface_shell_is_the_crystal_s_and_not_the_core_s(line: LineSpec | None, shape: ShapeSpec) -> None:
    atoms = platinum(14, line, shape=shape)
    shell = surface_shell(atoms, A, 5.0)
    hull = ConvexHull(atoms)
    depth = -(atoms @ hull.equations[:, :3].T + hull.equations[:, 3]).max(axis=1)
    assert shell[depth < 1.5].all()
    assert not shell[depth > 7.0].any()
    outermost = surface_shell(atoms, A, 1.2)
    assert outermost.sum() < shell.sum()
    assert not (outermost & ~shell).any()


def test_a_shell_of_no_thickness_is_empty() -> None:
    assert not surface_shell(platinum(12), A, 0.5).any()


@pytest.mark.parametrize("wrong", [np.zeros((0, 3)), np.zeros((5, 2)), np.full((5, 3), np.nan)])
def test_what_is_no_crystal_is_refused(wrong: Positions) -> None:
    with pytest.raises(ValueError, match="positions"):
        take_census(wrong, A)


def test_positions_in_the_wrong_unit_are_refused() -> None:
    with pytest.raises(ValueError, match="lattice parameter"):
        take_census(platinum(12), A / 100.0)


def test_bonds_are_those_of_an_independent_search() -> None:
    atoms = platinum(12, straight(character=90.0))
    bonds = find_bonds(atoms, A)
    pairs = KDTree(atoms).query_pairs(CUTOFF * A, output_type="ndarray")
    np.testing.assert_array_equal(bonds.count, np.bincount(pairs.ravel(), minlength=len(atoms)))
    listed = {(i, int(j)) for i, row in enumerate(bonds.neighbours) for j in row if j > i}
    assert listed == {(int(i), int(j)) for i, j in np.sort(pairs, axis=1)}


def common_neighbours_in_python(atoms: Positions) -> list[int]:
    """Honeycutt and Andersen's indices by sets, without a word in common with the compiled code."""
    near = [set(n) - {i} for i, n in enumerate(KDTree(atoms).query_ball_point(atoms, CUTOFF * A))]
    found: list[int] = []
    for own in near:
        signatures: list[tuple[int, int, int]] = []
        for other in own:
            common = own & near[other]
            edges = {frozenset((p, q)) for p in common for q in near[p] & common}
            chain, longest = [set(e) for e in edges], 0
            while chain:
                grown, length = chain.pop(), 1
                while (touching := next((c for c in chain if c & grown), None)) is not None:
                    chain.remove(touching)
                    grown, length = grown | touching, length + 1
                longest = max(longest, length)
            signatures.append((len(common), len(edges), longest))
        n421, n422 = signatures.count((4, 2, 1)), signatures.count((4, 2, 2))
        if len(own) == 12 and n421 == 12:
            found.append(FCC)
        else:
            found.append(HCP if len(own) == 12 and n421 == n422 == 6 else OTHER)
    return found


def test_structures_are_those_of_an_independent_analysis() -> None:
    atoms = platinum(9)
    faulted = shear_above(atoms, (between_layers(atoms, 0),))
    atoms = faulted + np.random.default_rng(2).normal(scale=0.12, size=faulted.shape)
    structure = classify_structure(find_bonds(atoms, A))
    assert structure.tolist() == common_neighbours_in_python(atoms)
    assert set(np.unique(structure)) == {OTHER, FCC, HCP}
