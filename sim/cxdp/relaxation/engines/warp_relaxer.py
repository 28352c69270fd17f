"""The project's own relaxation engine: EAM and FIRE in Warp, with the same kernels on CPU and CUDA.

On a CPU a launch runs on one core: use one process per core. On a GPU pass many crystals to `relax_batch` at once.
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
from braggwatch.sim.cxdp.relaxation.error import RelaxationError
from braggwatch.sim.cxdp.relaxation.model import (
    EamPotential,
    EnergyAndForces,
    Relaxation,
    RelaxationSettings,
    SnapshotCheck,
    StopReason,
)
from braggwatch.sim.cxdp.relaxation.potentials.eam_spline import make_spline
from braggwatch.sim.errors import InputError
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


class _Progress:
    """One crystal's progress through the protocol: released or not, last accepted snapshot, why it stopped."""

    def __init__(self, settings: RelaxationSettings, accept: SnapshotCheck | None) -> None:
        self._settings = settings
        self._accept = accept
        self._energies: list[float] = []
        self._released_at: int | None = None
        self._converged = False
        self.clamped = settings.protocol == "clamped"
        self.accepted: _Snapshot | None = None
        self.stopped: StopReason | None = None
        self.steps = 0

    def update(self, crystals: WarpCrystals, k: int, measured: Measured, downhill_steps: int) -> bool:
        """Check the state just evaluated; return True if the shell is now released and atoms restart from rest."""
        energy, settings = float(measured.energy_eV[k]), self._settings
        if not np.isfinite(energy):
            raise InputError("the energy isn't finite: the relaxation diverged")

        def snapshot() -> _Snapshot:
            return _Snapshot(crystals.positions_A(k), energy, float(measured.max_force_eV_A[k]), self.steps)

        if settings.protocol == "paper":
            self._energies.append(energy)
            if self._energy_converged(downhill_steps):
                self.stopped = "energy_tolerance"
            elif self.steps >= settings.max_steps:
                self.stopped = "step_limit"
            if self.stopped is not None:
                self.accepted = snapshot()
            return False
        if self._released_at is None:
            self._converged = bool(measured.max_free_force_eV_A[k] <= settings.force_tolerance_eV_A)
            if not self._converged and self.steps < settings.max_steps:
                return False
            self.accepted = snapshot()
            self.clamped = False
            self._released_at = self.steps
            if settings.release_steps == 0:
                self.stopped = self._outcome
            return True
        released_steps = self.steps - self._released_at
        if released_steps % settings.check_every == 0 or released_steps >= settings.release_steps:
            candidate = snapshot()
            if self._accept is not None and not self._accept(candidate.positions_A):
                self.stopped = "rejected_by_check"
                return False
            self.accepted = candidate
            if released_steps >= settings.release_steps:
                self.stopped = self._outcome
        return False

    @property
    def _outcome(self) -> StopReason:
        return "force_tolerance" if self._converged else "step_limit"

    def _energy_converged(self, downhill_steps: int) -> bool:
        """Apply the energy tolerance as described in `WarpRelaxer.relax`."""
        if downhill_steps < 4 * _ENERGY_WINDOW or len(self._energies) <= _ENERGY_WINDOW:
            return False
        change = abs(self._energies[-1] - self._energies[-1 - _ENERGY_WINDOW]) / _ENERGY_WINDOW
        return change <= self._settings.energy_tolerance * abs(self._energies[-1])


class WarpRelaxer:
    """A `Relaxer` with EAM and FIRE 2.0 in Warp."""

    def __init__(self, device: Literal["cpu", "cuda"] = "cpu") -> None:
        """Choose the device.

        Raises
        ------
        RelaxationError
            If 'cuda' is requested but there is no CUDA device.
        """
        start_warp()
        if device == "cuda" and not wp.is_cuda_available():
            raise RelaxationError("no CUDA device: use device='cpu'")
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

        'paper': a FIRE step is shorter than a conjugate-gradient iteration with its line search, and the first steps
        change the energy little because atoms start at rest. So the tolerance applies to the mean change per step over
        five steps, and only after twenty consecutive downhill steps.

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
        """Relax several crystals of any sizes at once, each as `relax` would.

        ``seconds`` of each is its share, by number of atoms, of its launch.

        Raises
        ------
        ValueError
            As `relax`; also if the number of ``shells`` or ``accepts`` differs from that of the crystals.
        """
        x = [checked_positions(p) for p in positions_A]
        checks: list[SnapshotCheck | None] = [None] * len(x) if accepts is None else list(accepts)
        if len(checks) != len(x):
            raise ValueError(f"{len(checks)} checks for {len(x)} crystals")
        if shells is not None and len(shells) != len(x):
            raise ValueError(f"{len(shells)} shells for {len(x)} crystals")
        if settings.protocol == "clamped" and shells is None:
            raise InputError("the 'clamped' protocol needs a shell")
        held = (
            None
            if shells is None
            else [checked_shell(np.asarray(s, dtype=np.bool_), len(p)) for s, p in zip(shells, x, strict=True)]
        )
        results: list[Relaxation] = []
        for batch in _launches([len(p) for p in x]):
            results += self._relax(x[batch], potential, settings, held[batch] if held else None, checks[batch])
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
        progress = [_Progress(settings, accept) for accept in accepts]
        while True:
            running = np.asarray([p.stopped is None for p in progress])
            if not running.any():
                break
            crystals.set_flags(running, np.asarray([p.clamped for p in progress]))
            crystals.evaluate()
            measured = crystals.measure()
            downhill = fire.downhill_steps
            restart = np.zeros(len(x), dtype=np.bool_)
            for k in np.flatnonzero(running):
                restart[k] = progress[k].update(crystals, int(k), measured, int(downhill[k]))
                progress[k].steps += 1
            running &= np.asarray([p.stopped is None for p in progress])
            crystals.set_flags(running, np.asarray([p.clamped for p in progress]))
            crystals.move(fire.advance(measured.power, measured.v2, measured.f2, restart), _LONGEST_STEP_A)
        seconds = time.perf_counter() - began
        atoms = sum(len(p) for p in x)
        return [self._relaxation(p, seconds * len(positions) / atoms) for p, positions in zip(progress, x, strict=True)]

    def _relaxation(self, progress: _Progress, seconds: float) -> Relaxation:
        final, stopped = progress.accepted, progress.stopped
        if final is None or stopped is None:
            raise RuntimeError("a relaxation ended without a result")
        return Relaxation(
            final.positions_A, final.energy_eV, final.max_force_eV_A, final.steps, stopped, self.name, seconds
        )


def _launches(sizes: list[int]) -> list[slice]:
    """Divide crystals of these numbers of atoms into launches."""
    launches: list[slice] = []
    begin, atoms = 0, 0
    for k, size in enumerate(sizes):
        if k > begin and atoms + size > _ATOMS_PER_LAUNCH:
            launches.append(slice(begin, k))
            begin, atoms = k, 0
        atoms += size
    if sizes:
        launches.append(slice(begin, len(sizes)))
    return launches
