"""Kinematic patterns against other people's programs, and against what a pattern must be."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

gemmi = pytest.importorskip("gemmi", reason="electron diffraction needs the extra [sadp]")

from braggwatch.sim.sadp.kinematic import BeamSettings, KinematicZone, relrod, simulate  # noqa: E402 - after the skip
from braggwatch.sim.sadp.labels import allowed, effective_group  # noqa: E402
from braggwatch.sim.sadp.microscope import Detector, wavelength_A, zone_frame  # noqa: E402
from braggwatch.sim.sadp.model import ZONES, SpotPattern  # noqa: E402
from braggwatch.sim.sadp.render import RenderSettings, render  # noqa: E402
from braggwatch.sim.sadp.scattering import reflections, structure_factors  # noqa: E402
from braggwatch.sim.sadp.structure import CrystalStructure  # noqa: E402
from braggwatch.sim.sadp.table import structure_named, structures  # noqa: E402

HALITE = next(row.id for row in structures() if row.formula == "ClNa" and row.prototype == "225:a_b")


@pytest.mark.parametrize(("voltage", "length"), [(100, 0.037014), (200, 0.025079), (300, 0.019687)])
def test_relativistic_wavelength(voltage: float, length: float):
    assert wavelength_A(voltage) == pytest.approx(length, abs=1e-6)


def test_detector_scale_follows_voltage_and_camera_length():
    detector = Detector(pixel_um=100, size_px=256)
    length = detector.camera_length_mm(200, 1.28)
    assert detector.inv_A_per_px(200, length) == pytest.approx(0.01)
    # aluminium 200 (2.025 Å) on the film: R d = λ L
    assert (1 / 2.025) / detector.inv_A_per_px(200, length) * 0.1 * 2.025 == pytest.approx(wavelength_A(200) * length)


@pytest.mark.parametrize("identity", ["Si", "Cu", HALITE, "LiFe5O8"])
def test_structure_factors_equal_gemmis(identity: str):
    row = structure_named(identity)
    made = row.build()
    small = gemmi.SmallStructure()
    small.cell = gemmi.UnitCell(row.a_A, row.a_A, row.a_A, 90, 90, 90)
    small.spacegroup_hm = "P 1"
    for place, kind, share, b in zip(made.positions, made.species, made.occupancy, made.b_iso_A2, strict=True):
        site = gemmi.SmallStructure.Site()
        site.element = gemmi.Element(made.elements[kind])
        site.label = made.elements[kind]
        site.fract = gemmi.Fractional(*place)
        site.occ = float(share)
        site.u_iso = float(b) / (8 * np.pi**2)
        small.add_site(site)
    calculator = gemmi.StructureFactorCalculatorE(small.cell)
    hkl = np.array([[1, 1, 1], [2, 0, 0], [2, 2, 0], [3, 1, 1], [2, 2, 2], [5, 3, 1], [2, 1, 0]], np.int32)
    theirs = np.array([calculator.calculate_sf_from_small_structure(small, [int(i) for i in h]) for h in hkl])
    ours = structure_factors(made, hkl)
    assert np.allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_extinctions_of_every_structure_are_those_of_its_group():
    for row in structures()[::7]:
        made = row.build()
        found = reflections(made, 1.2)
        assert allowed(
            effective_group(made), found.hkl[np.abs(found.factor_A) > 0.02 * np.abs(found.factor_A).max()]
        ).all()


def test_intensities_follow_pymatgen():
    tem = pytest.importorskip("pymatgen.analysis.diffraction.tem")
    core = pytest.importorskip("pymatgen.core")
    made = structure_named(HALITE).build()
    crystal = core.Structure(
        core.Lattice(made.cell_A),
        [made.elements[i] for i in made.species],
        [list(map(float, p)) for p in made.positions],
    )
    table = tem.TEMCalculator(beam_direction=(0, 0, 1), voltage=200).get_pattern(crystal)
    theirs = {tuple(h): i for h, i in zip(table["(hkl)"], table["Intensity (norm)"], strict=True)}
    # no excitation error and no Debye-Waller factor there: a very thin foil of atoms at rest
    ours = structure_factors(_at_rest(made), np.array(list(theirs), np.int32))
    strength = np.abs(ours) ** 2
    scale = max(theirs.values()) / strength.max()
    strong = {h: i for h, i in theirs.items() if i > 0.05 * max(theirs.values())}
    assert len(strong) >= 8
    for place, (hkl, intensity) in enumerate(theirs.items()):
        if hkl in strong:
            # two parametrisations of the atomic factors (Doyle and Turner's there) differ by some per cent
            assert strength[place] * scale == pytest.approx(intensity, rel=0.12), hkl


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_spots_follow_diffsims():
    generators = pytest.importorskip("diffsims.generators.simulation_generator")
    crystal_map = pytest.importorskip("orix.crystal_map")
    diffpy = pytest.importorskip("diffpy.structure")
    made = structure_named(HALITE).build()
    atoms = [
        diffpy.Atom(made.elements[kind], list(map(float, place)))
        for kind, place in zip(made.species, made.positions, strict=True)
    ]
    lattice = diffpy.Lattice(*[float(made.cell_A[0, 0])] * 3, 90, 90, 90)
    phase = crystal_map.Phase(space_group=1, structure=diffpy.Structure(atoms=atoms, lattice=lattice))
    generator = generators.SimulationGenerator(200, shape_factor_model=lambda errors, *_: np.ones_like(errors))
    theirs = generator.calculate_diffraction2d(
        phase, reciprocal_radius=1.0, with_direct_beam=False, max_excitation_error=0.02
    ).coordinates
    ours = _at_rest(made)
    # a thin foil: relrods of 1/10 1/Å dim no spot of the zero layer here by more than a tenth
    plain = simulate(ours, (0, 0, 1), BeamSettings(200, 10.0, 0.0, half_width_inv_A=1.1, floor=1e-9))
    here = {
        tuple(h): (np.linalg.norm(g), i)
        for h, g, i in zip(plain.hkl.tolist(), plain.g_inv_A, plain.intensity, strict=True)
    }
    there = {
        tuple(h): (np.linalg.norm(xyz[:2]), i)
        for h, xyz, i in zip(np.rint(theirs.hkl).astype(int).tolist(), theirs.data, theirs.intensity, strict=True)
        if h[2] == 0
    }
    strong = [h for h in there if there[h][1] > 0.05 * max(i for _, i in there.values())]
    assert len(strong) >= 12
    assert set(strong) <= set(here)
    scale = max(here[h][1] for h in strong) / max(there[h][1] for h in strong)
    for h in strong:
        assert here[h][0] == pytest.approx(there[h][0], rel=2e-3), h
        # Lobato and Van Dyck's atomic factors there, five Gaussians here
        assert here[h][1] == pytest.approx(scale * there[h][1], rel=0.15), h
    assert wavelength_A(200) == pytest.approx(generator.wavelength, rel=1e-4)


def test_excitation_error_of_a_zone_axis_is_the_sagitta():
    spots = simulate(structure_named("Cu").build(), (0, 0, 1), BeamSettings(200, 400, 0.0, half_width_inv_A=1.0))
    place = np.flatnonzero((np.abs(spots.hkl) == [2, 2, 0]).all(axis=1))[0]
    first = np.flatnonzero((np.abs(spots.hkl) == [2, 0, 0]).all(axis=1))[0]
    k, cell = 1 / wavelength_A(200), structure_named("Cu").a_A

    def expected(g: float, hkl: tuple[int, int, int]) -> float:
        s = k - sqrt(k * k - g * g)
        factor = structure_factors(structure_named("Cu").build(), np.array([hkl], np.int32))[0]
        return abs(factor) ** 2 * np.sinc(s * 400) ** 2

    ratio = expected(sqrt(8) / cell, (2, 2, 0)) / expected(2 / cell, (2, 0, 0))
    assert spots.intensity[place] / spots.intensity[first] == pytest.approx(ratio, rel=1e-6)


@given(t=st.floats(20, 2000), s=st.floats(-0.05, 0.05))
def test_relrod_without_spread_is_sinc_squared(t: float, s: float):
    assert relrod(s, t, 0.0) == pytest.approx(np.sinc(s * t) ** 2, abs=1e-6)


@given(s=st.floats(0.001, 0.01), spread=st.floats(0.01, 0.3))
def test_relrod_is_the_mean_over_thicknesses(s: float, spread: float):
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    thickness = 300 * (1 + spread * nodes)
    mean = (weights * (np.sin(np.pi * thickness * s) / (np.pi * s)) ** 2).sum() / weights.sum()
    assert relrod(s, 300, spread) == pytest.approx(mean / (300**2 * (1 + spread**2)), abs=1e-6)


@given(
    zone=st.sampled_from(ZONES),
    permutation=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
)
@settings(max_examples=25, deadline=None)
def test_equivalent_zones_of_a_cubic_crystal_show_the_same_spots(
    zone: tuple[int, int, int], permutation: list[int], signs: tuple[int, int, int]
):
    made = structure_named("Cu").build()
    i, j, k = permutation
    other = (signs[0] * zone[i], signs[1] * zone[j], signs[2] * zone[k])
    beam = BeamSettings(200, 100, half_width_inv_A=1.6)
    here, there = (_within(simulate(made, of, beam), 1.55) for of in (zone, other))
    assert len(here) == len(there) > 4
    assert np.allclose(np.sort(here.intensity), np.sort(there.intensity), rtol=1e-6)
    lengths = (np.sort(np.linalg.norm(p.g_inv_A, axis=1)) for p in (here, there))
    assert np.allclose(*lengths, atol=1e-9)


@given(zone=st.sampled_from(ZONES))
@settings(deadline=None)
def test_zone_frame_is_right_handed_with_the_beam_against_the_zone(zone: tuple[int, int, int]):
    made = structure_named("Si").build()
    frame = zone_frame(made, zone)
    assert np.allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame) == pytest.approx(1)
    assert frame[2] @ (np.asarray(zone) / np.linalg.norm(zone)) == pytest.approx(-1)


def test_zero_layer_obeys_the_zone_law_and_lies_at_its_lattice_spacings():
    spots = simulate(structure_named("Si").build(), (1, 1, 2), BeamSettings(200, 100, half_width_inv_A=1.2))
    zero = spots.hkl @ np.array([1, 1, 2]) == 0
    lengths = np.linalg.norm(spots.hkl[zero], axis=1) / structure_named("Si").a_A
    assert zero.sum() > 10
    # a flat detector shows R / λL, longer than 1/d by 3/8 of the square of the scattering angle
    assert np.allclose(np.linalg.norm(spots.g_inv_A[zero], axis=1), lengths, rtol=2e-3)


def test_higher_order_laue_zones_come_in_a_ring():
    made = structure_named("Cu").build()
    spots = simulate(made, (0, 0, 1), BeamSettings(100, 60, half_width_inv_A=4.0, floor=1e-9))
    first = spots.hkl[:, 2] == 1  # one below another along the beam: F lattices have layers 1/a apart
    assert first.any()
    ring = sqrt(2 / (wavelength_A(100) * made.cell_A[0, 0]) - 1 / made.cell_A[0, 0] ** 2)
    brightest = np.linalg.norm(spots.g_inv_A[first], axis=1)[:8]
    assert brightest == pytest.approx([ring] * 8, rel=0.12)


def test_tilt_moves_intensity_to_the_excited_side():
    made = structure_named("Al").build()
    flat = simulate(made, (0, 0, 1), BeamSettings(200, 300))
    tilted = simulate(made, (0, 0, 1), BeamSettings(200, 300, tilt_deg=(0.0, 0.5)))

    def lean(spots: SpotPattern) -> float:
        return float(spots.intensity @ spots.g_inv_A[:, 0] / spots.intensity.sum())

    assert abs(lean(flat)) < 1e-6
    # the beam leans to +x, so the Laue circle's centre and the excited spots lie at -x
    assert lean(tilted) < -0.05


def test_square_beyond_the_known_reflections_is_refused():
    zone = KinematicZone(structure_named("Al").build(), (0, 0, 1), 1.0)
    with pytest.raises(ValueError, match="reflections are known to 1 1/Å"):
        zone.pattern(BeamSettings(half_width_inv_A=1.0))


def test_square_too_small_for_a_spot_gives_an_empty_pattern():
    assert len(simulate(structure_named("Al").build(), (0, 0, 1), BeamSettings(half_width_inv_A=0.1))) == 0


def test_rendered_spot_is_a_gaussian_of_its_intensity_at_its_place():
    spot = SpotPattern(np.array([[0.2, -0.1]]), np.array([0.5]), np.zeros((1, 3), np.int32))
    image = render(spot, RenderSettings(size_px=101, inv_A_per_px=0.01, spot_sigma_px=2.0))
    assert image.dtype == np.float32
    assert np.unravel_index(image.argmax(), image.shape) == (40, 70)
    assert image.max() == pytest.approx(0.5)
    assert image.sum() == pytest.approx(0.5 * 2 * np.pi * 4, rel=2e-3)
    assert image[40, 72] == pytest.approx(0.5 * np.exp(-0.5), rel=1e-5)


@given(turn_deg=st.floats(0, 360), mirrored=st.booleans())
@settings(deadline=None)
def test_rendering_turned_equals_rendering_the_turned_pattern(turn_deg: float, mirrored: bool):
    spots = SpotPattern(np.array([[0.2, -0.1], [0.05, 0.3]]), np.array([0.5, 1.0]), np.zeros((2, 3), np.int32))
    turn = np.deg2rad(turn_deg)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = matrix @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    scale = RenderSettings(size_px=101, inv_A_per_px=0.01)
    turned = render(spots, RenderSettings(size_px=101, inv_A_per_px=0.01, rotation_deg=turn_deg, mirrored=mirrored))
    assert np.allclose(turned, render(spots.transformed(matrix), scale), atol=1e-4)


def _within(spots: SpotPattern, radius_inv_A: float) -> SpotPattern:
    near = np.linalg.norm(spots.g_inv_A, axis=1) < radius_inv_A  # the square's corners turn with the picture's axes
    return SpotPattern(spots.g_inv_A[near], spots.intensity[near], spots.hkl[near])


def _at_rest(structure: CrystalStructure) -> CrystalStructure:
    return replace(structure, b_iso_A2=np.zeros_like(structure.b_iso_A2))
