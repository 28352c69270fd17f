"""Potentials: files are read or refused with a reason, generated ones are the published ones, properties are known."""

from __future__ import annotations

import dataclasses
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from braggwatch.sim.cxdp.relaxation.model import EamPotential
from braggwatch.sim.cxdp.relaxation.potentials.periodic import PeriodicEam
from braggwatch.sim.cxdp.relaxation.potentials.properties import fcc_energy_eV, fcc_equilibrium, fcc_properties
from braggwatch.sim.cxdp.relaxation.potentials.setfl import PotentialFileError, parse_setfl, read_setfl, write_setfl
from braggwatch.sim.cxdp.relaxation.potentials.zhou2004 import PARAMETERS, zhou_potential

FILES = Path(__file__).parents[5] / "shared/data/potentials"
PAPERS_FILES = {
    "Al": "Al99.eam.alloy",
    "Ag": "Ag.eam.alloy",
    "Au": "Au_Grochola_JCP05.eam.alloy",
    "Pt": "Pt_Zhou04.eam.alloy",
}


def papers_potential(element: str) -> EamPotential:
    path = FILES / PAPERS_FILES[element]
    if not path.exists():
        pytest.skip(f"needs ../shared/data/potentials/{path.name}, the paper's potential of {element}")
    return read_setfl(path)


def small_potential(element: str = "Pt") -> EamPotential:
    return replace(zhou_potential(element, points=100), name="small")


@cache
def small_text() -> str:
    with TemporaryDirectory() as folder:
        return written(small_potential(), Path(folder))


def assert_same(one: EamPotential, other: EamPotential) -> None:
    for field in dataclasses.fields(EamPotential):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def written(potential: EamPotential, folder: Path) -> str:
    write_setfl(potential, folder / "written.eam.alloy")
    return (folder / "written.eam.alloy").read_text()


def of_two_elements(first: EamPotential, second: EamPotential) -> str:
    """An alloy's file in five columns; the cross term is the first element's, which nobody reads."""
    assert first.density.size == second.density.size
    lines = ["one", "two", "three", f"2 {first.element} {second.element}"]
    lines.append(f"100 {first.density_step!r} 100 {first.distance_step_A!r} {first.cutoff_A!r}")
    for p in (first, second):
        lines.append(f"1 {p.mass_u!r} {p.lattice_parameter_A!r} fcc")
        lines += columns(p.embedding_eV) + columns(p.density)
    lines += columns(first.pair_eV_A) + columns(first.pair_eV_A) + columns(second.pair_eV_A)
    return "\n".join(lines)


def columns(values: NDArray[np.float64]) -> list[str]:
    return [" ".join(repr(v) for v in row) for row in values.reshape(-1, 5).tolist()]


@settings(deadline=None)
@given(
    st.floats(0, 300),
    arrays(np.float64, 7, elements=st.floats(allow_nan=False, allow_infinity=False)),
    arrays(np.float64, st.just(9), elements=st.floats(allow_nan=False, allow_infinity=False)),
    st.floats(1e-6, 10),
)
def test_a_written_potential_reads_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    mass: float,
    embedding: NDArray[np.float64],
    density: NDArray[np.float64],
    step: float,
) -> None:
    potential = EamPotential(
        name="any",
        element="Au",
        mass_u=abs(mass) + 1,
        lattice_parameter_A=4.08,
        cutoff_A=7.5 * step,
        density_step=step / 3,
        distance_step_A=step,
        embedding_eV=embedding,
        density=density,
        pair_eV_A=-density,
        source="Somebody 1999\nof somewhere\nfor gold, 4.08 Å",
    )
    path = tmp_path_factory.mktemp("setfl") / "any.eam.alloy"
    write_setfl(potential, path)
    assert_same(read_setfl(path), potential)


@settings(deadline=None)
@given(data=st.data())
def test_a_file_cut_at_any_line_says_where_it_ends(data: st.DataObject) -> None:
    lines = small_text().splitlines(keepends=True)
    kept = data.draw(st.integers(0, len(lines) - 1))
    with pytest.raises(PotentialFileError, match=rf"pt\.alloy, line {kept}: the file ends here"):
        parse_setfl("".join(lines[:kept]), "pt.alloy")


@settings(deadline=None)
@given(data=st.data(), word=st.sampled_from(["x", "nan", "inf", "1_0", "--", "1e999", "0x10", "½", "1.2.3"]))
def test_what_is_no_number_is_named_with_its_line(data: st.DataObject, word: str) -> None:
    lines = small_text().splitlines()
    index = data.draw(st.integers(4, len(lines) - 1))
    words = lines[index].split()
    position = data.draw(st.integers(0, len(words) - 1))
    if index == 5:
        position = 1 + position % 2  # the atomic number and the structure's name aren't used
    words[position] = word
    lines[index] = " ".join(words)
    with pytest.raises(PotentialFileError, match=rf"pt\.alloy, line {index + 1}: .*{word}"):
        parse_setfl("\n".join(lines), "pt.alloy")


@pytest.mark.parametrize(
    ("line", "content", "says"),
    [
        (4, "", "line 4: the number of elements .* missing"),
        (4, "Pt 1", "line 4: the number of elements is 'Pt'"),
        (4, "2 Pt", "line 4: 2 elements are stated, but 1 symbols follow"),
        (4, "2 Pt Pt", "line 4: an element is listed twice"),
        (5, "100 1.0 100 0.06", "line 5: five values"),
        (5, "4 1.0 100 0.063 6.2", "line 5: a table has fewer than 5"),
        (5, "100 1.0 100 -0.063 6.2", "line 5: the step of the distance tables is -0.063, not above zero"),
        (5, "100 1.0 100 0.01 6.2", "line 5: the cutoff of 6.2 Å is beyond the end of the tables at 1"),
        (5, "1e2 1.0 100 0.063 6.2", "line 5: the size of the embedding table is '1e2', not a whole number"),
        (5, "99 1.0 100 0.063 6.2", "line 306: the file continues after the last table"),
        (5, "101 1.0 100 0.063 6.2", "line 306: the file ends here, but 1 of 100 values of the pair table of Pt-Pt"),
        (6, "78 195.08", "line 6: atomic number, mass and lattice parameter of Pt"),
        (6, "78 0 3.92 fcc", "line 6: the mass of Pt is 0, not above zero"),
        (106, "1.0 2.0", "line 106: the embedding table of Pt has more than the 100 values"),
    ],
)
def test_wrong_headers_and_counts_are_named(line: int, content: str, says: str) -> None:
    lines = small_text().splitlines()
    assert len(lines) == 306
    lines[line - 1] = content
    with pytest.raises(PotentialFileError, match=says):
        parse_setfl("\n".join(lines), "pt.alloy")


@settings(deadline=None)
@given(st.text())
def test_any_text_is_refused_with_the_files_name(text: str) -> None:
    with pytest.raises(PotentialFileError, match=r"any\.txt"):
        parse_setfl(text, "any.txt")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.alloy").write_bytes(b"\x80\x81\xff" * 100)
    with pytest.raises(PotentialFileError, match=r"x\.alloy: not a text file"):
        read_setfl(tmp_path / "x.alloy")


def test_one_element_of_an_alloy_is_chosen_by_name() -> None:
    first, second = small_potential("Pt"), small_potential("Au")
    text = of_two_elements(first, second)
    for element, expected in (("Pt", first), ("Au", second)):
        read = parse_setfl(text, "PtAu.eam.alloy", element)
        assert read.name == f"PtAu:{element}"
        assert read.mass_u == expected.mass_u
        for table in ("embedding_eV", "density", "pair_eV_A"):
            np.testing.assert_array_equal(getattr(read, table), getattr(expected, table))
    with pytest.raises(PotentialFileError, match="line 4: the file contains Pt, Au: choose one"):
        parse_setfl(text, "PtAu.eam.alloy")
    with pytest.raises(PotentialFileError, match="line 4: the file has no Cu, only Pt, Au"):
        parse_setfl(text, "PtAu.eam.alloy", "Cu")


def test_fortran_exponents_are_read() -> None:
    lines = small_text().splitlines()
    lines[6] = "-0.25D-03"
    assert parse_setfl("\n".join(lines), "pt.alloy").embedding_eV[0] == -0.25e-3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"element": "Xx"}, "not a chemical symbol"),
        ({"density": np.zeros(7)}, "share one grid"),
        ({"embedding_eV": np.array([0.0, np.nan])}, "finite"),
    ],
)
def test_a_potential_that_could_not_be_read_is_not_written(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        write_setfl(replace(small_potential(), **change), tmp_path / "x.eam.alloy")
    assert not (tmp_path / "x.eam.alloy").exists()


def test_the_generated_platinum_is_the_published_file() -> None:
    file, generated = papers_potential("Pt"), zhou_potential("Pt")
    assert generated.cutoff_A == file.cutoff_A
    assert generated.density_step == file.density_step
    for table in ("embedding_eV", "density", "pair_eV_A"):
        np.testing.assert_allclose(getattr(generated, table), getattr(file, table), rtol=0, atol=1e-13)


@pytest.mark.parametrize("element", list(PARAMETERS))
def test_zhous_functions_are_continuous_and_vanish_without_neighbours(element: str) -> None:
    potential = zhou_potential(element, points=20001)
    assert abs(potential.embedding_eV[0]) < 1e-5
    # three pieces: a jump would stand out against the slope everywhere else
    assert np.abs(np.diff(potential.embedding_eV, 2)).max() < 2e-3
    assert abs(potential.density[-1]) < 2e-5
    assert abs(potential.pair_eV_A[-1]) < 2e-5


@pytest.mark.parametrize("element", ["Cu", "", "pt"])
def test_other_elements_are_refused(element: str) -> None:
    with pytest.raises(ValueError, match="only for Al, Ag, Au, Pt"):
        zhou_potential(element)
    with pytest.raises(ValueError, match="too few"):
        zhou_potential("Pt", points=10)


PAPERS_PROPERTIES = {
    "Al": (4.0500, -3.3600, 145.5, 0.871, 0.944, 1.006),
    "Ag": (4.0900, -2.8500, 17.8, 0.862, 0.940, 1.017),
    "Au": (4.0701, -3.9242, 42.6, 1.196, 1.297, 1.531),
    "Pt": (3.9200, -5.7700, 75.3, 2.083, 2.178, 2.397),
}
ZHOU_PROPERTIES = {
    "Al": (4.0502, -3.5800, 22.1, 0.908, 0.922, 1.031),
    "Ag": (4.0896, -2.8500, 5.9, 0.906, 0.978, 1.083),
    "Au": (4.0801, -3.9300, 3.6, 0.907, 1.016, 1.109),
    "Pt": (3.9201, -5.7700, 75.6, 2.083, 2.178, 2.397),
}


def assert_properties(potential: EamPotential, expected: tuple[float, ...], fault_tolerance: float) -> None:
    a_A, energy_eV, fault, *surfaces = astuple(fcc_properties(potential))
    assert a_A == pytest.approx(expected[0], abs=1.5e-4)
    assert energy_eV == pytest.approx(expected[1], abs=1e-4)
    assert fault == pytest.approx(expected[2], abs=fault_tolerance)
    assert surfaces == pytest.approx(expected[3:], abs=1e-3)


@pytest.mark.parametrize("element", list(PAPERS_PROPERTIES))
def test_the_papers_potentials_have_their_published_properties(element: str) -> None:
    # Zhou's functions end with a small step on a shell of neighbours: the fault's energy is good to about 0.5 mJ/m2
    assert_properties(papers_potential(element), PAPERS_PROPERTIES[element], 0.5 if element == "Pt" else 0.1)


@pytest.mark.parametrize("element", list(ZHOU_PROPERTIES))
def test_the_generated_potentials_have_the_documented_properties(element: str) -> None:
    assert_properties(zhou_potential(element), ZHOU_PROPERTIES[element], 0.6)


def test_a_potential_without_an_fcc_minimum_is_refused() -> None:
    with pytest.raises(ValueError, match="no fcc minimum"):
        fcc_equilibrium(replace(zhou_potential("Pt"), lattice_parameter_A=5.0))


def test_periodic_forces_are_the_slope_of_the_energy() -> None:
    potential = zhou_potential("Au")
    a_A = 4.08
    cell = a_A * np.eye(3)
    rng = np.random.default_rng(3)
    positions = a_A / 2 * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) + rng.normal(0, 0.1, (4, 3))
    periodic = PeriodicEam(potential, cell, positions)
    direction = rng.normal(size=(4, 3))
    step = 1e-5
    slope = (
        periodic.evaluate(positions + step * direction).energy_eV
        - periodic.evaluate(positions - step * direction).energy_eV
    ) / (2 * step)
    here = periodic.evaluate(positions)
    assert slope == pytest.approx(-(here.force_eV_A * direction).sum(), rel=1e-6)
    # the same crystal cut into another cell
    primitive = fcc_energy_eV(potential, a_A)
    perfect = a_A / 2 * np.array([[0.0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    np.testing.assert_allclose(PeriodicEam(potential, cell, perfect).evaluate(perfect).atom_energy_eV, primitive)
    with pytest.raises(ValueError, match="moved by more"):
        periodic.evaluate(positions + 0.6)
