"""Crystal shapes: intersections of half-spaces, Wulff (free) or Winterbottom (cut at a substrate), and rounded ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from braggwatch.sim.crystallography.fcc import Miller, family


class ShapeSpec(BaseModel):
    """Facet distances from the centre, relative to the {111} distance.

    Each facet's distance is multiplied by its own factor, drawn uniformly from ``1 ± facet_jitter``, to cover grown
    crystals, in which no two facets are alike. ``interface`` cuts one {111} side at a fraction of the free crystal's
    height (Winterbottom).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratio_100: float = Field(gt=0, description="{100} distance over {111} distance.")
    ratio_110: float = Field(gt=0, description="{110} distance over {111} distance.")
    facet_jitter: float = Field(ge=0, lt=0.6, description="Half-width of the facets' random factors.")
    interface: Miller | None = Field(description="Outward normal of the substrate plane, one of {111}; None: free.")
    height_fraction: float = Field(
        gt=0, le=1, description="Fraction of the height that remains along the interface normal."
    )
    elongation: tuple[float, float, float] = Field(description="Stretch along the crystal's x, y, z.")
    aspect: float = Field(
        default=1.0, gt=0, description="A further stretch along ``aspect_axis``: below 1 a plate, above 1 a rod."
    )
    aspect_axis: tuple[float, float, float] = Field(default=(0.0, 0.0, 1.0), description="Its axis, crystal axes.")
    ball: float | None = Field(
        default=None,
        gt=0,
        description="Radius of a ball, over the {111} distance, that the facets cut: 0.9 and less leave a sphere, 1.2 "
        "rounds edges and corners. It is stretched with the rest. None: facets alone.",
    )


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """The body ``|matrix @ (r - centre)| <= 1``; (3, 3) and (3,) float64."""

    matrix: NDArray[np.float64]
    centre: NDArray[np.float64]

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether each of (N, 3) points lies inside: (N,) bool."""
        return np.asarray(np.sum(((points - self.centre) @ self.matrix.T) ** 2, axis=1) <= 1.0)


@dataclass(frozen=True, slots=True)
class Polyhedron:
    """A convex body ``normals @ r <= distances``; unit normals (F, 3), distances (F,) in any unit.

    Attributes
    ----------
    rounding
        Where there is one, only what lies in this ellipsoid too belongs to the body.
    """

    normals: NDArray[np.float64]
    distances: NDArray[np.float64]
    rounding: Ellipsoid | None = None

    def inside(self, points: NDArray[np.float64], margin: float = 0.0) -> NDArray[np.bool_]:
        """Return whether each of (N, 3) points lies inside, at least ``margin`` below every facet: (N,) bool."""
        keep = np.ones(len(points), dtype=bool) if self.rounding is None else self.rounding.inside(points)
        for normal, distance in zip(self.normals, self.distances, strict=True):
            keep &= points @ normal <= distance - margin
        return keep

    def scaled(self, factor: float) -> Polyhedron:
        """Return the body enlarged by a factor about the origin."""
        around = self.rounding
        if around is not None:
            around = Ellipsoid(around.matrix / factor, around.centre * factor)
        return Polyhedron(self.normals, self.distances * factor, around)

    def moved(self, by: NDArray[np.float64]) -> Polyhedron:
        """Return the body moved by (3,)."""
        around = self.rounding
        if around is not None:
            around = Ellipsoid(around.matrix, around.centre + by)
        return Polyhedron(self.normals, self.distances + self.normals @ by, around)

    def corners(self) -> NDArray[np.float64]:
        """Return the corners of the facets, (C, 3) float64; those of a rounded body lie outside it."""
        from scipy.spatial import HalfspaceIntersection  # slow to import

        halfspaces = np.concatenate([self.normals, -self.distances[:, None]], axis=1)
        # the Chebyshev centre is not needed: every shape here contains the origin or, when cut below it, a point on
        # the cut's inner side
        centre = np.zeros(3)
        if np.any(self.distances <= 0):
            centre = self.normals[int(np.argmin(self.distances))] * (float(self.distances.min()) - 0.05)
        return np.asarray(HalfspaceIntersection(halfspaces, centre).intersections)

    def volume(self) -> float:
        """Return the volume: exact for facets alone, of a rounded body from 64 samples across it (to about 1 %)."""
        from scipy.spatial import ConvexHull  # slow to import

        if self.rounding is None:
            return float(ConvexHull(self.corners()).volume)
        return self.sampled(_ROUND_SAMPLES)[1]

    def sampled(self, samples: int) -> tuple[NDArray[np.float64], float]:
        """Return points evenly spread over the body, (N, 3) float64, and the volume that they stand for.

        Parameters
        ----------
        samples
            Along each edge of the box about the corners.
        """
        corners = self.corners()
        low, high = corners.min(axis=0), corners.max(axis=0)
        grid = sample_grid(low, high, samples)
        inside = grid[self.inside(grid)]
        return inside, float(np.prod(high - low) * len(inside) / len(grid))

    def depth(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance of each of (N, 3) points to the nearest facet, (N,) float64, positive inside."""
        return np.min(self.distances[None, :] - points @ self.normals.T, axis=1)


_ROUND_SAMPLES = 48


def sample_grid(low: NDArray[np.float64], high: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """Return the centres of ``samples``³ equal boxes between two corners, (samples³, 3) float64."""
    steps = (np.arange(samples) + 0.5) / samples
    axes = [low[i] + (high[i] - low[i]) * steps for i in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def make_polyhedron(spec: ShapeSpec, rng: np.random.Generator) -> Polyhedron:
    """Build the shape with {111} distance 1 about the origin.

    Parameters
    ----------
    spec
        Ratios, jitter and cut.
    rng
        Generator of the facets' random factors.
    """
    normals: list[NDArray[np.float64]] = []
    distances: list[float] = []
    for hkl, ratio in (((1, 1, 1), 1.0), ((1, 0, 0), spec.ratio_100), ((1, 1, 0), spec.ratio_110)):
        for member in family(hkl):
            normal = np.asarray(member, dtype=np.float64)
            normals.append(normal / np.linalg.norm(normal))
            distances.append(ratio * (1.0 + spec.facet_jitter * float(rng.uniform(-1.0, 1.0))))
    if spec.interface is not None:
        cut = np.asarray(spec.interface, dtype=np.float64)
        cut /= np.linalg.norm(cut)
        # the free crystal reaches from -1 to 1 along a {111} normal: keep height_fraction of that, measured from -1
        normals.append(cut)
        distances.append(2.0 * spec.height_fraction - 1.0)
    stretched = np.asarray(normals) / np.asarray(spec.elongation)
    squeeze: NDArray[np.float64] | None = None
    if spec.aspect != 1.0:
        axis = np.asarray(spec.aspect_axis, dtype=np.float64)
        axis /= np.linalg.norm(axis)
        squeeze = np.eye(3) + (1.0 / spec.aspect - 1.0) * np.outer(axis, axis)
        stretched = stretched @ squeeze
    rounding: Ellipsoid | None = None
    if spec.ball is not None:
        matrix = np.diag(1.0 / np.asarray(spec.elongation)) / spec.ball
        rounding = Ellipsoid(matrix if squeeze is None else matrix @ squeeze, np.zeros(3))
    length = np.linalg.norm(stretched, axis=1)
    return Polyhedron(stretched / length[:, None], np.asarray(distances) / length, rounding)
