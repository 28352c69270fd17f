"""From a diffraction picture to the spots about their centre, and whether it is one crystal's pattern at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.sadp.annotations import find_annotations, find_beam_stop
from braggwatch.callbacks.sadp.beam_centre import find_centre
from braggwatch.callbacks.sadp.rings import ring_share
from braggwatch.callbacks.sadp.spots import SpotSettings, find_spots
from braggwatch.models.sadp.lattice_map import Field
from braggwatch.models.sadp.measured import MeasuredPattern, PatternQuality

Problem = Literal["no picture", "too few spots", "rings", "no Friedel symmetry", "off zone"]
"""What can keep a picture from being judged, most basic first."""
_FEWEST_OF_A_RING = 12
_RING_QUANTILE = 0.35


@dataclass(frozen=True, slots=True)
class PatternSettings:
    """Limits of what counts as one crystal's zone-axis pattern.

    Attributes
    ----------
    fewest_spots
        Besides the direct beam.
    largest_ring_share
        See `ring_share`.
    smallest_paired
        Share of spots with a Friedel mate: along most zones those of higher Laue zones have none.
    largest_asymmetry
        Of the pairs' intensities.
    centre_px
        Where the direct beam is, (x, y), where it is known.
    annotations, beam_stop
        Whether to look for them.
    """

    spots: SpotSettings = field(default_factory=SpotSettings)
    fewest_spots: int = 6
    largest_ring_share: float = 0.45
    smallest_paired: float = 0.15
    largest_asymmetry: float = 0.6
    centre_px: tuple[float, float] | None = None
    annotations: bool = True
    beam_stop: bool = True


def measure_pattern(
    picture: NDArray[np.generic],
    settings: PatternSettings | None = None,
    *,
    masked: NDArray[np.bool_] | None = None,
    inv_A_per_px: float | None = None,
) -> MeasuredPattern:
    """Find a pattern's spots and centre.

    Parameters
    ----------
    picture
        (H, W), bright on dark, any size from 16 pixels and any number type.
    masked
        (H, W) True where nothing is to be seen, in addition to what is found.
    inv_A_per_px
        Scale, where it is known.

    Returns
    -------
    MeasuredPattern
        With ``problem`` set where the picture is no zone-axis pattern of one crystal; never raises for bad content.

    Raises
    ------
    ValueError
        If ``picture`` isn't two-dimensional or ``masked`` has another shape.
    """
    chosen = PatternSettings() if settings is None else settings
    finite = np.isfinite(picture)
    hidden = ~finite if masked is None else (~finite | masked)
    if picture.ndim == 2 and finite.any():
        clean = picture if finite.all() else np.where(finite, picture, np.asarray(picture)[finite].min())
        if chosen.annotations:
            hidden = hidden | find_annotations(clean)
    shape = picture.shape
    spots = find_spots(picture, hidden, chosen.spots)
    nowhere = ((shape[1] - 1) / 2.0, (shape[0] - 1) / 2.0)
    if not finite.any() or float(np.ptp(np.asarray(picture)[finite].astype(np.float64))) == 0.0:
        return MeasuredPattern.empty(shape, nowhere, "no picture: all pixels are the same", inv_A_per_px)
    if len(spots) < chosen.fewest_spots:
        return MeasuredPattern.empty(shape, nowhere, f"too few spots ({len(spots)})", inv_A_per_px)
    centre = find_centre(spots, (shape[0], shape[1]), hidden)
    if chosen.centre_px is not None:
        x, y = chosen.centre_px
        uncertainty, paired, asymmetry = 0.0, 1.0, 0.0
    elif centre is not None:
        x, y = centre.x_px, centre.y_px
        uncertainty, paired, asymmetry = centre.uncertainty_px, centre.paired, centre.asymmetry
    else:
        x, y = nowhere
        uncertainty, paired, asymmetry = float(max(shape)), 0.0, 1.0
    if chosen.beam_stop and centre is not None:
        shadow = find_beam_stop(picture, x, y, spots.spot_sigma_px) & ~hidden
        if shadow.any():
            # its edge looked like spots, and what it hides has no mate to miss
            hidden = hidden | shadow
            spots = find_spots(picture, hidden, chosen.spots, _halo(picture, x, y, hidden))
            again = find_centre(spots, (shape[0], shape[1]), hidden)
            if again is not None and chosen.centre_px is None:
                x, y = again.x_px, again.y_px
                uncertainty, paired, asymmetry = again.uncertainty_px, again.paired, again.asymmetry
    relative = spots.positions_px - np.array([x, y])
    beam = np.hypot(*relative.T) < max(4.0 * spots.spot_sigma_px, 3.0)
    edge = _on_an_edge(spots.positions_px, hidden, x, y, spots.spot_sigma_px)
    diffracted = spots.pick(~beam & ~edge)
    rings = ring_share(picture, x, y, spots.spot_sigma_px, hidden)
    quality = PatternQuality(
        spots=len(diffracted),
        paired=paired,
        asymmetry=asymmetry,
        ring_share=rings,
        saturated_spots=int(diffracted.saturated.sum()),
        direct_beam_seen=bool(beam.any()),
        hidden_share=float(hidden.mean()),
    )
    problem = None
    if len(diffracted) < chosen.fewest_spots:
        problem = f"too few spots ({len(diffracted)}): needed are {chosen.fewest_spots}"
    elif rings > chosen.largest_ring_share:
        problem = f"rings: {rings:.0%} of the structure is bright all around"
    elif paired < chosen.smallest_paired:
        problem = f"no Friedel symmetry: {paired:.0%} of the spots have a mate"
    elif asymmetry > chosen.largest_asymmetry:
        problem = f"off zone: intensities of Friedel mates differ by {asymmetry:.0%}"
    return MeasuredPattern(
        positions_px=diffracted.positions_px - np.array([x, y]),
        intensity=diffracted.intensity,
        intensity_sigma=diffracted.intensity_sigma,
        position_sigma_px=diffracted.position_sigma_px,
        spot_sigma_px=spots.spot_sigma_px,
        centre_px=(float(x), float(y)),
        centre_sigma_px=uncertainty,
        field=_field(hidden, x, y, spots.spot_sigma_px),
        shape=(shape[0], shape[1]),
        inv_A_per_px=inv_A_per_px,
        quality=quality,
        problem=problem,
    )


def _halo(picture: NDArray[np.generic], x: float, y: float, hidden: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return what of the picture is alike all around the direct beam, (H, W); far out as at a quarter of its side."""
    rows, columns = np.ogrid[: picture.shape[0], : picture.shape[1]]
    limit = int(0.25 * min(picture.shape))
    distance = np.minimum(np.hypot(columns - x, rows - y).astype(np.int64), limit)
    near = (distance < limit) & ~hidden
    level = np.full(limit + 1, np.nan)
    order = np.argsort(distance[near], kind="stable")
    radii, values = distance[near][order], np.asarray(picture)[near][order].astype(np.float64)
    first = np.searchsorted(radii, np.arange(limit + 1))
    for radius in range(limit):
        ring = np.sort(values[first[radius] : first[radius + 1]])
        if len(ring) >= _FEWEST_OF_A_RING:
            # spots are the brighter part of a ring
            level[radius] = ring[int(_RING_QUANTILE * len(ring))]
    known = np.flatnonzero(np.isfinite(level))
    if not len(known):
        return np.zeros(picture.shape, dtype=np.float32)
    return np.interp(np.arange(limit + 1), known, level[known]).astype(np.float32)[distance]


def _on_an_edge(
    positions: NDArray[np.float64], hidden: NDArray[np.bool_], x: float, y: float, sigma: float
) -> NDArray[np.bool_]:
    """Which spots are the edge of a mask: beside it, and without the mate that would be in sight, (N,)."""
    result = np.zeros(len(positions), dtype=np.bool_)
    if not hidden.any():
        return result
    reach = int(np.ceil(4.0 * sigma))
    height, width = hidden.shape
    for n, (column, row) in enumerate(np.rint(positions).astype(int)):
        window = hidden[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        if not window.any():
            continue
        mate = 2.0 * np.array([x, y]) - positions[n]
        across, down = np.rint(mate).astype(int)
        visible = 0 <= across < width and 0 <= down < height and not hidden[down, across]
        result[n] = visible and float(np.hypot(*(positions - mate).T).min()) > 2.0 * sigma
    return result


def _field(hidden: NDArray[np.bool_], x: float, y: float, sigma: float) -> Field:
    """Say what was in sight: the picture's edges, the hidden disc about the centre and the beam stop's arm."""
    height, width = hidden.shape
    margin = 2.0 * sigma
    edges = (margin - x, width - 1 - margin - x, margin - y, height - 1 - margin - y)
    beam = 4.0 * sigma
    rows, columns = np.nonzero(hidden)
    across, down = columns - x, rows - y
    distance = np.hypot(across, down)
    close = distance < 0.5 * min(height, width)
    if close.sum() < 20 or not (distance < 0.15 * min(height, width)).any():
        return Field(*edges, stop_radius=beam)
    # the arm leaves the centre one way: the mean direction of what is hidden
    angle = float(np.arctan2(down[close].sum(), across[close].sum()))
    along = across * np.cos(angle) + down * np.sin(angle)
    off = np.abs(down * np.cos(angle) - across * np.sin(angle))
    arm = close & (along > 0.1 * min(height, width))
    half = float(np.quantile(off[arm], 0.95)) if arm.sum() > 20 else 0.0
    if half > 0.2 * min(height, width):
        half = 0.0
    around = close & (distance < 3.0 * max(half, beam))
    radius = float(np.sqrt(max(around.sum(), 1) / np.pi)) if around.any() else 0.0
    return Field(
        *edges,
        stop_radius=max(beam, min(radius, 0.2 * min(height, width))),
        stop_angle_deg=float(np.degrees(angle)),
        stop_width=2.0 * half,
    )
