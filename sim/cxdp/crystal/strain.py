"""Smooth strain, as in real perfect crystals: without it a classifier takes every asymmetric pattern for an edge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.cxdp.crystal.shapes import Polyhedron


class StrainSpec(BaseModel):
    """Random smooth phase fields G·u, in radians, so that they don't depend on size and element."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    random_rad: tuple[float, ...] = Field(description="Rms phase of each Gaussian random field, radians.")
    correlation: tuple[float, ...] = Field(description="Correlation length of each field, in particle sizes.")
    facet_rad: float = Field(ge=0, description="Amplitude of a field that decays inwards from one facet, radians.")
    facet_depth: float = Field(gt=0, description="Decay length of that field, in particle sizes.")
    bend_rad: float = Field(ge=0, description="Amplitude of a quadratic (misfit, bending) field, radians.")
    surface_rad: float = Field(
        default=0.0,
        ge=0,
        description="Rms phase of fields that decay inwards from every facet, each with its own sign.",
    )


NO_STRAIN = StrainSpec(random_rad=(), correlation=(), facet_rad=0.0, facet_depth=0.1, bend_rad=0.0)


def _random_field(
    points: NDArray[np.float64], rms_rad: float, correlation: float, rng: np.random.Generator, waves: int = 40
) -> NDArray[np.float64]:
    # a sum of plane waves with Gaussian-distributed wave vectors has a Gaussian correlation function
    k = rng.normal(scale=1.0 / correlation, size=(waves, 3))
    phase = rng.uniform(0.0, 2 * np.pi, size=waves)
    field = np.zeros(len(points))
    for wave, shift in zip(k, phase, strict=True):
        field += np.cos(points @ wave + shift)
    spread = float(field.std())
    return field * (rms_rad / spread) if spread > 0 else field


def strain_phase(
    spec: StrainSpec, points: NDArray[np.float64], shape: Polyhedron, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the phase G·u, (N,) float64 in radians, at (N, 3) points in particle sizes; ``shape`` likewise.

    The mean slope is not removed: like a real mean strain, it only moves the peak.
    """
    total = np.zeros(len(points))
    for rms, length in zip(spec.random_rad, spec.correlation, strict=True):
        total += _random_field(points, rms, length, rng)
    if spec.facet_rad > 0:
        facet = int(rng.integers(len(shape.normals)))
        depth = shape.distances[facet] - points @ shape.normals[facet]
        depth -= float(depth.min())
        total += float(rng.choice((-1.0, 1.0))) * spec.facet_rad * np.exp(-depth / spec.facet_depth)
    if spec.bend_rad > 0:
        form = rng.normal(size=(3, 3))
        quadratic = np.einsum("ni,ij,nj->n", points, (form + form.T) / 2, points)
        spread = float(quadratic.std())
        if spread > 0:
            total += spec.bend_rad * (quadratic - quadratic.mean()) / spread
    if spec.surface_rad > 0:
        field = np.zeros(len(points))
        for normal, distance in zip(shape.normals, shape.distances, strict=True):
            amplitude = rng.normal()
            field += amplitude * np.exp(-np.maximum(distance - points @ normal, 0.0) / spec.facet_depth)
        spread = float(field.std())
        if spread > 0:
            total += spec.surface_rad * field / spread
    return total


def strain_spread(phase_rad: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    """Return the rms of a phase (N,) over points (N, 3), radians, without its mean and mean slope.

    A mean slope only moves the peak, so the result is comparable to the phase of an object retrieved from a centred
    measured peak.
    """
    rest = phase_rad - phase_rad.mean()
    if not rest.any():
        return 0.0
    places = points - points.mean(axis=0)
    slope = np.linalg.solve(places.T @ places, places.T @ rest)
    return float(np.sqrt(np.mean((rest - places @ slope) ** 2)))
