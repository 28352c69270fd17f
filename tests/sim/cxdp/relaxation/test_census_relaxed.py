"""Structures as LAMMPS finds them, and what relaxation makes of a line: splits it, keeps it, or drives it out."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.sim.cxdp.crystal import METALS, NO_STRAIN, CrystalSpec, LineSpec, build_crystal
from braggwatch.sim.cxdp.relaxation.census.bonds import CUTOFF, FCC, HCP, OTHER, classify_structure, find_bonds
from braggwatch.sim.cxdp.relaxation.census.census import Census, still_holds, surface_shell, take_census
from braggwatch.sim.cxdp.relaxation.engines.lammps import LammpsRelaxer
from braggwatch.sim.cxdp.relaxation.engines.lammps_program import LammpsNotFoundError, LammpsProgram, find_lammps
from braggwatch.sim.cxdp.relaxation.model import EamPotential, RelaxationSettings
from braggwatch.sim.cxdp.relaxation.potentials.zhou2004 import zhou_potential
from support.shapes import free_shape

FREE = free_shape(1.046, 1.151)
SCREW = LineSpec(burgers=(-1, 1, 0), plane=0, character_deg=0.0, offset=(0.0, 0.0))
EDGE = LineSpec(burgers=(-1, 1, 0), plane=0, character_deg=90.0, offset=(0.0, 0.0))
CNA_SCRIPT = """units metal
atom_style atomic
boundary f f f
read_data crystal.data
pair_style zero {reach}
pair_coeff * *
compute structure all cna/atom {cutoff}
dump out all custom 1 structure.txt id c_structure
dump_modify out sort id
run 0
"""


@pytest.fixture(scope="module")
def lammps() -> LammpsProgram:
    try:
        return find_lammps()
    except LammpsNotFoundError as error:
        pytest.skip(str(error))


@cache
def potential() -> EamPotential:
    return zhou_potential("Pt")


def platinum(cells: int, line: LineSpec) -> NDArray[np.float64]:
    a_nm = METALS["Pt"].lattice_parameter_nm
    spec = CrystalSpec(
        element="Pt",
        size_nm=cells * a_nm,
        points_across=cells,
        shape=FREE,
        line=line,
        strain=NO_STRAIN,
        hkl=(1, 1, 1),
        seed=3,
    )
    crystal = build_crystal(spec)
    return (crystal.positions_nm + crystal.displacement_nm) * (potential().lattice_parameter_A / a_nm)


@cache
def relaxed(line: LineSpec, cells: int, how: RelaxationSettings) -> NDArray[np.float64]:
    atoms, a = platinum(cells, line), potential().lattice_parameter_A
    clamped = how.protocol == "clamped"
    return (
        LammpsRelaxer()
        .relax(
            atoms,
            potential(),
            how,
            shell=surface_shell(atoms, a, how.clamp_depth_A) if clamped else None,
            accept=still_holds(line, a) if clamped else None,
        )
        .positions_A
    )


def census_of(line: LineSpec, cells: int, how: RelaxationSettings) -> Census:
    atoms = relaxed(line, cells, how)  # pyright: ignore[reportArgumentType] - frozen models can be hashed
    return take_census(atoms, potential().lattice_parameter_A, line=line)


CLAMPED = RelaxationSettings(protocol="clamped")


def test_structures_are_those_of_lammps(lammps: LammpsProgram, tmp_path: Path) -> None:
    """On a core as it relaxes, where fcc, hcp and neither lie side by side."""
    a = potential().lattice_parameter_A
    how = RelaxationSettings(protocol="clamped", release_steps=0)
    atoms = relaxed(EDGE, 12, how)  # pyright: ignore[reportArgumentType] - frozen models can be hashed
    half = float(np.abs(atoms).max()) + 5.0
    rows = [f"{i + 1} 1 {x:.17g} {y:.17g} {z:.17g}" for i, (x, y, z) in enumerate(atoms)]
    box = [f"{-half} {half} {axis}lo {axis}hi" for axis in "xyz"]
    data = ["crystal", "", f"{len(atoms)} atoms", "1 atom types", *box, "", "Masses", "", "1 195.08", "", "Atoms", ""]
    (tmp_path / "crystal.data").write_text("\n".join([*data, *rows]) + "\n", encoding="utf-8")
    script = CNA_SCRIPT.format(reach=2.1 * CUTOFF * a, cutoff=f"{CUTOFF * a:.17g}")
    lammps.run(script, tmp_path, timeout_s=100)
    theirs = np.loadtxt(tmp_path / "structure.txt", skiprows=9)[:, 1].astype(int)
    # LAMMPS: 1 fcc, 2 hcp, 3 bcc, 4 icosahedral, 5 unknown
    expected = np.select([theirs == 1, theirs == 2], [FCC, HCP], OTHER)
    ours = classify_structure(find_bonds(atoms, a))
    assert (ours == HCP).sum() > 20
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("line", [SCREW, EDGE])
def test_a_clamped_line_splits_into_two_partials_and_stays(lammps: LammpsProgram, line: LineSpec) -> None:
    census = census_of(line, 20, CLAMPED)
    assert (census.state, census.label) == ("line", line.character)
    assert census.burgers == line.burgers
    assert census.dissociated
    assert census.hcp_count > 50
    assert census.line_offset is not None
    assert census.line_offset < 0.15
