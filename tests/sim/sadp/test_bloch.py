"""Bloch waves: exact limits, published extinction distances, double diffraction."""

from __future__ import annotations

from dataclasses import replace
from math import pi, sqrt

import numpy as np
import pytest

gemmi = pytest.importorskip("gemmi", reason="electron diffraction needs the extra [sadp]")

from braggwatch.sim.sadp.bloch import BlochSettings, BlochWaves, BlochZone, extinction_distance_A  # noqa: E402
from braggwatch.sim.sadp.kinematic import BeamSettings, simulate  # noqa: E402
from braggwatch.sim.sadp.microscope import wavelength_A, zone_frame  # noqa: E402
from braggwatch.sim.sadp.structure import CrystalStructure  # noqa: E402
from braggwatch.sim.sadp.table import structure_named  # noqa: E402


def at_rest(identity: str) -> CrystalStructure:
    made = structure_named(identity).build()
    return replace(made, b_iso_A2=np.zeros_like(made.b_iso_A2))


@pytest.mark.parametrize(
    ("identity", "hkl", "published_A"),
    [
        # aluminium: Williams and Carter, Transmission Electron Microscopy, 2nd edition, table 23.1, as the tests of the
        # open program pytex quote it; the others from memory of the textbooks' tables, for plausibility
        ("Al", (1, 1, 1), 556),
        ("Al", (2, 0, 0), 673),
        ("Al", (2, 2, 0), 1057),
        ("Cu", (1, 1, 1), 286),
        ("Ni", (1, 1, 1), 268),
        ("Ag", (1, 1, 1), 242),
        ("Au", (1, 1, 1), 183),
        ("Fe", (1, 1, 0), 286),
        ("Si", (1, 1, 1), 602),
        ("Si", (2, 2, 0), 757),
        ("diamond", (1, 1, 1), 476),
    ],
)
def test_extinction_distances_at_100_kV_are_the_textbooks(identity: str, hkl: tuple[int, int, int], published_A: float):
    assert extinction_distance_A(at_rest(identity), hkl, 100) == pytest.approx(published_A, rel=0.05)


@pytest.mark.parametrize("tilt_deg", [0.0, 0.15, 0.45])
def test_two_beams_give_the_analytic_pendelloesung(tilt_deg: float):
    made = structure_named("Si").build()
    frame = zone_frame(made, (0, 1, 1))
    beams = np.array([[0, 0, 0], [2, -2, 2]], np.int32) // 2
    waves = BlochWaves(made, beams, beams[:0], frame, 100, (tilt_deg, 0.0))
    g = beams[1] @ made.reciprocal_inv_A @ frame.T
    turn = np.deg2rad(tilt_deg)
    k = np.array([0.0, -np.sin(turn), np.cos(turn)]) / wavelength_A(100)
    # excitation error along the foil's normal to first order, and the extinction distance along it
    error = -(2 * k @ g + g @ g) / (2 * (k + g)[2])
    coupling = 1 / extinction_distance_A(made, (1, -1, 1), 100)
    w = error / coupling
    for thickness in (50.0, 300.0, 700.0, 1500.0):
        expected = np.sin(pi * thickness * coupling * sqrt(1 + w * w)) ** 2 / (1 + w * w)
        assert waves.intensities(thickness)[1] == pytest.approx(expected, abs=0.01)
        assert waves.intensities(thickness).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("identity", "zone"), [("Si", (0, 1, 1)), ("Au", (0, 0, 1)), ("Mo3Al2C", (1, 1, 1))])
def test_thin_foil_is_kinematic(identity: str, zone: tuple[int, int, int]):
    made = structure_named(identity).build()
    bloch = BlochZone(made, zone, BlochSettings(200, g_max_inv_A=1.6, beams=80)).pattern(3.0, 1.1, 1e-3)
    plain = simulate(made, zone, BeamSettings(200, 3.0, 0.0, half_width_inv_A=1.1, floor=1e-3))
    # relrods of 1/3 1/Å reach many layers: only the zero layer is compared
    theirs = {tuple(h): i for h, i in zip(plain.hkl.tolist(), plain.intensity, strict=True) if not np.dot(h, zone)}
    ours = {tuple(h): i for h, i in zip(bloch.hkl.tolist(), bloch.intensity, strict=True) if not np.dot(h, zone)}
    brightest = max(ours, key=lambda hkl: ours[hkl])
    strong = [hkl for hkl, intensity in ours.items() if intensity > 0.05 * ours[brightest]]
    assert len(strong) >= 6
    for hkl in strong:
        assert ours[hkl] / ours[brightest] == pytest.approx(theirs[hkl] / theirs[brightest], rel=0.06)


@pytest.mark.parametrize("identity", ["Si", "SrSi2_exp"])
def test_flux_is_conserved_without_absorption_and_lost_with_it(identity: str):
    made = structure_named(identity).build()
    settings = BlochSettings(200, (0.05, 0.02), g_max_inv_A=1.5, beams=70)
    waves = BlochZone(made, (0, 1, 1), settings).waves
    lossy = BlochZone(made, (0, 1, 1), replace(settings, absorption=0.1)).waves
    for thickness in (10.0, 200.0, 1000.0):
        assert waves.intensities(thickness)[: waves.solved].sum() == pytest.approx(1, abs=1e-9)
    totals = [lossy.intensities(t)[: lossy.solved].sum() for t in (1.0, 200.0, 1000.0)]
    assert 1 > totals[0] > totals[1] > totals[2]


def test_forbidden_200_of_silicon_011_appears_by_double_diffraction():
    made = structure_named("Si").build()
    waves = BlochZone(made, (0, 1, 1), BlochSettings(200, g_max_inv_A=2.0, beams=130)).waves
    forbidden = np.flatnonzero((waves.hkl == [2, 0, 0]).all(axis=1))[0]
    allowed = np.flatnonzero((waves.hkl == [1, 1, -1]).all(axis=1))[0]
    ratios = []
    for thickness in (5.0, 100.0, *np.arange(150.0, 400.0, 10.0)):
        intensity = waves.intensities(thickness)
        ratios.append(intensity[forbidden] / intensity[allowed])
    assert ratios[0] < 1e-4
    assert min(ratios[1:]) > 0.005
    assert max(ratios) > 10


def test_more_beams_change_the_pattern_ever_less():
    made = structure_named("Si").build()

    def strengths(beams: int) -> dict[tuple[int, ...], float]:
        zone = BlochZone(made, (0, 1, 1), BlochSettings(200, g_max_inv_A=2.0, beams=beams))
        return dict(zip(map(tuple, zone.waves.hkl.tolist()), zone.waves.intensities(300.0), strict=True))

    best = strengths(130)
    errors = [max(abs(strengths(n)[hkl] - best[hkl]) for hkl in best) for n in (20, 50, 100)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.005


def test_beams_added_to_first_order_come_near_the_solved_ones():
    made = structure_named("Si").build()
    few = BlochZone(made, (0, 1, 1), BlochSettings(200, g_max_inv_A=2.0, beams=60)).waves
    many = BlochZone(made, (0, 1, 1), BlochSettings(200, g_max_inv_A=2.0, beams=130)).waves
    added = few.hkl[few.solved :]
    place = {tuple(h): i for i, h in enumerate(many.hkl.tolist())}
    solved = many.intensities(100.0)[[place[tuple(h)] for h in added.tolist()]]
    first_order = few.intensities(100.0)[few.solved :]
    assert np.corrcoef(solved, first_order)[0, 1] > 0.95
    assert np.abs(solved - first_order).max() < 1e-3


def test_picture_beyond_the_beams_is_refused():
    zone = BlochZone(structure_named("Al").build(), (0, 0, 1), BlochSettings(200, g_max_inv_A=1.0, beams=20))
    with pytest.raises(ValueError, match="beams were computed up to 1 1/Å"):
        zone.pattern(100.0, 1.0)
    with pytest.raises(ValueError, match="thickness"):
        zone.pattern(0.0, 0.5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("identity", "arrangement"), [("Si", "diamond"), ("Au", "fcc"), ("Cu", "fcc")])
def test_intensities_follow_abtem(identity: str, arrangement: str):
    theirs = pytest.importorskip("abtem.bloch")
    build = pytest.importorskip("ase.build")
    made = at_rest(identity)
    atoms = build.bulk(identity, arrangement, a=float(made.cell_A[0, 0]), cubic=True)
    thicknesses = [50.0, 100.0, 200.0, 400.0]
    waves = theirs.BlochWaves(theirs.StructureFactor(atoms, g_max=4.0), energy=200e3, sg_max=0.06, g_max=2.0)
    patterns = waves.calculate_diffraction_patterns(thicknesses)
    beams = [tuple(map(int, hkl)) for hkl in np.asarray(patterns.miller_indices)]
    ours = BlochZone(made, (0, 0, 1), BlochSettings(200, g_max_inv_A=2.0, beams=400)).waves
    places = {tuple(map(int, hkl)): place for place, hkl in enumerate(ours.hkl)}
    assert set(beams) == set(places)
    order = [places[hkl] for hkl in beams]
    for thickness, there in zip(thicknesses, np.asarray(patterns.array), strict=True):
        # atomic factors of Lobato and Van Dyck there, of International Tables C here
        assert np.allclose(ours.intensities(thickness)[order], there, atol=0.003)
