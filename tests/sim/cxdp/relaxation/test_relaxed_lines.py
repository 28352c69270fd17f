"""The stop rule makes the defect: what Lim et al.'s own crystals hold after each way of relaxing them.

Labels come from the census alone. ``pytest -m slow -s tests/sim/cxdp/relaxation/test_relaxed_lines.py``
prints the rows of the table in docs/explanation/relaxation.md.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import pytest

from braggwatch.sim.cxdp.crystal.atomistic import initial_atoms
from braggwatch.sim.cxdp.crystal.paper import PAPER_BURGERS, PaperRegime, paper_crystal_spec
from braggwatch.sim.cxdp.relaxation.census.census import Census, still_holds, surface_shell, take_census
from braggwatch.sim.cxdp.relaxation.configuration import Engine, RelaxationSpec, make_relaxer, relax_configuration
from braggwatch.sim.cxdp.relaxation.engines.lammps_program import LammpsNotFoundError
from braggwatch.sim.cxdp.relaxation.model import RelaxationSettings
from braggwatch.sim.cxdp.relaxation.potentials.zhou2004 import zhou_potential

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

Character = Literal["screw", "edge"]
Rule = float | Literal["clamped"]
"""The energy tolerance of 'paper', or 'clamped'."""
POTENTIAL = zhou_potential("Pt")


def settings_of(rule: Rule) -> RelaxationSettings:
    if rule == "clamped":
        return RelaxationSettings(protocol="clamped")
    return RelaxationSettings(protocol="paper", energy_tolerance=rule, max_steps=3000)


@cache
def relaxed(character: Character, rule: Rule, engine: Engine) -> Census:
    """Relax one of the paper's small platinum crystals, its line within a tenth of the width from the centre."""
    spec = paper_crystal_spec(np.random.default_rng(0), character, PaperRegime(size="small", lines="CD"))
    assert spec.line is not None
    a = POTENTIAL.lattice_parameter_A
    atoms = initial_atoms(spec, a)
    settings = settings_of(rule)
    clamped = rule == "clamped"
    try:
        result = make_relaxer(engine).relax(
            atoms,
            POTENTIAL,
            settings,
            shell=surface_shell(atoms, a, settings.clamp_depth_A) if clamped else None,
            accept=still_holds(spec.line, a) if clamped else None,
        )
    except LammpsNotFoundError as error:
        pytest.skip(str(error))
    census = take_census(result.positions_A, a, line=spec.line)
    name = rule if rule == "clamped" else f"{rule:.0e}"
    print(  # noqa: T201 the table is a result
        f"\n| {character} | {name}, {engine} | {result.steps} | {result.max_force_eV_A:.2f} | {census.state} | "
        f"{census.label} | {census.hcp_count} | {census.line_length_nm:.1f} | {census.fault_width_nm:.1f} |"
    )
    return census


def assert_two_partials(census: Census, character: Character) -> None:
    """The line that was put in, through the whole crystal, split on a {111} plane that holds it."""
    assert (census.state, census.label) == ("line", character)
    assert census.burgers == PAPER_BURGERS
    assert census.dissociated
    assert census.fault_plane is not None
    assert int(np.dot(census.fault_plane, PAPER_BURGERS)) == 0
    assert census.fault_width_nm > 0.5


@pytest.mark.parametrize(
    ("character", "least_hcp", "length_nm"), [("screw", 300, (9.0, 13.0)), ("edge", 600, (13.0, 17.0))]
)
def test_the_papers_rule_keeps_a_split_line(
    character: Character, least_hcp: int, length_nm: tuple[float, float]
) -> None:
    census = relaxed(character, 1e-6, "lammps")
    assert_two_partials(census, character)
    assert census.hcp_count > least_hcp
    assert length_nm[0] < census.line_length_nm < length_nm[1]


@pytest.mark.parametrize(
    ("character", "least_hcp", "length_nm"), [("screw", 200, (9.0, 13.0)), ("edge", 700, (13.0, 17.0))]
)
def test_a_clamped_relaxation_keeps_a_split_line(
    character: Character, least_hcp: int, length_nm: tuple[float, float]
) -> None:
    pytest.importorskip("warp")
    census = relaxed(character, "clamped", "own")
    assert_two_partials(census, character)
    assert census.hcp_count > least_hcp
    assert length_nm[0] < census.line_length_nm < length_nm[1]


def test_a_tenth_of_the_tolerance_turns_the_edge_into_a_screw_and_it_is_called_so() -> None:
    census = relaxed("edge", 1e-7, "lammps")
    assert (census.state, census.label) == ("turned", "screw")
    assert census.burgers == PAPER_BURGERS
    assert census.character_deg is not None
    assert census.character_deg < 15.0


def test_the_screw_is_drawn_apart_at_a_tenth_of_the_tolerance_and_gone_at_a_hundredth() -> None:
    kept, wider, gone = (relaxed("screw", tolerance, "lammps") for tolerance in (1e-6, 1e-7, 1e-8))
    assert_two_partials(wider, "screw")
    assert wider.hcp_count > 1.2 * kept.hcp_count
    assert wider.fault_width_nm > 1.2 * kept.fault_width_nm
    assert (gone.state, gone.label) == ("escaped", "lost")
    assert gone.hcp_count < 0.1 * kept.hcp_count
    assert gone.line_length_nm == 0.0


def found_in(number: int, rule: Rule, engine: Engine) -> Census:
    """Relax a crystal of the regime small-pt-cd and look at what is left in it."""
    spec = RelaxationSpec(
        regime=PaperRegime(size="small", lines="CD"),
        classes=("screw", "edge"),
        potentials=("zhou2004/Pt",),
        settings=settings_of(rule),
        seed=12,
    )
    try:
        census = relax_configuration(spec, number, make_relaxer(engine)).census
    except LammpsNotFoundError as error:
        pytest.skip(str(error))
    print(f"\ncrystal {number}, {rule}: {census.state}, {census.label}, {census.hcp_count} hcp")  # noqa: T201
    return census


@pytest.mark.parametrize(("character", "number"), [("edge", 1), ("screw", 2)])
def test_a_line_that_both_rules_keep_is_gone_at_a_tenth_of_the_tolerance_and_called_lost(
    character: Character, number: int
) -> None:
    pytest.importorskip("warp")
    for kept in (found_in(number, "clamped", "own"), found_in(number, 1e-6, "lammps")):
        assert_two_partials(kept, character)
    gone = found_in(number, 1e-7, "lammps")
    assert (gone.state, gone.label) == ("escaped", "lost")
    assert gone.hcp_count == 0
    assert gone.line_length_nm == 0.0
