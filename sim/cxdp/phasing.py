"""Phase retrieval of one Bragg peak: from moduli on an orthogonal grid to the complex object.

For offline studies, not part of the live path: it turns a measured peak into an object whose scattering can be
simulated (`braggwatch.sim.cxdp.given_particles`), with its strain removed or a dislocation put in.

Hybrid input-output (Fienup, Appl. Opt. 21, 2758 (1982)) or RAAR (Luke, Inverse Problems 21, 37 (2005)) alternate with
error reduction inside a support that shrink-wrap follows (Marchesini et al., Phys. Rev. B 68, 140101 (2003)), from
several random starts. The object's sign convention is that of `sim.cxdp.scattering`: F(q) = Σ ρ exp(-2πi q·r).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import fft, ndimage

from braggwatch.sim.errors import InputError

Complex = NDArray[np.complex64]


class PhasingSettings(BaseModel):
    """Parameters of the iterations. Lengths are in voxels of the object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: int = Field(default=4, ge=1, description="Random starts.")
    cycles: int = Field(default=10, ge=1, description="Blocks of hybrid iterations, each followed by error reduction.")
    hybrid: int = Field(default=30, ge=1, description="Hybrid iterations per block.")
    reduction: int = Field(default=8, ge=1, description="Error reduction iterations per block.")
    finish: int = Field(default=60, ge=1, description="Error reduction iterations at the end, with a fixed support.")
    algorithm: Literal["hio", "raar"] = "hio"
    beta: float = Field(default=0.9, gt=0, lt=1, description="Relaxation.")
    support_level: float = Field(
        default=0.12, gt=0, lt=1, description="Shrink-wrap threshold, as a share of the largest modulus."
    )
    blur: tuple[float, float] = Field(default=(2.5, 1.0), description="First and last Gaussian sigma of shrink-wrap.")
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """One peak's object.

    Attributes
    ----------
    density
        (n, n, n) complex64, centre of mass in the middle, mean phase inside the support zero.
    support
        (n, n, n) bool.
    error
        Σ (|F| - √I)² / Σ I over the measured voxels.
    errors
        Error of every start, best first.
    agreement
        Modulus of the normalised correlation of the second-best start with the best; 1.0 with a single start.
    """

    density: Complex
    support: NDArray[np.bool_]
    error: float
    errors: tuple[float, ...]
    agreement: float


def retrieve(
    intensity: NDArray[np.floating],
    measured: NDArray[np.bool_] | None = None,
    settings: PhasingSettings | None = None,
) -> Reconstruction:
    """Retrieve the object behind a peak.

    Parameters
    ----------
    intensity
        (n, n, n) counts, the peak near voxel (n // 2, n // 2, n // 2).
    measured
        (n, n, n) bool, False where nothing was measured: the modulus is free there. None: all measured.
    settings
        Parameters of the iterations; None for the defaults.

    Returns
    -------
    Reconstruction
        Result of the start that fits the measured moduli best. An object and its twin ρ*(-r) have the same pattern, so
        either may result; the other starts are converted to the same one before they are compared.

    Raises
    ------
    ValueError
        If the arrays are not cubes of the same shape, or contain no intensity.
    """
    chosen = PhasingSettings() if settings is None else settings
    known = np.ones(intensity.shape, dtype=bool) if measured is None else np.asarray(measured, dtype=bool)
    if intensity.ndim != 3 or len(set(intensity.shape)) != 1 or known.shape != intensity.shape:
        raise ValueError(f"phasing needs cubes of one shape, not {intensity.shape} with a mask of {known.shape}")
    counts = np.where(known & np.isfinite(intensity), np.maximum(intensity, 0.0), 0.0).astype(np.float32)
    if not counts.any():
        raise InputError("there is no intensity to phase")
    modulus = np.asarray(fft.ifftshift(np.sqrt(counts)), dtype=np.float32)
    known = np.asarray(fft.ifftshift(known), dtype=bool)
    modulus = _bounded(modulus, known)
    start = _first_support(np.asarray(fft.ifftshift(counts), dtype=np.float32))
    found = [
        _one_start(modulus, known, start, chosen, np.random.default_rng((chosen.seed, i))) for i in range(chosen.seeds)
    ]
    found.sort(key=lambda f: f[2])
    density, support = _centred(found[0][0], found[0][1])
    agreement = 1.0
    if len(found) > 1:
        agreement = overlap(density, align(_centred(found[1][0], found[1][1])[0], density))
    return Reconstruction(density, support, found[0][2], tuple(f[2] for f in found), agreement)


def overlap(first: Complex, second: Complex) -> float:
    """Return the modulus of the normalised scalar product of two objects: 1 if they are equal up to a phase."""
    norm = float(np.linalg.norm(first.ravel())) * float(np.linalg.norm(second.ravel()))
    return float(np.abs(np.vdot(first, second))) / norm if norm > 0 else 0.0


def twin(density: Complex) -> Complex:
    """Return ρ*(-r) about the middle voxel, which has the same diffraction pattern as ρ."""
    return np.conj(np.roll(density[::-1, ::-1, ::-1], 1 - density.shape[0] % 2, axis=(0, 1, 2))).astype(np.complex64)


def align(density: Complex, reference: Complex) -> Complex:
    """Return the object or its twin, shifted by whole voxels and in phase for the best overlap with a reference."""
    best, value = density, -1.0
    transform = np.conj(_forward(reference))
    for candidate in (density, twin(density)):
        correlation = np.abs(_inverse(_forward(candidate) * transform))
        if float(correlation.max()) > value:
            value = float(correlation.max())
            at = np.unravel_index(int(correlation.argmax()), correlation.shape)
            best = np.roll(candidate, [-int(i) for i in at], axis=(0, 1, 2))
    phase = np.vdot(best, reference)
    return (best * np.exp(1j * np.angle(phase))).astype(np.complex64)


def vortices(density: Complex, support: NDArray[np.bool_], half_width: int = 2) -> int:
    """Count square loops inside the object around which the phase winds: zero without a dislocation.

    Parameters
    ----------
    density, support
        As in `Reconstruction`.
    half_width
        Loops have an edge of ``2 * half_width`` voxels: wide enough to enclose a core of low density.

    Returns
    -------
    Number of loops, over three orientations, with a non-zero winding and all edges inside the object.
    """
    inside = ndimage.binary_erosion(support & (np.abs(density) > 0.15 * np.abs(density[support]).max()))
    phase = np.angle(density)
    edge = 2 * half_width
    count = 0
    for normal in range(3):
        a, b = (axis for axis in range(3) if axis != normal)
        step_a, step_b = _wrapped_step(phase, a), _wrapped_step(phase, b)
        winding = np.zeros(phase.shape)
        loop_inside = np.ones(phase.shape, dtype=bool)
        for i in range(edge):
            winding += np.roll(step_a, -i, axis=a) - np.roll(np.roll(step_a, -i, axis=a), -edge, axis=b)
            winding += np.roll(np.roll(step_b, -i, axis=b), -edge, axis=a) - np.roll(step_b, -i, axis=b)
        for i in range(edge + 1):
            for side in (0, edge):
                loop_inside &= np.roll(np.roll(inside, -i, axis=a), -side, axis=b)
                loop_inside &= np.roll(np.roll(inside, -i, axis=b), -side, axis=a)
        count += int(np.count_nonzero(loop_inside & (np.abs(winding) > np.pi)))
    return count


def _forward(density: NDArray[np.complexfloating]) -> Complex:
    return np.asarray(fft.fftn(density), dtype=np.complex64)


def _inverse(field: NDArray[np.complexfloating] | NDArray[np.float32]) -> Complex:
    return np.asarray(fft.ifftn(field), dtype=np.complex64)


def _origin_first(array: Complex) -> Complex:
    return np.asarray(fft.ifftshift(array), dtype=np.complex64)


def _wrapped_step(phase: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    step = np.roll(phase, -1, axis=axis) - phase
    return np.mod(step + np.pi, 2 * np.pi) - np.pi


def _first_support(counts: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return half the extent of the autocorrelation: the object can't be larger than that around its centre."""
    auto = np.abs(_inverse(counts))
    shape = ndimage.gaussian_filter(np.asarray(fft.fftshift(auto), dtype=np.float32), 1.0)
    middle = shape.shape[0] // 2
    far = np.argwhere(shape > 0.04 * shape.max()) - middle
    half = np.abs(far).max(axis=0) / 2 + 1
    axes = [np.abs(np.arange(n) - n // 2) <= h for n, h in zip(shape.shape, half, strict=True)]
    return axes[0][:, None, None] & axes[1][None, :, None] & axes[2][None, None, :]


def _one_start(
    modulus: NDArray[np.float32],
    known: NDArray[np.bool_],
    start: NDArray[np.bool_],
    settings: PhasingSettings,
    rng: np.random.Generator,
) -> tuple[Complex, NDArray[np.bool_], float]:
    support = np.asarray(start)
    phases = np.exp(2j * np.pi * rng.random(modulus.shape, dtype=np.float32)).astype(np.complex64)
    first = np.asarray(fft.fftshift(_inverse(modulus * phases)), dtype=np.complex64)
    density = np.where(support, first, np.complex64(0))
    for cycle in range(settings.cycles):
        for _ in range(settings.hybrid):
            projected = _onto_moduli(density, modulus, known)
            density = _hybrid(density, projected, support, settings)
        for _ in range(settings.reduction):
            density = np.where(support, _onto_moduli(density, modulus, known), np.complex64(0))
        share = cycle / max(settings.cycles - 1, 1)
        sigma = settings.blur[0] + share * (settings.blur[1] - settings.blur[0])
        density, support = _wrapped_support(density, sigma, settings.support_level)
    for _ in range(settings.finish):
        density = np.where(support, _onto_moduli(density, modulus, known), np.complex64(0))
    calculated = np.abs(_forward(_origin_first(density)))
    error = float(np.sum((calculated - modulus)[known] ** 2) / np.sum(modulus[known] ** 2))
    return density, support, error


def _onto_moduli(density: Complex, modulus: NDArray[np.float32], known: NDArray[np.bool_]) -> Complex:
    """Set the measured moduli; elsewhere keep the current modulus up to the bound stored in ``modulus``."""
    field = _forward(_origin_first(density))
    size = np.maximum(np.abs(field), np.float32(1e-12))
    factor = modulus / size
    field *= np.where(known, factor, np.minimum(factor, np.float32(1)))
    return np.asarray(fft.fftshift(_inverse(field)), dtype=np.complex64)


def _bounded(modulus: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Bound the moduli where nothing was measured: twice the measured rms at that distance from the peak.

    Without a bound, frequencies beyond a scan's range grow freely and cause stripes across the object.
    """
    axes = [fft.fftfreq(n, 1.0 / n) for n in modulus.shape]
    radius = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2)
    shell = np.rint(radius).astype(np.int64)
    measured = np.bincount(shell[known], minlength=int(shell.max()) + 1)
    power = np.bincount(shell[known], weights=modulus[known] ** 2, minlength=len(measured))
    filled = np.flatnonzero(measured)
    level = np.interp(np.arange(len(measured)), filled, np.sqrt(power[filled] / measured[filled]))
    return np.where(known, modulus, 2 * level[shell]).astype(np.float32)


def _hybrid(density: Complex, projected: Complex, support: NDArray[np.bool_], settings: PhasingSettings) -> Complex:
    beta = np.float32(settings.beta)
    if settings.algorithm == "hio":
        return np.where(support, projected, density - beta * projected)
    return np.where(support, projected, beta * density + (1 - 2 * beta) * projected)


def _wrapped_support(density: Complex, sigma: float, level: float) -> tuple[Complex, NDArray[np.bool_]]:
    smooth = ndimage.gaussian_filter(np.abs(density), sigma)
    mask = smooth > level * smooth.max()
    # one particle: anything not connected to the largest piece is noise; a core without density belongs to it
    pieces, number = ndimage.label(mask)  # pyright: ignore[reportGeneralTypeIssues]
    if number > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        mask = pieces == int(sizes.argmax())
    mask = np.asarray(ndimage.binary_fill_holes(mask), dtype=bool)
    shift = [
        n // 2 - round(float(c)) for n, c in zip(mask.shape, ndimage.center_of_mass(mask), strict=True)
    ]  # otherwise it drifts: the moduli don't depend on the object's position
    return np.roll(density, shift, axis=(0, 1, 2)), np.roll(mask, shift, axis=(0, 1, 2))


def _centred(density: Complex, support: NDArray[np.bool_]) -> tuple[Complex, NDArray[np.bool_]]:
    """Move the centre of mass to the middle and the mean phase to zero."""
    weight = np.where(support, np.abs(density), 0.0)
    shift = [n // 2 - round(float(c)) for n, c in zip(support.shape, ndimage.center_of_mass(weight), strict=True)]
    moved = np.roll(np.where(support, density, np.complex64(0)), shift, axis=(0, 1, 2))
    mean = np.sum(moved)
    return (moved * np.exp(-1j * np.angle(mean))).astype(np.complex64), np.roll(support, shift, axis=(0, 1, 2))
