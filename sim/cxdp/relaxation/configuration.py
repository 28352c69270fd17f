"""One relaxed crystal: the defect put in, how it was relaxed, and what was found afterwards."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.cxdp.crystal.atomistic import atomistic_spec, initial_atoms
from braggwatch.sim.cxdp.crystal.build import CrystalSpec
from braggwatch.sim.cxdp.crystal.paper import PaperRegime, paper_crystal_spec
from braggwatch.sim.cxdp.crystal.population import PopulationSpec, random_crystal_spec
from braggwatch.sim.cxdp.dataset_spec import unset_population_fields
from braggwatch.sim.cxdp.labels import CLASSES, Label
from braggwatch.sim.cxdp.relaxation.census.census import Census, still_holds, surface_shell, take_census
from braggwatch.sim.cxdp.relaxation.model import EamPotential, Relaxation, RelaxationSettings, Relaxer
from braggwatch.sim.cxdp.relaxation.potentials.setfl import read_setfl
from braggwatch.sim.cxdp.relaxation.potentials.zhou2004 import zhou_potential
from braggwatch.sim.errors import InputError

Engine = Literal["own", "lammps"]
_GENERATED = "zhou2004/"


class RelaxationSpec(BaseModel):
    """Specification of a library of relaxed crystals; its hash identifies it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    population: PopulationSpec = Field(
        default=PopulationSpec(reflections=(((1, 1, 1), 1.0),)),
        description="Shapes and line positions; its elements, sizes, strain and reflections are not used.",
    )
    regime: PaperRegime | None = Field(
        default=None,
        description="Use the crystals of Lim et al., with its sizes and lines; elements come from the potentials.",
    )
    potentials: tuple[str, ...] = Field(
        default=("zhou2004/Al", "zhou2004/Ag", "zhou2004/Au", "zhou2004/Pt"),
        description="'zhou2004/Pt' (generated) or a setfl file.",
    )
    classes: tuple[Label, ...] = CLASSES
    cells_across: tuple[int, int] = Field(default=(16, 24), description="Cubic cells across; 24 give 55 000 atoms.")
    settings: RelaxationSettings = RelaxationSettings()
    engine: Engine = "own"
    seed: int = 1

    def digest(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the specification."""
        # digests from before regimes and wider populations existed must not change
        later: dict[str, bool | set[str]] = {"population": unset_population_fields(self.population)}
        if self.regime is None:
            later["regime"] = True
        return hashlib.sha256(self.model_dump_json(exclude=later).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class RelaxedConfiguration:
    """A relaxed crystal with its record.

    Attributes
    ----------
    spec
        Specification of the initial atoms.
    positions_A
        (N, 3) float32 Å, crystal axes.
    label
        Result of the census: a class, or 'lost' if the line put in has disappeared.
    """

    index: int
    spec: CrystalSpec
    potential: str
    lattice_parameter_A: float
    positions_A: NDArray[np.float32]
    label: str
    census: Census
    steps: int
    stopped: str
    max_force_eV_A: float
    engine: str
    seconds: float


def load_potential(name: str) -> EamPotential:
    """Return a potential by name: 'zhou2004/Pt' is generated, anything else is a setfl file.

    A file is read once, and again once it was replaced.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the element is unknown or the file is malformed.
    """
    if name.startswith(_GENERATED):
        return zhou_potential(name.removeprefix(_GENERATED))
    status = Path(name).stat()
    return _read_once(name, status.st_mtime_ns, status.st_size, status.st_ino)


@cache
def _read_once(name: str, *_state: int) -> EamPotential:
    return read_setfl(Path(name))


def potential_digest(name: str) -> str:
    """Return sixteen hexadecimal digits of a potential's content: its element, lattice parameter and tables.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_potential`.
    """
    potential = load_potential(name)
    numbers = (
        potential.mass_u,
        potential.lattice_parameter_A,
        potential.cutoff_A,
        potential.density_step,
        potential.distance_step_A,
    )
    digest = hashlib.sha256(f"{potential.element}{numbers!r}".encode())
    for table in (potential.embedding_eV, potential.density, potential.pair_eV_A):
        digest.update(table.astype(np.float64).tobytes())
    return digest.hexdigest()[:16]


def make_relaxer(engine: Engine) -> Relaxer:
    """Return an engine; it is imported on first use."""
    if engine == "lammps":
        from braggwatch.sim.cxdp.relaxation.engines.lammps import LammpsRelaxer

        return LammpsRelaxer()
    from braggwatch.sim.cxdp.relaxation.engines.warp_relaxer import WarpRelaxer

    return WarpRelaxer()


def draw_configuration(spec: RelaxationSpec, index: int) -> tuple[CrystalSpec, str]:
    """Draw crystal number ``index``: its atomistic specification and the name of its potential."""
    rng = np.random.default_rng((spec.seed, index))
    label = spec.classes[index % len(spec.classes)]
    potential = spec.potentials[int(rng.integers(len(spec.potentials)))]
    element = load_potential(potential).element
    if spec.regime is not None:
        if label == "mixed":
            raise InputError("the paper has no mixed lines: remove 'mixed' from 'classes', or leave out 'regime'")
        return paper_crystal_spec(rng, label, spec.regime.model_copy(update={"elements": (element,)})), potential
    population = spec.population.model_copy(update={"elements": (element,)})
    drawn = random_crystal_spec(rng, label, population)
    low, high = spec.cells_across
    return atomistic_spec(drawn, int(rng.integers(low, high + 1))), potential


def relax_configuration(spec: RelaxationSpec, index: int, relaxer: Relaxer) -> RelaxedConfiguration:
    """Build crystal number ``index``, relax it and take the census of the result."""
    crystal, potential_name = draw_configuration(spec, index)
    potential = load_potential(potential_name)
    a = potential.lattice_parameter_A
    atoms = initial_atoms(crystal, a)
    clamped = spec.settings.protocol == "clamped"
    if spec.settings.protocol == "none":
        relaxed = _unrelaxed(atoms, potential, relaxer)
    else:
        relaxed = relaxer.relax(
            atoms,
            potential,
            spec.settings,
            shell=surface_shell(atoms, a, spec.settings.clamp_depth_A) if clamped else None,
            accept=still_holds(crystal.line, a) if clamped and crystal.line is not None else None,
        )
    census = take_census(relaxed.positions_A, a, line=crystal.line)
    return RelaxedConfiguration(
        index=index,
        spec=crystal,
        potential=potential_name,
        lattice_parameter_A=a,
        positions_A=relaxed.positions_A.astype(np.float32),
        label=census.label,
        census=census,
        steps=relaxed.steps,
        stopped=relaxed.stopped,
        max_force_eV_A=relaxed.max_force_eV_A,
        engine=relaxed.engine,
        seconds=relaxed.seconds,
    )


def _unrelaxed(atoms: NDArray[np.float64], potential: EamPotential, relaxer: Relaxer) -> Relaxation:
    began = time.monotonic()
    state = relaxer.energy_and_forces(atoms, potential)
    return Relaxation(
        positions_A=atoms,
        energy_eV=state.energy_eV,
        max_force_eV_A=state.max_force_eV_A,
        steps=0,
        stopped="step_limit",
        engine=relaxer.name,
        seconds=time.monotonic() - began,
    )
