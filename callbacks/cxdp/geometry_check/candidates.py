"""Changes of a geometry that a scan could tell, alike ones together, with what is to be expected of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.geometry_check.changes import GeometryChange
from braggwatch.callbacks.cxdp.geometry_check.star import fit_star
from braggwatch.callbacks.cxdp.geometry_check.trace import LocalMap, Trace, between, trace
from braggwatch.callbacks.cxdp.preprocess.facets import Streaks
from braggwatch.callbacks.cxdp.preprocess.orthonormalise import basis_along
from braggwatch.sim.crystallography.miller import Miller

NO_TRACE_DEG, NO_TRACE_D = 4.0, 0.005
"""Below both, a change of direction in degrees and of d as a fraction, a change leaves no trace in one scan."""

_ALIKE_DEG, _ALIKE_D = 2.0, 0.003
_COLLAPSED = 5.0


class FrameReader(Protocol):
    """Reads one scan's frames with changed geometries."""

    @property
    def here(self) -> LocalMap:
        """The map about the peak with the stated geometry."""
        ...

    def local(self, change: GeometryChange) -> LocalMap | None:
        """Return the map about the same raw place with another geometry; None if that can't be."""
        ...

    def streaks(self, change: GeometryChange) -> Streaks | None:
        """Read the frames again and find the streaks; None if the frames can't be read so."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """Changes that read the same.

    Attributes
    ----------
    changes
        At least one; the first is the one to read with.
    local
        Map about the peak with it.
    predicted_deg
        Misfit of the streaks found, turned as the change would turn them; None where that says nothing.
    """

    changes: tuple[GeometryChange, ...]
    local: LocalMap
    predicted_deg: float | None


def leaves_no_trace(seen: Trace) -> bool:
    """Whether one scan can't show a change."""
    return seen.turn_deg < NO_TRACE_DEG and abs(seen.d_ratio - 1.0) < NO_TRACE_D


def candidates(
    changes: Iterable[GeometryChange], reader: FrameReader, streaks: Streaks, hkl: Miller | None
) -> tuple[Candidate, ...]:
    """Return the changes that leave a trace, most promising first.

    Parameters
    ----------
    streaks
        Those found with the stated geometry, axis 0 along Q.
    hkl
        Reflection of a cubic crystal; None if the streaks can't be compared.
    """
    found: list[Candidate] = []
    for change in changes:
        local = reader.local(change)
        if local is None or leaves_no_trace(trace(reader.here, local)):
            continue
        for number, other in enumerate(found):
            seen = trace(other.local, local)
            if seen.turn_deg < _ALIKE_DEG and abs(seen.d_ratio - 1.0) < _ALIKE_D:
                found[number] = replace(other, changes=(*other.changes, change))
                break
        else:
            found.append(Candidate((change,), local, _predicted(reader.here, local, streaks, hkl)))
    return tuple(sorted(found, key=lambda one: np.inf if one.predicted_deg is None else one.predicted_deg))


def _predicted(here: LocalMap, there: LocalMap, streaks: Streaks, hkl: Miller | None) -> float | None:
    if hkl is None or not len(streaks.directions):
        return None
    change = between(here, there)
    stretches = np.linalg.svd(change, compute_uv=False)
    if stretches[0] > _COLLAPSED * stretches[-1]:
        # all directions fall on each other, and fit anything
        return None
    turned = _in_voxels(streaks.directions, change, here, there)
    return fit_star(Streaks(turned, streaks.strength), hkl).misfit_deg


def _in_voxels(
    directions: NDArray[np.float64], change: NDArray[np.float64], here: LocalMap, there: LocalMap
) -> NDArray[np.float64]:
    """Turn (k, 3) directions in voxel axes, axis 0 along Q, as the change turns them."""
    turned = directions @ basis_along(here.q_inv_A) @ change.T @ basis_along(there.q_inv_A).T
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)
