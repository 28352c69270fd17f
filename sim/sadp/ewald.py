"""Positions of reflections relative to the Ewald sphere, and of their spots on a flat detector."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def at_sphere(gx: float, gy: float, gz: float, k: float, n: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return the exact excitation error of a reflection, and its diffracted wave vector.

    Parameters
    ----------
    gx, gy, gz
        Reciprocal lattice vector in the frame whose z is the foil's normal, 1/Å.
    k
        1 / wavelength.
    n
        (3,) direction of the beam in that frame.

    Returns
    -------
    tuple
        s, the distance along z from the reciprocal lattice point to the sphere, positive if the point lies inside; and
        the wave vector that ends on the sphere. s is NaN if the line along z misses the sphere.
    """
    x, y, z = k * n[0] + gx, k * n[1] + gy, k * n[2] + gz
    left = k * k - x * x - y * y
    if left <= 0:
        return np.nan, x, y, z
    on_sphere = sqrt(left)
    return on_sphere - z, x, y, on_sphere


@njit(cache=True, nogil=True)
def detector_axes(n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (2, 3) axes x, y of a detector perpendicular to the beam: the frame's axes, rotated with the beam."""
    axes = np.empty((2, 3))
    long = sqrt(n[2] * n[2] + n[0] * n[0])
    axes[0] = np.array([n[2] / long, 0.0, -n[0] / long])
    axes[1] = np.cross(n, axes[0])
    return axes


@njit(cache=True, nogil=True)
def on_detector(
    x: float, y: float, z: float, k: float, n: NDArray[np.float64], axes: NDArray[np.float64]
) -> tuple[float, float]:
    """Return where a wave vector hits a flat detector, in radius / (wavelength × camera length), 1/Å."""
    far = k / (x * n[0] + y * n[1] + z * n[2])
    return (
        far * (x * axes[0, 0] + y * axes[0, 1] + z * axes[0, 2]),
        far * (x * axes[1, 0] + y * axes[1, 1] + z * axes[1, 2]),
    )


@njit(cache=True, nogil=True)
def errors_and_positions(
    g: NDArray[np.float64], k: float, n: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return excitation errors (N,) and detector positions (N, 2) of reflections (N, 3), all in 1/Å."""
    errors = np.empty(len(g))
    places = np.empty((len(g), 2))
    axes = detector_axes(n)
    for i in range(len(g)):
        s, x, y, z = at_sphere(g[i, 0], g[i, 1], g[i, 2], k, n)
        errors[i] = s
        places[i] = on_detector(x, y, z, k, n, axes)
    return errors, places
