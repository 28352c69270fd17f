"""Facets of a given particle: its crystal's orientation from the streaks, and a polyhedron fitted to its support."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from braggwatch.sim.crystallography.fcc import Miller, family
from braggwatch.sim.cxdp.crystal.shapes import Polyhedron
from braggwatch.sim.cxdp.given_particles import ParticleObject, point_lattice
from braggwatch.sim.cxdp.rocking import bragg_orientation

FACETS: tuple[Miller, ...] = (*family((1, 1, 1)), *family((1, 0, 0)), *family((1, 1, 0)))
"""Normals of the facets that a fit uses, in the order of its distances."""


def facet_normals() -> NDArray[np.float64]:
    """(26, 3) unit normals of `FACETS`, crystal axes."""
    normals = np.asarray(FACETS, dtype=np.float64)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def fit_polyhedron(particle: ParticleObject, rounds: int = 6) -> tuple[Polyhedron, float]:
    """Fit {111}, {100} and {110} facets to an object's support.

    Each facet's distance starts at the support's extent; the distances are then optimised in turn for the best overlap.

    Returns
    -------
    polyhedron, overlap
        The polyhedron in nm, crystal axes, about the centre of mass; and intersection over union of the volumes.
    """
    inside = particle.positions_nm
    step = float((particle.size_nm**3 / len(inside)) ** (1 / 3))
    normals = facet_normals()
    reach = float(np.abs(inside).max()) + 2 * step
    grid = point_lattice(reach, 2 * step)
    # a cell belongs to the body if it contains at least half of its eight points
    cells, points = np.unique(np.rint(inside / (2 * step)).astype(int), axis=0, return_counts=True)
    filled = {tuple(c) for c in cells[points >= 4].tolist()}
    taken = np.asarray([tuple(c) in filled for c in np.rint(grid / (2 * step)).astype(int).tolist()])
    heights = grid @ normals.T
    distances = np.asarray([float(np.quantile(inside @ n, 0.995)) for n in normals])
    for round_ in range(rounds):
        width = 4 * step / (round_ + 1)
        for facet in range(len(normals)):
            others = np.all(np.delete(heights, facet, axis=1) <= np.delete(distances, facet), axis=1)
            outside_all = np.count_nonzero(taken & ~others)
            choices = distances[facet] + np.linspace(-width, width, 9)
            scores: list[float] = []
            for choice in choices:
                body = others & (heights[:, facet] <= choice)
                common = float(np.count_nonzero(body & taken))
                either = float(np.count_nonzero(body | (taken & others)) + outside_all)
                scores.append(common / either if either else 0.0)
            distances[facet] = choices[int(np.argmax(scores))]
    body = np.all(heights <= distances, axis=1)
    score = float(np.count_nonzero(body & taken)) / float(np.count_nonzero(body | taken))
    return Polyhedron(normals, distances), score


def orientation_from_streaks(
    intensity: NDArray[np.floating],
    measured: NDArray[np.bool_],
    basis: NDArray[np.float64],
    q_inv_A: NDArray[np.float64],
    hkl: Miller,
) -> tuple[NDArray[np.float64], float]:
    """Find the crystal's rotation about Q from the streaks that its {111} and {100} facets draw.

    Parameters
    ----------
    intensity, measured
        (n, n, n) peak on an orthogonal grid, and where it was measured.
    basis
        (3, 3) rows: directions of the array's axes, sample frame.
    q_inv_A
        (3,) centre of the peak, sample frame.
    hkl
        The reflection.

    Returns
    -------
    rotation, contrast
        (3, 3) rotation from crystal axes to the sample frame; and by how many standard deviations the best azimuth
        exceeds the mean of all. The lattice's symmetry makes several azimuths equivalent: one of them is returned.
    """
    half = intensity.shape[0] // 2
    level = np.log1p(np.maximum(intensity, 0.0))
    index = np.stack(np.meshgrid(*(np.arange(n) - half for n in intensity.shape), indexing="ij"), axis=-1)
    shell = np.rint(np.sqrt(np.sum(index**2, axis=-1))).astype(np.int64)
    number = np.maximum(np.bincount(shell[measured], minlength=int(shell.max()) + 1), 1)
    mean = np.bincount(shell[measured], weights=level[measured], minlength=len(number)) / number
    above = ndimage.gaussian_filter(np.where(measured, level - mean[shell], 0.0), 1.0)
    radii = np.arange(0.2 * half, 0.85 * half)
    g = np.asarray(hkl, dtype=np.float64)
    rays = np.asarray([*family((1, 1, 1)), *family((1, 0, 0))], dtype=np.float64)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    # a streak along Q is the same at every azimuth
    rays = rays[np.abs(rays @ g) < 0.95 * np.linalg.norm(g)]
    azimuths = np.arange(0.0, 360.0, 0.5)
    scores = np.empty(len(azimuths))
    for number_, azimuth in enumerate(azimuths):
        rotation = bragg_orientation(g, q_inv_A, float(azimuth))
        places = half + (rays @ rotation.T @ basis.T)[:, None, :] * radii[None, :, None]
        scores[number_] = float(ndimage.map_coordinates(above, places.reshape(-1, 3).T, order=1).mean())
    best = int(scores.argmax())
    contrast = (float(scores[best]) - float(scores.mean())) / max(float(scores.std()), 1e-12)
    return bragg_orientation(g, q_inv_A, float(azimuths[best])), contrast
