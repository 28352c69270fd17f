"""Crystal shapes: intersections of half-spaces, Wulff (free) or Winterbottom (cut at a substrate)."""

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


@dataclass(frozen=True, slots=True)
class Polyhedron:
    """A convex body ``normals @ r <= distances``; unit normals (F, 3), distances (F,) in any unit."""

    normals: NDArray[np.float64]
    distances: NDArray[np.float64]

    def inside(self, points: NDArray[np.float64], margin: float = 0.0) -> NDArray[np.bool_]:
        """Return whether each of (N, 3) points lies inside, at least ``margin`` below every facet: (N,) bool."""
        keep = np.ones(len(points), dtype=bool)
        for normal, distance in zip(self.normals, self.distances, strict=True):
            keep &= points @ normal <= distance - margin
        return keep

    def depth(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance of each of (N, 3) points to the nearest facet, (N,) float64, positive inside."""
        return np.min(self.distances[None, :] - points @ self.normals.T, axis=1)


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
    length = np.linalg.norm(stretched, axis=1)
    return Polyhedron(stretched / length[:, None], np.asarray(distances) / length)
