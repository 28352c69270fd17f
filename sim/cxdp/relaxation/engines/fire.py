"""FIRE 2.0 (fast inertial relaxation engine) for several crystals at once.

Source: Guénolé et al., Comput. Mater. Sci. 175, 109584 (2020), algorithm 2 with semi-implicit Euler steps. This part
handles what depends on sums over a crystal (time step, mixing); the caller moves the atoms. Masses are 1, times in
Å/√eV.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_INCREASE, _DECREASE = 1.1, 0.5
_MIXING, _MIXING_DECAY = 0.25, 0.99
_SHORTEST = 0.02


@dataclass(frozen=True, slots=True)
class FireSettings:
    """Time steps in Å/√eV.

    Attributes
    ----------
    first_step, longest_step
        The first time step and the largest that it may grow to.
    delay
        Consecutive downhill steps before the time step grows.
    """

    first_step: float
    longest_step: float
    delay: int = 20


def fire_settings(stiffness_eV_A2: float) -> FireSettings:
    """Choose settings for atoms of mass 1 with a given force constant.

    The stiffest vibration of a close-packed lattice has ω² of about twice the single atom's force constant;
    semi-implicit Euler is stable below 2/ω = 1.4/√k. The factors were tuned on screw and edge lines in Pt, Al and Ag
    (40 to 57 steps to 0.01 eV/Å with a held shell).
    """
    scale = 1.0 / float(np.sqrt(stiffness_eV_A2))
    return FireSettings(0.6 * scale, 0.8 * scale)


@dataclass(frozen=True, slots=True)
class FireMove:
    """Coefficients of each crystal's next step, each (B,) float64: v ← keep v + push F; x ← x + step v - back v_old."""

    keep: NDArray[np.float64]
    push: NDArray[np.float64]
    step: NDArray[np.float64]
    back: NDArray[np.float64]

    def stacked(self) -> NDArray[np.float64]:
        """(B, 4), in that order."""
        return np.stack([self.keep, self.push, self.step, self.back], axis=1)


class Fire:
    """Time step and mixing of B crystals. Atoms start at rest."""

    def __init__(self, crystals: int, settings: FireSettings) -> None:
        self._settings = settings
        self._dt = np.full(crystals, settings.first_step)
        self._mixing = np.full(crystals, _MIXING)
        self._downhill = np.zeros(crystals, dtype=np.int64)

    @property
    def downhill_steps(self) -> NDArray[np.int64]:
        """Number of consecutive downhill steps, (B,)."""
        return self._downhill.copy()

    @property
    def time_step(self) -> NDArray[np.float64]:
        """(B,) Å/√eV."""
        return self._dt.copy()

    def advance(
        self, power: NDArray[np.float64], v2: NDArray[np.float64], f2: NDArray[np.float64], rest: NDArray[np.bool_]
    ) -> FireMove:
        """Return how the atoms move, from sums over each crystal's free atoms.

        Parameters
        ----------
        power, v2, f2
            (B,) Σ F·v, Σ v², Σ F².
        rest
            (B,) bool; True restarts the crystal from rest, with its current time step.
        """
        settings = self._settings
        downhill = (power > 0) & ~rest
        self._downhill = np.where(downhill, self._downhill + 1, 0)
        dt = self._dt
        grown = downhill & (self._downhill > settings.delay)
        dt = np.where(grown, np.minimum(dt * _INCREASE, settings.longest_step), dt)
        # a crystal at rest has zero power: that is no reason to shorten the time step
        shrunk = ~downhill & ~rest & (v2 > 0)
        dt = np.where(shrunk, np.maximum(dt * _DECREASE, _SHORTEST * settings.first_step), dt)
        mixing = np.where(grown, self._mixing * _MIXING_DECAY, self._mixing)
        mixing = np.where(downhill, mixing, _MIXING)
        self._dt, self._mixing = dt, mixing
        # |v + F dt| follows from the sums, without a second pass over the atoms
        speed = np.sqrt(np.maximum(v2 + 2.0 * dt * power + dt * dt * f2, 0.0))
        along = speed / np.sqrt(np.maximum(f2, np.finfo(np.float64).tiny))
        keep = np.where(downhill, 1.0 - mixing, 0.0)
        push = np.where(downhill, (1.0 - mixing) * dt + mixing * along, dt)
        back = np.where(shrunk, 0.5 * dt, 0.0)
        return FireMove(keep, push, dt, back)
