"""Crystals of atoms: what is relaxed, stored and scattered is one crystal, labelled by what was found in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braggwatch.sim.cxdp.crystal import FaultSpec, build_crystal, random_crystal_spec
from braggwatch.sim.cxdp.crystal.atomistic import atomistic_spec, crystal_of_atoms, initial_atoms
from braggwatch.sim.cxdp.crystal.paper import PaperRegime
from braggwatch.sim.cxdp.crystal.strain import NO_STRAIN
from braggwatch.sim.cxdp.labels import Label
from braggwatch.sim.cxdp.relaxation import configuration as relaxation_configuration
from braggwatch.sim.cxdp.relaxation.configuration import (
    RelaxationSpec,
    draw_configuration,
    load_potential,
    make_relaxer,
    relax_configuration,
)
from braggwatch.sim.cxdp.relaxation.library import (
    CrystalLibrary,
    read_entries,
    relaxed_shard_path,
    write_relaxed_shard,
)
from braggwatch.sim.cxdp.relaxation.model import RelaxationSettings
from braggwatch.sim.cxdp.scattering import amplitude_on_grid

SMALL = RelaxationSpec(potentials=("zhou2004/Pt",), cells_across=(9, 10))


def spec_of(label: Label, cells: int = 12):
    rng = np.random.default_rng(5)
    return atomistic_spec(random_crystal_spec(rng, label, hkl=(1, 1, 1)), cells)


@pytest.fixture(scope="module")
def library_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    write_relaxed_shard(folder, SMALL, 0, 3)
    return folder


def test_atoms_of_a_perfect_crystal_lie_on_the_potentials_lattice():
    spec = spec_of("perfect")
    atoms = initial_atoms(spec, 3.92)
    assert 0.7 * 4 * 12**3 < len(atoms) < 1.3 * 4 * 12**3
    indices = 2 * (atoms - atoms[0]) / 3.92
    np.testing.assert_allclose(indices, np.rint(indices), atol=1e-9)


def test_points_that_are_no_atoms_are_refused():
    with pytest.raises(ValueError, match="not atoms of"):
        initial_atoms(random_crystal_spec(np.random.default_rng(1), "perfect"), 3.92)


def test_blown_up_atoms_scatter_like_the_crystal_they_stand_for():
    """A screw in 12 cells, seen through its atoms at 300 nm: the pattern of the points it was made of."""
    spec = spec_of("screw")
    made = build_crystal(spec)
    a_A = spec.metal.lattice_parameter_nm * 10
    blown = crystal_of_atoms(initial_atoms(spec, a_A), a_A, spec, "screw", hkl=(1, 1, 1), size_nm=300.0)
    grid = (16, 16, 16)
    size_nm = len(made.positions_nm) ** (1 / 3) / 4 ** (1 / 3) * spec.metal.lattice_parameter_nm
    own = amplitude_on_grid(made, np.eye(3) * 0.3 / size_nm, grid)
    large = amplitude_on_grid(blown, np.eye(3) * 0.3 / 300.0, grid)
    a, b = np.abs(own) ** 2, np.abs(large) ** 2
    # the small crystal's box is wide enough for f(q) to fall off across it, the large one's is not
    np.testing.assert_allclose(a / a.max(), b / b.max(), atol=0.06)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.999


def test_strain_over_atoms_asks_for_a_generator():
    spec = spec_of("perfect")
    strain = NO_STRAIN.model_copy(update={"bend_rad": 0.5})
    with pytest.raises(ValueError, match="generator"):
        crystal_of_atoms(initial_atoms(spec, 3.92), 3.92, spec, "perfect", hkl=(1, 1, 1), size_nm=200, strain=strain)


def test_a_reflection_sees_of_atoms_what_it_sees_of_the_crystal_they_were():
    screw = spec_of("screw")
    fault = spec_of("perfect").model_copy(update={"defects": (FaultSpec(plane=(1, 1, 1), shift=0, offset=0.1),)})
    for spec, label in ((screw, "screw"), (fault, "stacking_fault")):
        for hkl in ((1, 1, 1), (1, -1, 1), (2, 0, 0), (2, 2, 0)):
            made = build_crystal(spec.model_copy(update={"hkl": hkl}))
            atoms = crystal_of_atoms(initial_atoms(spec, 3.92), 3.92, spec, label, hkl=hkl, size_nm=300.0)
            assert (atoms.visible, atoms.contrasts) == (made.visible, made.contrasts)
            assert (atoms.g_dot_b, atoms.line_distance) == (made.g_dot_b, made.line_distance)


def test_a_line_that_left_while_relaxing_is_no_longer_there_to_be_seen():
    spec = spec_of("screw")
    found = crystal_of_atoms(initial_atoms(spec, 3.92), 3.92, spec, "perfect", hkl=(1, 1, 1), size_nm=300.0)
    assert found.visible
    assert (found.contrasts, found.g_dot_b, found.line_distance) == ((), 0.0, None)


def test_a_number_is_always_the_same_crystal():
    first, again, other = (draw_configuration(SMALL, index) for index in (4, 4, 7))
    assert first == again
    assert first[0] != other[0]


def test_unknown_potentials_say_so(tmp_path: Path):
    with pytest.raises((ValueError, KeyError), match="Xx"):
        load_potential("zhou2004/Xx")
    with pytest.raises(FileNotFoundError):
        load_potential(str(tmp_path / "absent.eam.alloy"))


def test_a_library_keeps_what_was_put_in_beside_what_was_found(library_folder: Path):
    entries = list(read_entries(relaxed_shard_path(library_folder, SMALL, 0)))
    assert [e.put_in for e in entries] == ["perfect", "screw", "edge"]
    assert entries[0].label == "perfect"
    assert all(e.label in {"perfect", "screw", "edge", "mixed", "lost", "other"} for e in entries)


def test_a_library_gives_the_same_crystal_for_the_same_draw(library_folder: Path):
    library = CrystalLibrary(library_folder)
    one, two = (library.crystal(0, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.phase_turns, two.phase_turns)
    assert one.label == library.label(0)
    assert one.visible


def test_a_complete_shard_is_left_alone(library_folder: Path):
    path = relaxed_shard_path(library_folder, SMALL, 0)
    before = path.stat().st_mtime_ns
    assert write_relaxed_shard(library_folder, SMALL, 0, 3) == path
    assert path.stat().st_mtime_ns == before


def test_an_empty_library_says_how_to_fill_it(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="braggwatch cxdp relax"):
        CrystalLibrary(tmp_path)


def test_the_papers_crystals_can_be_relaxed_and_keep_the_element_of_the_potential():
    spec = RelaxationSpec(regime=PaperRegime(size="small", lines="mix"), potentials=("zhou2004/Al",))
    drawn, potential = draw_configuration(spec, 2)
    assert potential == "zhou2004/Al"
    assert drawn.element == "Al"
    assert drawn.line is not None
    assert drawn.line.burgers == (1, -1, 0)
    assert 30 <= drawn.points_across <= 32


def test_a_regime_has_no_mixed_lines():
    with pytest.raises(ValueError, match="no mixed lines"):
        draw_configuration(RelaxationSpec(regime=PaperRegime(), classes=("mixed",)), 0)


def test_a_specification_without_a_regime_keeps_the_name_it_had():
    shipped = Path(relaxation_configuration.__file__).parents[2] / "populations" / "relaxed-clamped.json"
    assert RelaxationSpec.model_validate_json(shipped.read_text()).digest() == "a9fca8d0ffd4"
    assert RelaxationSpec(regime=PaperRegime()).digest() != RelaxationSpec().digest()


def test_unrelaxed_crystals_stay_where_the_elastic_field_puts_them():
    spec = SMALL.model_copy(update={"settings": RelaxationSettings(protocol="none")})
    made = relax_configuration(spec, 1, make_relaxer("own"))
    np.testing.assert_allclose(made.positions_A, initial_atoms(made.spec, made.lattice_parameter_A), rtol=0, atol=1e-4)
    assert made.steps == 0
    assert made.label == "screw"


@pytest.mark.parametrize(
    "path", sorted((Path(relaxation_configuration.__file__).parents[2] / "populations" / "regimes").glob("*.json"))
)
def test_the_shipped_regimes_are_understood(path: Path):
    assert RelaxationSpec.model_validate_json(path.read_text()).digest()
