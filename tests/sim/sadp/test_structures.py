"""The tabulated cubic structures and CIF files: what is stated is what is found."""

from __future__ import annotations

import csv
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

gemmi = pytest.importorskip("gemmi", reason="electron diffraction needs the extra [sadp]")

from braggwatch.sim.sadp.cif import read_cif  # noqa: E402 - after the skip
from braggwatch.sim.sadp.structure import StructureError  # noqa: E402
from braggwatch.sim.sadp.table import structure_named, structures  # noqa: E402
from support.prototypes import prototype_label  # noqa: E402

CIFS = Path(__file__).parents[4] / "shared" / "data" / "cifs.tar.xz"

HALITE = """data_halite
_cell_length_a 5.6402
_cell_length_b 5.6402
_cell_length_c 5.6402
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
Na1 Na 0 0 0 1.0 0.0219
Cl1 Cl 0.5 0.5 0.5 1.0 ?
"""


def test_at_least_fifty_structures_of_each_space_group_each_with_its_source():
    rows = structures()
    assert min(Counter(row.space_group for row in rows)[number] for number in (213, 221, 225, 227, 229)) >= 50
    assert len({row.id for row in rows}) == len(rows)
    assert all(row.source and row.a_A > 2 for row in rows)


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
def test_spglib_finds_the_stated_space_group_and_sites():
    spglib = pytest.importorskip("spglib")
    for row in structures():
        made = row.build()
        kinds: dict[tuple[int, ...], list[tuple[int, float]]] = defaultdict(list)
        for place, kind, share in zip(made.positions, made.species, made.occupancy, strict=True):
            kinds[tuple(np.round(place * 1e6).astype(int) % 1_000_000)].append((int(kind), round(float(share), 3)))
        names = sorted({tuple(sorted(value)) for value in kinds.values()})
        numbers = [names.index(tuple(sorted(value))) for value in kinds.values()]
        found = spglib.get_symmetry_dataset((made.cell_A, np.array(list(kinds)) / 1e6, numbers), symprec=1e-3)
        assert found.number == row.space_group, row.id


def test_prototype_is_computed_from_the_occupied_sites():
    assert all(
        row.prototype == prototype_label(row.space_group, [site[:2] for site in row.sites]) for row in structures()
    )
    assert prototype_label(225, [("Na", "a"), ("Cl", "b")]) == prototype_label(225, [("Mg", "b"), ("O", "a")])
    assert prototype_label(225, [("Ca", "a"), ("F", "c")]) != prototype_label(225, [("Na", "a"), ("Cl", "b")])
    # perovskite with A or with B at the origin
    assert prototype_label(221, [("Sr", "b"), ("Ti", "a"), ("O", "d")]) == prototype_label(
        221, [("Sr", "a"), ("Ti", "b"), ("O", "c")]
    )


def test_table_agrees_with_the_curated_files(tmp_path: Path):
    if not CIFS.exists():
        pytest.skip(f"the curated CIFs are not at {CIFS}")
    with tarfile.open(CIFS) as archive:
        archive.extractall(tmp_path, filter="data")
    rows = {
        (row.space_group, row.source.split(" (")[0].removeprefix("Materials Project ")): row for row in structures()
    }
    compared = 0
    for entry in csv.DictReader((tmp_path / "cifs" / "INDEX.csv").read_text().splitlines()):
        row = rows.get((int(entry["sg"]), entry["source"].split(":")[-1]))
        if row is None or compared >= 60:
            continue
        of_file, of_table = read_cif(tmp_path / "cifs" / entry["file"]), row.build()
        assert of_table.formula == of_file.formula
        assert len(of_table.positions) == len(of_file.positions)
        assert np.isclose(of_table.volume_A3, of_file.volume_A3, rtol=1e-4)
        compared += 1
    assert compared == 60


def test_cif_gives_cell_atoms_and_debye_waller_factors(tmp_path: Path):
    path = tmp_path / "halite.cif"
    path.write_text(HALITE)
    made = read_cif(path)
    assert made.formula == "ClNa"
    assert made.space_group == 225
    assert len(made.positions) == 8
    assert np.isclose(made.volume_A3, 5.6402**3)
    by_element = dict(zip((made.elements[i] for i in made.species), made.b_iso_A2, strict=True))
    assert np.isclose(by_element["Na"], 8 * np.pi**2 * 0.0219, rtol=1e-4)
    assert by_element["Cl"] == 0.5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no cif at all", "not a readable CIF"),
        (HALITE.replace("_cell_length_a 5.6402\n", "_cell_length_a ?\n"), "unit cell"),
        (HALITE.replace("F m -3 m", "F q -7 m"), "symmetry"),
        (HALITE.replace("Na1 Na 0 0 0 1.0", "Na1 Na 0 0 0 1.7"), "occupancy"),
        (HALITE.replace("0.5 0.5 0.5", "0 0 0"), "atoms overlap"),
        (HALITE.replace("Na1 Na 0", "Q1 Q 0"), "element"),
        (HALITE[: HALITE.index("Na1")], "no atom sites"),
    ],
)
def test_bad_cif_is_refused_with_a_reason(tmp_path: Path, text: str, says: str):
    path = tmp_path / "bad.cif"
    path.write_text(text)
    with pytest.raises(StructureError, match=says):
        read_cif(path)


def test_unknown_structure_names_its_neighbours():
    with pytest.raises(StructureError, match=r"similar: .*LiFe5O8"):
        structure_named("LiFe5O")
