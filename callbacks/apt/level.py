"""Level a reconstruction: planes flat, perpendicular to z, at the spacing that a network was trained at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.apt.pole import PlaneMap
from braggwatch.sim.errors import InputError


@dataclass(frozen=True, slots=True)
class Levelling:
    """The map ``z -> (z + s·(1, x, y, x²/2, y²/2, xy)) * scale`` about a middle, x and y staying as they are.

    Attributes
    ----------
    middle_nm
        x and y of the surface's centre, nm.
    slope
        (a, b): the planes' common tilt, nm per nm.
    bend_per_nm
        (c, d, e): coefficients of x², y² and xy, 1/nm.
    scale
        Factor of the depth.
    residual_deg
        Root mean square of the resolved regions' tilts that remain, degrees.
    """

    middle_nm: tuple[float, float]
    slope: tuple[float, float]
    bend_per_nm: tuple[float, float, float]
    scale: float
    residual_deg: float

    def apply(self, positions_nm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return levelled (N, 3) positions, nm, float32."""
        out = positions_nm.copy()
        out[:, 2] = (out[:, 2] + self._surface(positions_nm)) * np.float32(self.scale)
        return out

    def undo(self, positions_nm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the original (N, 3) positions, nm, of levelled ones: the inverse of `apply`."""
        out = positions_nm.copy()
        out[:, 2] = out[:, 2] / np.float32(self.scale) - self._surface(positions_nm)
        return out

    def _surface(self, positions_nm: NDArray[np.float32]) -> NDArray[np.float32]:
        x = positions_nm[:, 0] - np.float32(self.middle_nm[0])
        y = positions_nm[:, 1] - np.float32(self.middle_nm[1])
        (a, b), (c, d, e) = self.slope, self.bend_per_nm
        plane = np.float32(a) * x + np.float32(b) * y
        bend = np.float32(c / 2) * x**2 + np.float32(d / 2) * y**2 + np.float32(e) * x * y
        return (plane + bend).astype(np.float32, copy=False)


def fit_levelling(planes: PlaneMap, spacing_nm: float) -> Levelling:
    """Fit the surface whose slope is the planes' tilt over the resolved regions; with curvature from six regions on.

    Parameters
    ----------
    spacing_nm
        Spacing to scale to, nm.

    Raises
    ------
    InputError
        If no region is resolved.
    """
    if not planes.resolved.any():
        raise InputError("no region with resolved planes: levelling is impossible")
    at = planes.centres_nm()[planes.resolved]
    gx = np.tan(np.radians(planes.tilt_x_deg[planes.resolved].astype(np.float64)))
    gy = np.tan(np.radians(planes.tilt_y_deg[planes.resolved].astype(np.float64)))
    middle = at[:, :2].mean(axis=0)
    x, y = (at[:, :2] - middle).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([one, zero, x, zero, y]), np.stack([zero, one, zero, y, x])], axis=1).T
    wide = len(x) >= 6 and min(np.ptp(x), np.ptp(y)) > planes.edge_nm
    unknowns = 5 if wide else 2
    slopes = np.concatenate([gx, gy])
    weight = np.ones_like(slopes)
    solution = np.zeros(unknowns)
    # a few rounds of reweighting: a region with the wrong peak must not distort the whole surface
    for _ in range(5):
        solution = np.linalg.lstsq(rows[:, :unknowns] * weight[:, None], slopes * weight, rcond=None)[0]
        residual = slopes - rows[:, :unknowns] @ solution
        weight = 1 / np.sqrt(1 + (residual / 0.01) ** 2)
    residual = slopes - rows[:, :unknowns] @ solution
    a, b, c, d, e = (*solution, 0.0, 0.0, 0.0)[:5]
    return Levelling(
        (float(middle[0]), float(middle[1])),
        (float(a), float(b)),
        (float(c), float(d), float(e)),
        spacing_nm / planes.median_spacing_nm,
        math.degrees(float(np.sqrt(np.mean(residual**2)))),
    )
