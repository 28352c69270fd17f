"""A given particle as scattering points, with or without its strain, and optionally with a dislocation put in.

A simulated crystal is drawn from a distribution; an object is one known particle. Its density is complex,
ρ = |ρ| exp(-2πi g·u), so that its own strain can be kept or removed and a dislocation's phase multiplied in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import finufft
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from braggwatch.sim.crystallography.fcc import BURGERS, METALS, Metal, Miller, g_dot_b
from braggwatch.sim.cxdp.crystal.build import Element
from braggwatch.sim.cxdp.crystal.dislocations import LineSpec, displacement, line_frame
from braggwatch.sim.cxdp.crystal.shapes import Polyhedron
from braggwatch.sim.errors import InputError
from braggwatch.sim.geometry.model import RockingGeometry
from braggwatch.sim.geometry.q import rocking_map

_SINGLE_PRECISION_EPS = 1e-5
_CHEAP_EPS = 1e-3
_PER_NM_FROM_RADIANS_PER_A = 10.0 / (2.0 * np.pi)


@dataclass(frozen=True, slots=True)
class ParticleObject:
    """Scattering points with complex weights, seen at one reflection.

    The form factor's slope over the peak (about 1 % for a particle of 300 nm) is omitted: a retrieved object already
    contains it.

    Attributes
    ----------
    positions_nm
        (N, 3) float64 about the centre of mass, crystal axes.
    weights
        (N,) complex128 density times the volume per point; the phase is -2π g·u.
    metal, hkl
        Lattice and reflection, which determine Burgers vectors and g.
    size_nm
        Cube root of the volume, nm.
    """

    positions_nm: NDArray[np.float64]
    weights: NDArray[np.complex128]
    metal: Metal
    hkl: Miller
    size_nm: float

    @property
    def g_inv_nm(self) -> NDArray[np.float64]:
        """(3,) reciprocal lattice vector hkl / a in 1/nm, crystal axes."""
        return np.asarray(self.hkl, dtype=np.float64) / self.metal.lattice_parameter_nm

    @property
    def phase_spread_rad(self) -> float:
        """Standard deviation of the phase about its mean, weighted by the modulus, radians."""
        mean = np.sum(self.weights)
        phase = np.angle(self.weights * np.exp(-1j * np.angle(mean)))
        return float(np.sqrt(np.average(phase**2, weights=np.abs(self.weights))))

    def without_phase(self) -> ParticleObject:
        """Return the same density without any strain."""
        return replace(self, weights=np.abs(self.weights).astype(np.complex128))

    def with_line(self, line: LineSpec) -> ParticleObject:
        """Return the particle with the phase of a straight dislocation; ``line.offset`` is in units of ``size_nm``.

        The displacement's effect on q·(r + u), 1/50 of a turn over the box, is omitted, as it is in the object.
        """
        frame = line_frame(line)
        origin = (frame[1] * line.offset[0] + frame[0] * line.offset[1]) * self.size_nm
        a = self.metal.lattice_parameter_nm
        u = displacement(line, self.positions_nm, origin, a, self.metal.poisson_ratio)
        turns = np.mod(u @ self.g_inv_nm, 1.0)
        return replace(self, weights=self.weights * np.exp(-2j * np.pi * turns))

    def holds(self, line: LineSpec) -> bool:
        """Return whether a line passes through the particle; ``line.offset`` as for `with_line`."""
        frame = line_frame(line)
        across = self.positions_nm @ frame[[1, 0]].T - np.asarray(line.offset) * self.size_nm
        # the points lie on a cubic lattice: within the body none is farther than half a cube's diagonal
        reach = 0.5 * np.sqrt(3.0) * self.size_nm / len(self.positions_nm) ** (1 / 3)
        return bool(np.any(np.einsum("ni,ni->n", across, across) <= reach**2))

    def amplitude(self, q_inv_nm: NDArray[np.float64], *, eps: float = 1e-4) -> NDArray[np.complexfloating]:
        """Return the amplitude Σ w exp(-2πi q·r), (...) complex, at (..., 3) offsets from g, 1/nm, crystal axes."""
        real, complex_ = (np.float32, np.complex64) if eps >= _SINGLE_PRECISION_EPS else (np.float64, np.complex128)
        flat = np.asarray(q_inv_nm, dtype=np.float64).reshape(-1, 3)
        reach = float(np.abs(self.positions_nm).max())
        x, y, z = (np.ascontiguousarray(self.positions_nm[:, i] / reach, dtype=real) for i in range(3))
        s, t, u = (np.ascontiguousarray(2 * np.pi * reach * flat[:, i], dtype=real) for i in range(3))
        weights = self.weights.astype(complex_)
        # finufft's cheaper upsampling is accurate to 2e-3 only
        upsampling = 1.25 if eps >= _CHEAP_EPS else 2.0
        total = finufft.nufft3d3(x, y, z, weights, s, t, u, isign=-1, eps=eps, nthreads=1, upsampfac=upsampling)
        return np.asarray(total).reshape(np.shape(q_inv_nm)[:-1])


class Measurement(BaseModel):
    """Geometry and counts of a particle's measurement, so that it can be repeated in simulation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    geometry: RockingGeometry
    angles_deg: tuple[float, ...] = Field(min_length=2, description="Readings of the scanned circle.")
    q_inv_A: tuple[float, float, float] = Field(description="Centre of the peak, sample frame, 1/Å.")
    orientation: tuple[tuple[float, float, float], ...] = Field(
        min_length=3, max_length=3, description="Rotation from crystal axes to the sample frame."
    )
    peak_counts: float = Field(gt=0, description="Largest counts of a pixel.")
    background: float = Field(ge=0, description="Mean counts of a pixel far from the peak.")

    def every(self, nth: int) -> Measurement:
        """Return the same scan with every n-th point only, over the same range."""
        return self.model_copy(update={"angles_deg": self.angles_deg[::nth]})


class Rescan:
    """A scan that can be simulated for any particle: the pixels that see the peak, and their Q.

    Parameters
    ----------
    measurement
        The measurement; a particle's g is placed at the measured Q.
    size_nm
        Size of the particles to be scanned, nm.
    reach_fringes
        Pixels farther from the peak than this many fringes get only background: 16 reach the corners of the model
        input, and a retrieved object has no information beyond that.
    """

    def __init__(self, measurement: Measurement, size_nm: float, reach_fringes: float = 17.0) -> None:
        self.measurement = measurement
        geometry = measurement.geometry
        mapping = rocking_map(geometry)
        rows = np.arange(geometry.frame_shape[0], dtype=np.float64)[:, None]
        columns = np.arange(geometry.frame_shape[1], dtype=np.float64)[None, :]
        rotation = np.asarray(measurement.orientation, dtype=np.float64)
        centre = np.asarray(measurement.q_inv_A, dtype=np.float64)
        limit = (reach_fringes / size_nm) ** 2
        offsets: list[NDArray[np.float64]] = []
        places: list[NDArray[np.int64]] = []
        for number, angle in enumerate(measurement.angles_deg):
            q = (mapping.q(angle, rows, columns) - centre).reshape(-1, 3) * _PER_NM_FROM_RADIANS_PER_A
            near = np.flatnonzero(np.einsum("ni,ni->n", q, q) <= limit)
            offsets.append(q[near] @ rotation)
            places.append(near + number * rows.size * columns.size)
        self._shape = (len(measurement.angles_deg), *geometry.frame_shape)
        self._offsets = np.concatenate(offsets)
        self._places = np.concatenate(places)

    def expected_counts(self, particle: ParticleObject) -> NDArray[np.float32]:
        """Return (frames, rows, columns) float32 expected counts, scaled to the measured scan's brightest pixel.

        Raises
        ------
        InputError
            If the scan misses the particle's peak.
        """
        field = particle.amplitude(self._offsets, eps=1e-3)
        intensity = field.real**2 + field.imag**2
        brightest = float(intensity.max(initial=0.0))
        if brightest <= 0:
            raise InputError("the scan misses the particle's peak")
        counts = np.full(self._shape, self.measurement.background, dtype=np.float32)
        counts.reshape(-1)[self._places] += (intensity * (self.measurement.peak_counts / brightest)).astype(np.float32)
        return counts


def object_from_density(
    density: NDArray[np.complexfloating],
    support: NDArray[np.bool_],
    voxel_nm: float,
    basis: NDArray[np.float64],
    orientation: NDArray[np.float64],
    element: Element,
    hkl: Miller,
    *,
    refine: int = 2,
) -> ParticleObject:
    """Make scattering points from a density on a cubic grid.

    Parameters
    ----------
    density, support
        (n, n, n) complex and bool, the object of `braggwatch.sim.cxdp.phasing`.
    voxel_nm
        Edge of a voxel, nm.
    basis
        (3, 3) orthonormal rows: directions of the array's axes in the sample frame.
    orientation
        (3, 3) rotation from crystal axes to the sample frame.
    element, hkl
        Lattice and reflection.
    refine
        Points per voxel along each axis, by linear interpolation: this moves the grid's aliases of the peak farther out
        by the same factor, and the linear weights damp them.
    """
    inside = np.argwhere(support)
    low, high = inside.min(axis=0) - 1, inside.max(axis=0) + 2
    box = tuple(slice(max(int(a), 0), int(b)) for a, b in zip(low, high, strict=True))
    part = np.asarray(np.where(support, density, 0)[box], dtype=np.complex128)
    shape = [(n - 1) * refine + 1 for n in part.shape]
    axes = np.meshgrid(*(np.arange(n) / refine for n in shape), indexing="ij")
    fine = np.empty(shape, dtype=np.complex128)
    fine.real = ndimage.map_coordinates(np.real(part), axes, order=1)
    fine.imag = ndimage.map_coordinates(np.imag(part), axes, order=1)
    filled = ndimage.map_coordinates(support[box].astype(np.float32), axes, order=1) >= 0.5
    places = np.argwhere(filled).astype(np.float64) * (voxel_nm / refine)
    weights = fine[filled]
    places -= np.average(places, axis=0, weights=np.abs(weights))
    positions = places @ np.asarray(basis, dtype=np.float64) @ np.asarray(orientation, dtype=np.float64)
    size = voxel_nm * float(np.count_nonzero(support)) ** (1 / 3)
    return ParticleObject(positions, weights / refine**3, METALS[element], hkl, size)


def object_from_polyhedron(
    shape: Polyhedron, element: Element, hkl: Miller, *, points_across: int = 40
) -> ParticleObject:
    """Fill a polyhedron (nm, crystal axes) uniformly, without strain; ``points_across`` points across its size."""
    reach = float(np.abs(shape.distances).max()) * 2
    coarse = point_lattice(reach, reach / 40)
    coarse = coarse[shape.inside(coarse)]
    if len(coarse) == 0:
        raise InputError("the polyhedron is empty")
    size = float(len(coarse)) ** (1 / 3) * reach / 40
    reach = min(reach, float(np.abs(coarse).max()) + reach / 40)
    points = point_lattice(reach, size / points_across)
    points = points[shape.inside(points)]
    points = points - points.mean(axis=0)
    return ParticleObject(points, np.ones(len(points), dtype=np.complex128), METALS[element], hkl, size)


def point_lattice(reach: float, step: float) -> NDArray[np.float64]:
    """Return (N, 3) points of a simple cubic lattice over the cube of half edge ``reach``."""
    axis = np.arange(-reach, reach + step, step)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def visible_lines(hkl: Miller, offsets: tuple[float, ...] = (0.0, 0.1, 0.2)) -> list[LineSpec]:
    """Return the screw and edge lines visible at a reflection: each Burgers vector with g·b ≠ 0, at several distances.

    Parameters
    ----------
    hkl
        The reflection.
    offsets
        Distances from the centre, in particle sizes; the direction rotates from one Burgers vector to the next.
    """
    seen = [b for b in BURGERS if g_dot_b(hkl, b) != 0]
    lines: list[LineSpec] = []
    for character in (0.0, 90.0):
        for number, burgers in enumerate(seen):
            for offset in offsets:
                angle = 2 * np.pi * (number + 0.5) / len(seen)
                place = (offset * float(np.cos(angle)), offset * float(np.sin(angle)))
                plane = 1 if number % 2 else 0
                lines.append(LineSpec(burgers=burgers, plane=plane, character_deg=character, offset=place))
    return lines
