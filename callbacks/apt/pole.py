"""Find where a reconstruction resolves lattice planes: the region around the pole, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.apt.planes import PlaneSearch, fit_planes, resolved_from
from braggwatch.sim.errors import BraggwatchError

_LEAST_IONS = 200
_LEAST_SHARE = 0.1
_SPACING_TOLERANCE = 0.06


class UnresolvedPlanesError(BraggwatchError, ValueError):
    """The reconstruction doesn't resolve lattice planes across z; the message says what was found and what to do."""


@dataclass(frozen=True, slots=True)
class PlaneMap:
    """Planes of regions that tile a reconstruction.

    Attributes
    ----------
    origin_nm, edge_nm
        Region (i, j, k) spans ``origin + (i, j, k) * edge`` to ``origin + (i + 1, ...) * edge``, nm.
    signal, spacing_nm, tilt_x_deg, tilt_y_deg
        (nx, ny, nz) float32, NaN where there are too few ions.
    resolved
        (nx, ny, nz) bool: planes are clear and have the median spacing.
    """

    origin_nm: tuple[float, float, float]
    edge_nm: float
    signal: NDArray[np.float32]
    spacing_nm: NDArray[np.float32]
    tilt_x_deg: NDArray[np.float32]
    tilt_y_deg: NDArray[np.float32]
    resolved: NDArray[np.bool_]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(nx, ny, nz) bool: True for regions with enough ions."""
        return np.isfinite(self.signal)

    @property
    def share(self) -> float:
        """Fraction of the regions with enough ions whose planes are resolved."""
        return float(self.resolved.sum() / max(1, self.seen.sum()))

    @property
    def median_spacing_nm(self) -> float:
        """Median spacing of the resolved regions, nm; NaN if there are none."""
        return float(np.median(self.spacing_nm[self.resolved])) if self.resolved.any() else math.nan

    def centres_nm(self) -> NDArray[np.float64]:
        """Return the centres of the regions, (nx, ny, nz, 3) nm."""
        index = np.stack(np.meshgrid(*(np.arange(n) for n in self.signal.shape), indexing="ij"), axis=-1)
        return np.array(self.origin_nm) + (index + 0.5) * self.edge_nm

    def contains(self, positions_nm: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return whether each position lies in a resolved region, (N,) bool."""
        at = np.floor((positions_nm.astype(np.float64) - self.origin_nm) / self.edge_nm).astype(np.int64)
        inside = ((at >= 0) & (at < self.signal.shape)).all(axis=1)
        found = np.zeros(len(positions_nm), dtype=np.bool_)
        found[inside] = self.resolved[tuple(at[inside].T)]
        return found


def map_planes(
    positions_nm: NDArray[np.float32], *, edge_nm: float = 6.0, search: PlaneSearch | None = None
) -> PlaneMap:
    """Fit planes in every region of a reconstruction.

    Parameters
    ----------
    positions_nm
        (N, 3) x, y, z, nm.
    edge_nm
        Edge of a region, nm: large enough for a few thousand ions, small enough that its planes are flat.

    Raises
    ------
    UnresolvedPlanesError
        If the density of ions is too low for a reconstruction.
    """
    search = PlaneSearch() if search is None else search
    p = positions_nm
    low, high = p.min(axis=0).astype(np.float64), p.max(axis=0).astype(np.float64)
    shape = tuple(max(1, int(n)) for n in np.ceil((high - low) / edge_nm))
    if math.prod(shape) * _LEAST_IONS > 1000 * len(p) + 1_000_000:
        raise UnresolvedPlanesError(
            f"{len(p)} ions spread over {' x '.join(f'{n:.0f}' for n in high - low)} nm are far too sparse for an atom "
            "probe reconstruction. Are the positions in nanometres?"
        )
    at = np.minimum(((p - low.astype(np.float32)) / np.float32(edge_nm)).astype(np.int64), np.array(shape) - 1)
    flat = (at[:, 0] * shape[1] + at[:, 1]) * shape[2] + at[:, 2]
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(int(np.prod(shape)) + 1))
    values = np.full((4, int(np.prod(shape))), np.nan, dtype=np.float32)
    for region in range(int(np.prod(shape))):
        ions = order[starts[region] : starts[region + 1]]
        if len(ions) < _LEAST_IONS or float(np.ptp(p[ions, 2])) < edge_nm / 2:
            continue
        fit = fit_planes(p[ions], search)
        values[:, region] = fit.signal, fit.spacing_nm, fit.tilt_x_deg, fit.tilt_y_deg
    signal, spacing, tilt_x, tilt_y = (field.reshape(shape) for field in values)
    clear = np.nan_to_num(signal) >= resolved_from()
    if clear.any():
        median = float(np.median(spacing[clear]))
        clear &= np.abs(np.nan_to_num(spacing) - median) <= _SPACING_TOLERANCE * median
    return PlaneMap((float(low[0]), float(low[1]), float(low[2])), edge_nm, signal, spacing, tilt_x, tilt_y, clear)


def require_planes(planes: PlaneMap, *, least_share: float = _LEAST_SHARE) -> PlaneMap:
    """Return the map if enough planes are resolved.

    Raises
    ------
    UnresolvedPlanesError
        If no region has enough ions, or planes are resolved in less than ``least_share`` of those that have.
    """
    if not planes.seen.any():
        raise UnresolvedPlanesError(
            f"no region of {planes.edge_nm:g} nm contains {_LEAST_IONS} ions: too few to detect lattice planes. "
            "Are the positions in nanometres?"
        )
    if planes.share < least_share:
        raise UnresolvedPlanesError(
            f"lattice planes across z are resolved in {planes.share:.0%} of the regions of {planes.edge_nm:g} nm "
            f"({least_share:.0%} needed): the median signal is {np.nanmedian(planes.signal):.1f}, the largest "
            f"{np.nanmax(planes.signal):.1f}, and {resolved_from():.0f} is needed. Order can't be distinguished from "
            "disorder in such data. Cut out the region around a low-index pole, rotate it so that the pole lies along "
            "z, check the reconstruction's depth scale, or search for other spacings"
        )
    return planes
