"""Effects of instrument and reconstruction: losses, blur, curved planes, local magnification, background."""

from __future__ import annotations

import math

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.apt.precipitates import PrecipitateIndex

_INFLUENCE = 2.0
"""Range of local magnification, in radii of the precipitate."""


class Imaging(BaseModel):
    """One instrument and reconstruction.

    Blur is Gaussian; along z it may differ between the phases, since they evaporate at different fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sigma_xy_nm: float = Field(default=0.5, ge=0)
    sigma_z_matrix_nm: float = Field(default=0.0375, ge=0)
    sigma_z_ordered_nm: float = Field(default=0.0375, ge=0)
    efficiency: float = Field(default=0.37, gt=0, le=1, description="Mean fraction of the atoms that are detected.")
    efficiency_variation: float = Field(
        default=0.0, ge=0, lt=1, description="Relative amplitude of a detection efficiency that varies over x and y."
    )
    efficiency_wavelength_nm: float = Field(default=30.0, gt=0)
    curvature_radius_nm: float | None = Field(
        default=None,
        gt=0,
        description="Planes are reconstructed as spherical caps of this radius about the middle of the volume.",
    )
    magnification: float = Field(
        default=1.0,
        gt=0.5,
        lt=2.0,
        description="Local magnification: widens (above 1) or narrows precipitates along x and y.",
    )
    depth_scale: float = Field(default=1.0, gt=0.5, lt=2.0, description="Factor of the reconstructed depth.")
    displaced: float = Field(
        default=0.0, ge=0, lt=1, description="Fraction of the ions at random positions in the volume."
    )
    background: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Fraction of all ions that is background: random in volume and mass spectrum.",
    )


BACKGROUND_Da = (0.5, 70.0)
"""Range of mass-to-charge ratios, Da, over which background ions are uniformly distributed."""


def detection_probability(
    imaging: Imaging, positions_nm: NDArray[np.float32], size_nm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return each atom's detection probability, (N,); its mean over the box is the efficiency, unless some reach 1."""
    probability = np.full(len(positions_nm), imaging.efficiency, dtype=np.float32)
    if imaging.efficiency_variation > 0:
        turn = 2 * math.pi / imaging.efficiency_wavelength_nm
        wave = np.zeros(len(positions_nm), dtype=np.float32)
        for axis in range(2):
            half = size_nm[axis] / 2
            # minus its mean over the box, to preserve the volume's efficiency
            mean = math.sin(turn * half) / (turn * half)
            wave += np.cos((positions_nm[:, axis] - np.float32(half)) * np.float32(turn)) - np.float32(mean)
        probability *= 1 - np.float32(imaging.efficiency_variation / 2) * wave
    return np.clip(probability, np.float32(0), np.float32(1))


def blur(
    imaging: Imaging, positions_nm: NDArray[np.float32], ordered: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Move each ion by Gaussian noise, in place."""
    noise = rng.standard_normal(positions_nm.shape, dtype=np.float32)
    noise[:, :2] *= np.float32(imaging.sigma_xy_nm)
    noise[:, 2] *= np.where(ordered, np.float32(imaging.sigma_z_ordered_nm), np.float32(imaging.sigma_z_matrix_nm))
    positions_nm += noise


def magnify(
    imaging: Imaging, positions_nm: NDArray[np.float32], index: PrecipitateIndex, reach: PrecipitateIndex
) -> None:
    """Move ions in and around precipitates away from or towards the precipitate's axis along z, in place.

    Parameters
    ----------
    index
        The precipitates.
    reach
        The same with twice the radius; where these overlap, the first one that contains an ion moves it.
    """
    if imaging.magnification == 1.0 or index.radii_nm.size == 0:
        return
    owner = index.owner(positions_nm)
    owner = np.where(owner >= 0, owner, reach.owner(positions_nm))
    _magnify(positions_nm, owner, index.centres_nm, index.radii_nm, imaging.magnification)


def influence(index_of: PrecipitateIndex) -> NDArray[np.float64]:
    """Return the radii within which local magnification moves ions, (M,) nm."""
    return index_of.radii_nm * _INFLUENCE


@njit(cache=True, nogil=True, error_model="numpy")
def _magnify(  # pragma: no cover - compiled
    p: NDArray[np.float32],
    owner: NDArray[np.int32],
    centres: NDArray[np.float64],
    radii: NDArray[np.float64],
    magnification: float,
) -> None:
    for n in range(p.shape[0]):
        q = owner[n]
        if q < 0:
            continue
        dx = p[n, 0] - centres[q, 0]
        dy = p[n, 1] - centres[q, 1]
        dz = p[n, 2] - centres[q, 2]
        distance = math.sqrt(dx * dx + dy * dy + dz * dz) / radii[q]
        # full inside, zero beyond two radii, linear in between
        share = min(max(_INFLUENCE - distance, 0.0), 1.0)
        factor = 1.0 + (magnification - 1.0) * share
        p[n, 0] = centres[q, 0] + dx * factor
        p[n, 1] = centres[q, 1] + dy * factor


def reconstruct(imaging: Imaging, positions_nm: NDArray[np.float32], size_nm: tuple[float, float, float]) -> None:
    """Curve the planes and scale the depth, in place: z becomes ``scale * (z + ((x - cx)² + (y - cy)²) / (2 R))``."""
    if imaging.curvature_radius_nm is not None:
        x = positions_nm[:, 0] - np.float32(size_nm[0] / 2)
        y = positions_nm[:, 1] - np.float32(size_nm[1] / 2)
        positions_nm[:, 2] += (x**2 + y**2) / np.float32(2 * imaging.curvature_radius_nm)
    positions_nm[:, 2] *= np.float32(imaging.depth_scale)
