"""Find the lattice planes in a small region of a reconstruction: their signal, spacing and tilt.

The power spectrum of N ions without planes is exponentially distributed about N. Planes of spacing d, tilted by small
angles, give a peak at (k_x, k_y, k_z), 1/d long and along their normal; its height over N is the signal here. Blur of
standard deviation σ along z lowers it by exp(-(2πσ/d)²).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError

_BIN_XY_NM = 0.5
_BIN_Z_NM = 0.02
_PAD = 2


@dataclass(frozen=True, slots=True)
class PlaneSearch:
    """Planes to search for.

    Attributes
    ----------
    spacing_nm
        Smallest and largest spacing, nm.
    largest_tilt_deg
        Largest angle between the planes' normal and z, degrees.
    """

    spacing_nm: tuple[float, float] = (0.12, 0.24)
    largest_tilt_deg: float = 6.0

    def __post_init__(self) -> None:
        if not 2 * _BIN_Z_NM < self.spacing_nm[0] < self.spacing_nm[1]:
            raise InputError(f"spacings must be in ascending order and above {2 * _BIN_Z_NM} nm, not {self.spacing_nm}")
        if not 0 < self.largest_tilt_deg < 20:
            raise InputError("the largest tilt must be between 0 and 20 degrees")


@dataclass(frozen=True, slots=True)
class PlaneFit:
    """Planes of one region.

    Attributes
    ----------
    signal
        Height of the peak over the average for ions without planes; see `resolved_from`.
    spacing_nm
        Distance between planes, nm.
    tilt_x_deg, tilt_y_deg
        Angles from z to the planes' normal in the xz and the yz plane.
    ions
        Number of ions in the region.
    """

    signal: float
    spacing_nm: float
    tilt_x_deg: float
    tilt_y_deg: float
    ions: int


def resolved_from(cells: int = 20_000) -> float:
    """Return the signal that ions without planes reach in one of 10 000 regions: ln(cells of the spectrum / 1e-4)."""
    return math.log(cells / 1e-4)


def fit_planes(positions_nm: NDArray[np.float32], search: PlaneSearch | None = None) -> PlaneFit:
    """Find the strongest planes of a region about 6 nm across.

    Parameters
    ----------
    positions_nm
        (N, 3) x, y, z of its ions, nm; a larger region gives more precise tilt and spacing.

    Raises
    ------
    InputError
        If there are fewer than 50 ions, or the region is thinner than three of the largest spacings.
    """
    search = PlaneSearch() if search is None else search
    if len(positions_nm) < 50:
        raise InputError(f"{len(positions_nm)} ions are too few to detect planes: at least 50 are needed")
    p = positions_nm.astype(np.float64)
    low = p.min(axis=0)
    span = p.max(axis=0) - low
    if span[2] < 3 * search.spacing_nm[1]:
        raise InputError(
            f"a region {span[2]:.2f} nm thick contains too few planes with a spacing of {search.spacing_nm[1]} nm"
        )
    nx, ny = (int(s / _BIN_XY_NM) + 1 for s in span[:2])
    nz = int(span[2] / _BIN_Z_NM) + 1
    i, j, k = ((p - low) / (_BIN_XY_NM, _BIN_XY_NM, _BIN_Z_NM)).astype(np.int64).T
    counts = np.bincount((i * ny + j) * nz + k, minlength=nx * ny * nz).reshape(nx, ny, nz).astype(np.float32)
    sizes = (_PAD * nx, _PAD * ny, _PAD * nz)
    kz = np.fft.rfftfreq(sizes[2], _BIN_Z_NM)
    band = np.flatnonzero((kz >= 1 / search.spacing_nm[1]) & (kz <= 1 / search.spacing_nm[0]))
    # one bin more on either side, for the interpolation
    band = np.arange(max(band[0] - 1, 1), min(band[-1] + 2, len(kz)))
    spectrum = np.fft.rfft(counts, sizes[2], axis=2)[:, :, band]
    power = np.abs(np.fft.fft2(spectrum, sizes[:2], axes=(0, 1))) ** 2 / len(p)
    kx, ky = np.fft.fftfreq(sizes[0], _BIN_XY_NM), np.fft.fftfreq(sizes[1], _BIN_XY_NM)
    slope = math.tan(math.radians(search.largest_tilt_deg))
    reach = np.hypot(kx[:, None], ky[None, :])[:, :, None] <= slope * kz[band]
    reach[:, :, (0, -1)] = False
    a, b, c = np.unravel_index(int(np.where(reach, power, -1.0).argmax()), power.shape)
    at_x = kx[a] + _offset(power[:, b, c], int(a), wrap=True) / (sizes[0] * _BIN_XY_NM)
    at_y = ky[b] + _offset(power[a, :, c], int(b), wrap=True) / (sizes[1] * _BIN_XY_NM)
    at_z = kz[band[c]] + _offset(power[a, b], int(c), wrap=False) / (sizes[2] * _BIN_Z_NM)
    return PlaneFit(
        signal=float(power[a, b, c]),
        spacing_nm=1 / math.sqrt(at_x**2 + at_y**2 + at_z**2),
        tilt_x_deg=math.degrees(math.atan2(at_x, at_z)),
        tilt_y_deg=math.degrees(math.atan2(at_y, at_z)),
        ions=len(p),
    )


def _offset(line: NDArray[np.float64], at: int, *, wrap: bool) -> float:
    """Return the position of the maximum between bins: the vertex of the parabola through three logarithms."""
    n = len(line)
    if not wrap and not 0 < at < n - 1:
        return 0.0
    left, middle, right = (math.log(max(float(line[(at + d) % n]), 1e-12)) for d in (-1, 0, 1))
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, 0.5 * (left - right) / bend))
