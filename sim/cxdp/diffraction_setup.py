"""Random diffraction set-ups: a geometry, a rocking range and an orientation that satisfy the Bragg condition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.crystallography.lattices import LATTICES
from braggwatch.sim.cxdp.crystal.build import CrystalSpec
from braggwatch.sim.geometry.model import Circle, RockingGeometry
from braggwatch.sim.geometry.q import pixel_q

_HC_KEV_NM = 1.2398419843
_PIXEL_M = 55e-6


@dataclass(frozen=True, slots=True)
class DiffractionSetup:
    """How one crystal is measured.

    Attributes
    ----------
    geometry
        Diffractometer and detector.
    angles_deg
        (N,) readings of the scanned circle.
    orientation
        (3, 3) rotation from crystal axes to the sample frame (all sample circles at zero).
    fringe
        Fringe period along (frame, row, column) in frames or pixels.
    """

    geometry: RockingGeometry
    angles_deg: NDArray[np.float64]
    orientation: NDArray[np.float64]
    fringe: tuple[float, float, float]


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Uniformly random (3, 3) rotation."""
    q = rng.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def orient(direction: NDArray[np.float64], onto: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a rotation (3, 3) of one (3,) direction onto another, with a random azimuth about it."""

    def frame(axis: NDArray[np.float64], seed: NDArray[np.float64]) -> NDArray[np.float64]:
        z = axis / np.linalg.norm(axis)
        x = seed - z * (seed @ z)
        x /= np.linalg.norm(x)
        return np.stack([x, np.cross(z, x), z])

    return frame(onto, rng.normal(size=3)).T @ frame(direction, rng.normal(size=3))


def random_setup(
    spec: CrystalSpec, rng: np.random.Generator, *, box_fringes: float = 18.3, max_points: int = 350_000
) -> DiffractionSetup:
    """Draw a set-up whose detector sees ``box_fringes`` fringes around the peak, more or less.

    Parameters
    ----------
    spec
        The crystal: its size and reflection determine the distance and the rocking step.
    rng
        Generator of every draw.
    box_fringes
        Edge of the model input in fringe periods.
    max_points
        Limit on frames x rows x columns; the sampling is coarsened to fit.
    """
    d_nm = spec.metal.lattice_parameter_nm / float(np.linalg.norm(spec.g_per_a))
    energy = float(rng.uniform(8.0, 14.0))
    wavelength = _HC_KEV_NM / energy
    two_theta = 2 * np.arcsin(wavelength / (2 * d_nm))
    pixels = float(np.exp(rng.uniform(np.log(2.3), np.log(6.0))))
    frames = float(np.exp(rng.uniform(np.log(2.5), np.log(9.0))))
    cover = rng.uniform(0.8, 1.25, size=3)
    volume = float(np.prod(cover)) * box_fringes**3 * pixels * pixels * frames
    shrink = min(1.0, (max_points / volume) ** (1 / 3))
    pixels, frames = max(2.1, pixels * shrink), max(2.1, frames * shrink)
    shape = [max(24, int(box_fringes * c * p)) for c, p in zip(cover, (frames, pixels, pixels), strict=True)]
    out_of_plane = float(rng.uniform(0.0, 0.6)) * two_theta
    in_plane = float(np.arccos(np.cos(two_theta) / np.cos(out_of_plane)))
    first, second = ("y+", "x-") if rng.random() < 0.5 else ("x-", "y+")
    outer, inner = (in_plane, out_of_plane) if rng.random() < 0.8 else (out_of_plane, in_plane)
    scanned_axis = first if outer == in_plane else second
    distance = pixels * spec.size_nm * _PIXEL_M / wavelength
    centre = ((shape[1] - 1) / 2 + float(rng.uniform(-3, 3)), (shape[2] - 1) / 2 + float(rng.uniform(-3, 3)))
    cubic = LATTICES[spec.lattice].system == "cubic"
    geometry = RockingGeometry(
        energy_keV=energy,
        sample_circles=(Circle(name="rock", axis=scanned_axis, angle_deg=0.0, offset_deg=0.0),),
        scanned="rock",
        detector_circles=(
            Circle(name="outer", axis=first, angle_deg=float(np.degrees(outer)), offset_deg=0.0),
            Circle(name="inner", axis=second, angle_deg=float(np.degrees(inner)), offset_deg=0.0),
        ),
        distance_m=distance,
        pixel_size_m=(_PIXEL_M, _PIXEL_M),
        row_direction="y-",
        column_direction="x+",
        detector_tilt=None,
        direct_beam_px=centre,
        direct_beam_angles_deg=(0.0, 0.0),
        chip_shape=(shape[1], shape[2]),
        roi_origin=(0, 0),
        binning=(1, 1),
        frame_shape=(shape[1], shape[2]),
        transposed=False,
        material=spec.element if cubic else None,
        lattice_parameter_A=spec.metal.lattice_parameter_nm * 10 if cubic else None,
        hkl=spec.hkl if cubic else None,
    )
    q = pixel_q(geometry, 0.0, centre[0], centre[1])
    moved = pixel_q(geometry, 0.01, centre[0], centre[1])
    per_degree = float(np.linalg.norm(moved - q)) / 0.01  # 1/Å per degree of rocking
    step = 2 * np.pi / (spec.size_nm * 10 * frames) / per_degree
    start = float(rng.uniform(-3, 3)) * step - step * (shape[0] - 1) / 2
    orientation = orient(np.asarray(spec.g_per_a), q, rng)
    jitter = rng.normal(scale=0.04 * step, size=shape[0]) if rng.random() < 0.3 else np.zeros(shape[0])
    return DiffractionSetup(
        geometry, start + step * np.arange(shape[0]) + jitter, orientation, (frames, pixels, pixels)
    )
