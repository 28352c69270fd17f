"""Own relaxation engine: embedded atoms and FIRE in Warp, the same kernels on CPU and CUDA.

On a CPU a launch runs on one core: use one process per core. On a GPU hand many crystals to `relax_batch` at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import warp as wp
from numpy.typing import NDArray

from braggwatch.sim.cxdp.relaxation.engines.checks import checked_positions, checked_shell
from braggwatch.sim.cxdp.relaxation.engines.fire import Fire, fire_settings
from braggwatch.sim.cxdp.relaxation.engines.warp_crystals import Measured, WarpCrystals
from braggwatch.sim.cxdp.relaxation.model import (
    EamPotential,
    EnergyAndForces,
    Relaxation,
    RelaxationSettings,
    SnapshotCheck,
    StopReason,
)
from braggwatch.sim.cxdp.relaxation.potentials.eam_spline import make_spline
from braggwatch.sim.warp.warp_start import start_warp

_LONGEST_STEP_A = 0.1
_SKIN_A = 0.5
_ENERGY_WINDOW = 5
_ATOMS_PER_LAUNCH = 10_000_000


@dataclass(frozen=True, slots=True)
class _Snapshot:
    positions_A: NDArray[np.float64]
    energy_eV: float
    max_force_eV_A: float
    steps: int


class _Course:
    """One crystal's way through the protocol: when it is released, kept, done."""

    def __init__(self, settings: RelaxationSettings, accept: SnapshotCheck | None) -> None:
        self._settings = settings
        self._accept = accept
        self._energies: list[float] = []
        self._released_at: int | None = None
        self._converged = False
        self.clamped = settings.protocol == "clamped"
        self.kept: _Snapshot | None = None
        self.stopped: StopReason | None = None
        self.steps = 0

    def look(self, crystals: WarpCrystals, k: int, measured: Measured, downhill_steps: int) -> bool:
        """Judge the state just evaluated; True where the crystal shall go on from rest, its shell now free."""
        energy, settings = float(measured.energy_eV[k]), self._settings
        if not np.isfinite(energy):
            raise ValueError("the energy isn't finite: atoms ran away")

        def keep() -> _Snapshot:
            return _Snapshot(crystals.positions_A(k), energy, float(measured.max_force_eV_A[k]), self.steps)

        if settings.protocol == "paper":
            self._energies.append(energy)
            if self._settled(downhill_steps):
                self.stopped = "energy_tolerance"
            elif self.steps >= settings.max_steps:
                self.stopped = "step_limit"
            if self.stopped is not None:
                self.kept = keep()
            return False
        if self._released_at is None:
            self._converged = bool(measured.max_free_force_eV_A[k] <= settings.force_tolerance_eV_A)
            if not self._converged and self.steps < settings.max_steps:
                return False
            self.kept = keep()
            self.clamped = False
            self._released_at = self.steps
            if settings.release_steps == 0:
                self.stopped = self._outcome
            return True
        since = self.steps - self._released_at
        if since % settings.check_every == 0 or since >= settings.release_steps:
            now = keep()
            if self._accept is not None and not self._accept(now.positions_A):
                self.stopped = "rejected_by_check"
                return False
            self.kept = now
            if since >= settings.release_steps:
                self.stopped = self._outcome
        return False

    @property
    def _outcome(self) -> StopReason:
        return "force_tolerance" if self._converged else "step_limit"

    def _settled(self, downhill_steps: int) -> bool:
        """See `WarpRelaxer.relax` for what the tolerance means here."""
        if downhill_steps < 4 * _ENERGY_WINDOW or len(self._energies) <= _ENERGY_WINDOW:
            return False
        change = abs(self._energies[-1] - self._energies[-1 - _ENERGY_WINDOW]) / _ENERGY_WINDOW
        return change <= self._settings.energy_tolerance * abs(self._energies[-1])


class WarpRelaxer:
    """EAM and FIRE 2.0 in Warp."""

    def __init__(self, device: Literal["cpu", "cuda"] = "cpu") -> None:
        """Choose the device.

        Raises
        ------
        RuntimeError
            If there is no CUDA device and one is asked for.
        """
        start_warp()
        if device == "cuda" and not wp.is_cuda_available():
            raise RuntimeError("no CUDA device: use device='cpu'")
        self._device = wp.get_device(device)

    @property
    def name(self) -> str:
        """Engine, version and device."""
        return f"braggwatch EAM+FIRE (warp {wp.__version__}, {self._device})"

    def energy_and_forces(self, positions_A: NDArray[np.float64], potential: EamPotential) -> EnergyAndForces:
        """Evaluate (N, 3) positions.

        Raises
        ------
        ValueError
            If atoms coincide or positions aren't finite (N, 3).
        """
        x = checked_positions(positions_A)
        crystals = WarpCrystals([x], None, make_spline(potential), skin_A=0.0, device=self._device)
        crystals.evaluate()
        return EnergyAndForces(crystals.energies_eV(0), crystals.forces_eV_A(0))

    def relax(
        self,
        positions_A: NDArray[np.float64],
        potential: EamPotential,
        settings: RelaxationSettings,
        *,
        shell: NDArray[np.bool_] | None = None,
        accept: SnapshotCheck | None = None,
    ) -> Relaxation:
        """Relax (N, 3) positions, see `braggwatch.sim.cxdp.relaxation.model.Relaxer`.

        'paper': a FIRE step is shorter than a conjugate-gradient iteration with its line search, and the first ones
        change the energy little because atoms start at rest. So the tolerance holds for the mean change per step over
        five steps, and not before twenty downhill steps in a row.

        Raises
        ------
        ValueError
            If 'clamped' is asked for without a shell, atoms coincide, or positions aren't finite (N, 3).
        """
        shells = None if shell is None else [shell]
        return self.relax_batch([positions_A], potential, settings, shells=shells, accepts=[accept])[0]

    def relax_batch(
        self,
        positions_A: Sequence[NDArray[np.float64]],
        potential: EamPotential,
        settings: RelaxationSettings,
        *,
        shells: Sequence[NDArray[np.bool_]] | None = None,
        accepts: Sequence[SnapshotCheck | None] | None = None,
    ) -> list[Relaxation]:
        """Relax several crystals of any sizes side by side, each as `relax` would alone.

        ``seconds`` of each is its share, by atoms, of the launch it was in.

        Raises
        ------
        ValueError
            As `relax`; also if ``shells`` or ``accepts`` aren't as many as the crystals.
        """
        x = [checked_positions(p) for p in positions_A]
        checks: list[SnapshotCheck | None] = [None] * len(x) if accepts is None else list(accepts)
        if len(checks) != len(x):
            raise ValueError(f"{len(checks)} checks for {len(x)} crystals")
        if shells is not None and len(shells) != len(x):
            raise ValueError(f"{len(shells)} shells for {len(x)} crystals")
        if settings.protocol == "clamped" and shells is None:
            raise ValueError("the 'clamped' protocol needs a shell")
        held = (
            None
            if shells is None
            else [checked_shell(np.asarray(s, dtype=np.bool_), len(p)) for s, p in zip(shells, x, strict=True)]
        )
        results: list[Relaxation] = []
        for part in _parts([len(p) for p in x]):
            results += self._relax(x[part], potential, settings, held[part] if held else None, checks[part])
        return results

    def _relax(
        self,
        x: list[NDArray[np.float64]],
        potential: EamPotential,
        settings: RelaxationSettings,
        shells: list[NDArray[np.bool_]] | None,
        accepts: list[SnapshotCheck | None],
    ) -> list[Relaxation]:
        began = time.perf_counter()
        spline = make_spline(potential)
        crystals = WarpCrystals(x, shells, spline, skin_A=_SKIN_A, device=self._device)
        fire = Fire(len(x), fire_settings(spline.stiffness_eV_A2))
        courses = [_Course(settings, accept) for accept in accepts]
        while True:
            running = np.asarray([c.stopped is None for c in courses])
            if not running.any():
                break
            crystals.set_flags(running, np.asarray([c.clamped for c in courses]))
            crystals.evaluate()
            measured = crystals.measure()
            downhill = fire.downhill_steps
            rest = np.zeros(len(x), dtype=np.bool_)
            for k in np.flatnonzero(running):
                rest[k] = courses[k].look(crystals, int(k), measured, int(downhill[k]))
                courses[k].steps += 1
            running &= np.asarray([c.stopped is None for c in courses])
            crystals.set_flags(running, np.asarray([c.clamped for c in courses]))
            crystals.move(fire.advance(measured.power, measured.v2, measured.f2, rest), _LONGEST_STEP_A)
        seconds = time.perf_counter() - began
        atoms = sum(len(p) for p in x)
        return [self._relaxation(c, seconds * len(p) / atoms) for c, p in zip(courses, x, strict=True)]

    def _relaxation(self, course: _Course, seconds: float) -> Relaxation:
        kept, stopped = course.kept, course.stopped
        if kept is None or stopped is None:
            raise RuntimeError("a course ended without an outcome")
        return Relaxation(
            kept.positions_A, kept.energy_eV, kept.max_force_eV_A, kept.steps, stopped, self.name, seconds
        )


def _parts(sizes: list[int]) -> list[slice]:
    """Crystals that go into one launch together."""
    parts: list[slice] = []
    begin, atoms = 0, 0
    for k, size in enumerate(sizes):
        if k > begin and atoms + size > _ATOMS_PER_LAUNCH:
            parts.append(slice(begin, k))
            begin, atoms = k, 0
        atoms += size
    if sizes:
        parts.append(slice(begin, len(sizes)))
    return parts
