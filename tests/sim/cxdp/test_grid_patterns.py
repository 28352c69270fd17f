"""Patterns straight on the model's grid are those of the same crystal's scan, but for what a scan adds."""

from __future__ import annotations

import numpy as np
import pytest

from braggwatch.services.cxdp.training.live_framing import LiveFraming
from braggwatch.sim.crystallography.lattices import LATTICES, LatticeName
from braggwatch.sim.cxdp.artefacts import ArtefactSpec
from braggwatch.sim.cxdp.crystal import PopulationSpec, build_crystal, random_crystal_spec
from braggwatch.sim.cxdp.crystal.population import OTHER_REFLECTIONS
from braggwatch.sim.cxdp.dataset_spec import CLEAN_PEAK, DatasetSpec, Sample
from braggwatch.sim.cxdp.grid_patterns import class_family, class_samples, grid_outlier, grid_sample
from braggwatch.sim.cxdp.scattering import amplitude_factorised, amplitude_on_grid

ANYWHERE = PopulationSpec(
    line_positions="cross-section", image_fraction=0.5, plate_fraction=0.3, rod_fraction=0.2, round_fraction=0.3
)
SPEC = DatasetSpec(population=ANYWHERE, nuisance="none", route="grid", seed=31)
FRAMING = LiveFraming()


def test_crystals_of_one_number_differ_in_their_defect_alone() -> None:
    family = class_family(SPEC, 4)
    assert [crystal.label for crystal in family] == list(SPEC.classes)
    for crystal in family[1:]:
        np.testing.assert_array_equal(crystal.positions_nm, family[0].positions_nm)
        assert crystal.strain_rad == family[0].strain_rad
        assert crystal.visible
        alone = build_crystal(crystal.spec)
        np.testing.assert_array_equal(alone.phase_turns, crystal.phase_turns)


def test_a_pattern_is_centred_scaled_and_the_same_each_time() -> None:
    first, second = (class_samples(SPEC, 5, FRAMING, [0, 1, 2]) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert isinstance(one, Sample)
        assert isinstance(other, Sample)
        np.testing.assert_array_equal(one.intensity, other.intensity)
        assert float(one.intensity.max()) == pytest.approx(CLEAN_PEAK, rel=1e-5)
        step = 1.0 / (SPEC.fringe_period_voxels * 100.0)
        assert FRAMING.size_nm(one.intensity, step) == pytest.approx(100.0, rel=0.25)
        assert np.linalg.norm(FRAMING.centre(one.intensity, SPEC.fringe_period_voxels) - 32) < 1.0


def test_the_grids_middle_may_lie_beside_the_peak() -> None:
    crystal = build_crystal(random_crystal_spec(np.random.default_rng(2), "screw", PopulationSpec()))
    basis = np.diag([1.0, 1.1, 0.9]) / (3.5 * crystal.spec.size_nm)
    middle = np.array([2.0, -1.0, 0.5]) @ basis
    at_peak = amplitude_factorised(crystal, basis, (16, 16, 16))
    moved = amplitude_on_grid(crystal, basis, (8, 8, 8), eps=1e-9, middle_inv_nm=np.array([2.0, -1.0, 0.0]) @ basis)
    np.testing.assert_allclose(moved, at_peak[6:14, 3:11, 4:12], atol=1e-6 * np.abs(at_peak).max())
    single = amplitude_on_grid(crystal, basis, (8, 8, 8), eps=1e-4, middle_inv_nm=middle)
    double = amplitude_on_grid(crystal, basis, (8, 8, 8), eps=1e-9, middle_inv_nm=middle)
    np.testing.assert_allclose(single, double, atol=1e-3 * np.abs(double).max())


def test_lines_lie_anywhere_over_the_cross_section() -> None:
    distances: list[float] = []
    for number in range(150):
        spec = random_crystal_spec(np.random.default_rng((8, number)), "screw", ANYWHERE)
        assert spec.line is not None
        distances.append(float(np.hypot(*spec.line.offset)))
    far = np.asarray(distances)
    # of a disk as large as a crystal's section, a quarter of the area lies within half of its radius of about 0.55
    assert 0.12 < float(np.mean(far < 0.275)) < 0.4
    assert float(np.mean(far > 0.4)) > 0.3
    assert far.max() < 1.5


def test_plates_and_rods_are_as_flat_and_as_long_as_asked_for() -> None:
    rng = np.random.default_rng(3)
    for fraction, span in (("plate_fraction", "plate_aspect"), ("rod_fraction", "rod_aspect")):
        population = PopulationSpec(facet_jitter=(0.0, 0.05)).model_copy(update={fraction: 1.0, span: (4.0, 4.0)})
        aspects = []
        for number in range(12):
            spec = random_crystal_spec(np.random.default_rng((number, 5)), "perfect", population)
            sample = grid_sample(SPEC, build_crystal(spec), FRAMING, rng, config=number)
            assert isinstance(sample, Sample)
            aspects.append(sample.info.aspect or 0.0)
        assert 2.5 < float(np.median(aspects)) < 5.5


def test_a_crystals_size_is_the_cube_root_of_its_volume_whatever_its_shape() -> None:
    for number in range(20):
        crystal = build_crystal(random_crystal_spec(np.random.default_rng((6, number)), "perfect", ANYWHERE))
        spec = crystal.spec
        volume = len(crystal.positions_nm) * (spec.size_nm / spec.points_across) ** 3 / 4
        assert volume == pytest.approx(spec.size_nm**3, rel=0.08)


@pytest.mark.parametrize("name", [name for name in LATTICES if name != "fcc"])
def test_lines_of_other_lattices_are_their_own_and_seen(name: LatticeName) -> None:
    population = ANYWHERE.model_copy(update={"lattices": ((name, 1.0),)})
    lattice = LATTICES[name]
    known = {b.numerators for b in lattice.burgers_directions}
    for number in range(12):
        rng = np.random.default_rng((4, number))
        spec = random_crystal_spec(rng, "edge", population)
        assert spec.lattice == name
        assert lattice.is_allowed(spec.hkl)
        assert any(lattice.family_name(spec.hkl) == lattice.family_name(hkl) for hkl, _ in OTHER_REFLECTIONS[name])
        assert spec.line is not None
        assert spec.line.burgers in known
        g_dot_b = float(np.dot(spec.g_per_a, spec.line.burgers_vector))
        assert g_dot_b == pytest.approx(round(g_dot_b), abs=1e-9)
        assert round(g_dot_b) != 0
        if number == 0:
            crystal = build_crystal(spec)
            assert crystal.g_dot_b == pytest.approx(g_dot_b)
            assert crystal.visible


def test_what_is_to_be_refused_is_made_on_the_grid_too() -> None:
    spec = SPEC.model_copy(update={"artefacts": ArtefactSpec(blurred_fraction=1.0)})
    for kind in ("two_particles", "frank_loop", "dipole", "twin"):
        sample = grid_outlier(spec, kind, 11, FRAMING)
        assert isinstance(sample, Sample)
        assert sample.info.label == kind
        assert sample.info.blur_fringes is not None
        assert sample.info.blur_fringes > 0
    two = grid_outlier(spec, "two_particles", 11, FRAMING)
    assert isinstance(two, Sample)
    assert two.info.artefact == "second_particle"
