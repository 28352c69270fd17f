"""A simulated pattern as a microscope and the spot finding would hand it over, drawn anew at each showing.

Camera length, turn, mirror, ellipse, centre, floor, film response, saturation, beam stop, missing and extra spots act
on lists of spots: a thousandth of the cost of doing it on pictures. Pictures of the very same distribution are drawn by
`braggwatch.sim.sadp.render`.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from braggwatch.models.sadp.lattice_map import (
    COSINE_SLACK,
    LENGTH_SLACK,
    MAP_SHAPE,
    channels_of_one,
    fill_map,
    in_sight,
)
from braggwatch.models.sadp.lattice_search import EXPLAINED_RELATIVE, SEARCHES, mate_weights, search_cells
from braggwatch.models.sadp.plane_lattice import equivalent_bases, index_spots

HALF_SIDE_PX = 128.0
"""Half of the picture's side that noise in pixels refers to."""
_FEWEST = 6
_EXTRA_MOST = 8
SEARCH_TOLERANCE_PX = 0.8
_SAME_SPOT = 0.004
"""Of half the picture's side."""


@dataclass(frozen=True, slots=True)
class MicroscopeSettings:
    """How far patterns are spoilt; widths in pixels refer to a picture of 256.

    Attributes
    ----------
    largest_zoom
        The camera length is up to this times the simulated one.
    ellipticity
        Standard deviation of the stretch along a random direction.
    largest_offset
        Of the direct beam from the middle, share of the side.
    position_sigma_px
        Of each spot; weak ones are up to three times as uncertain.
    centre_sigma_px
        Of the direct beam.
    floor_from, floor_to
        Spots below a share of the brightest, drawn evenly in its logarithm, are not seen.
    gamma_from
        Half of the patterns' intensities are raised to a power from this to 1.05, as film does.
    intensity_sigma
        Largest relative scatter of intensities.
    saturated_share
        Of the patterns; their intensities end at 0.1 to 1 of the brightest.
    stop_share
        Of the patterns that have a beam stop.
    missing
        Largest share of spots not found.
    extra
        Largest mean number of spots that are none.
    gentle_share
        Of the patterns that are spared all this but the floor: what a sharp, well-exposed picture shows is learnt, too.
    aligned_share
        Of the patterns whose Friedel mates are made alike, as along a zone met exactly, whatever was simulated.
    lean
        Largest logarithm of the intensities' tilt to one side, at half the picture's side, of the other patterns.
    """

    largest_zoom: float = 1.6
    ellipticity: float = 0.01
    largest_offset: float = 0.08
    position_sigma_px: float = 0.2
    centre_sigma_px: float = 0.15
    floor_from: float = 1e-4
    floor_to: float = 1e-2
    gamma_from: float = 0.75
    intensity_sigma: float = 0.3
    saturated_share: float = 0.3
    stop_share: float = 0.3
    missing: float = 0.05
    extra: float = 2.0
    gentle_share: float = 0.0
    aligned_share: float = 0.0
    lean: float = 0.0

    def to_array(self) -> NDArray[np.float64]:
        """(16,) float64 in the order of the fields."""
        return np.array(astuple(self), dtype=np.float64)


def undisturbed(floor: float) -> MicroscopeSettings:
    """Return settings that only hide what is weaker than ``floor`` times the brightest spot."""
    return MicroscopeSettings(
        largest_zoom=1.0,
        ellipticity=0.0,
        largest_offset=0.0,
        position_sigma_px=0.0,
        centre_sigma_px=0.0,
        floor_from=floor,
        floor_to=floor,
        gamma_from=1.0,
        intensity_sigma=0.0,
        saturated_share=0.0,
        stop_share=0.0,
        missing=0.0,
        extra=0.0,
    )


def measured_maps(
    spots: NDArray[np.floating],
    seeds: NDArray[np.int64],
    settings: MicroscopeSettings,
    copies: int = 1,
    shape: tuple[int, ...] = MAP_SHAPE,
) -> NDArray[np.float32]:
    """Spoil patterns and make their lattice maps.

    Parameters
    ----------
    spots
        (B, S, 3): x, y in units of half the picture's side, relative intensity; unused rows have intensity 0.
    seeds
        (B,) of each pattern's own random numbers.
    copies
        1: one of the equivalent bases of each lattice at random. More: that many, in order, repeated where there are
        fewer.
    shape
        `MAP_SHAPE`, or `SINGLE_SHAPE` as bundles before 1.3.0 take it.

    Returns
    -------
    NDArray
        (B, copies, *shape) float32; all zero where too little is left to see a lattice.
    """
    maps = np.zeros((len(spots), copies, *shape), dtype=np.float32)
    _measure_all(np.ascontiguousarray(spots, dtype=np.float64), seeds, settings.to_array(), maps)
    return maps


@njit(cache=True, nogil=True)
def _measure_all(
    spots: NDArray[np.float64], seeds: NDArray[np.int64], settings: NDArray[np.float64], maps: NDArray[np.float32]
) -> None:
    for i in range(len(spots)):
        np.random.seed(seeds[i] % 4294967295)  # noqa: NPY002 - numba knows this generator alone
        _measure_one(spots[i], settings, maps[i])


@njit(cache=True, nogil=True)
def _measure_one(spots: NDArray[np.float64], settings: NDArray[np.float64], maps: NDArray[np.float32]) -> None:
    zoom_to, ellipticity, offset, scatter = settings[0], settings[1], settings[2], settings[3]
    centre_scatter, floor_from, floor_to, gamma_from = settings[4], settings[5], settings[6], settings[7]
    unsteady, saturated, stopped, missing, extra = settings[8], settings[9], settings[10], settings[11], settings[12]
    if settings[13] > 0 and np.random.random() < settings[13]:  # noqa: NPY002
        zoom_to, ellipticity, offset, scatter, centre_scatter, gamma_from = 1.0, 0.0, 0.0, 0.0, 0.0, 1.0
        unsteady, saturated, stopped, missing, extra = 0.0, 0.0, 0.0, 0.0, 0.0
    count = 0
    while count < len(spots) and spots[count, 2] > 0:
        count += 1
    if settings[14] > 0 or settings[15] > 0:
        spots = _tilted(spots[:count], settings[14], settings[15])
    matrix = _distortion(ellipticity)
    field = np.zeros(8)
    shift_x = (2.0 * np.random.random() - 1.0) * offset * 2.0 * HALF_SIDE_PX  # noqa: NPY002
    shift_y = (2.0 * np.random.random() - 1.0) * offset * 2.0 * HALF_SIDE_PX  # noqa: NPY002
    field[0], field[1] = -HALF_SIDE_PX - shift_x, HALF_SIDE_PX - shift_x
    field[2], field[3] = -HALF_SIDE_PX - shift_y, HALF_SIDE_PX - shift_y
    if np.random.random() < stopped:  # noqa: NPY002
        field[4] = np.random.random() * 12.0  # noqa: NPY002
        turn = np.random.random() * 2.0 * np.pi  # noqa: NPY002
        field[5], field[6] = np.cos(turn), np.sin(turn)
        field[7] = (3.0 + np.random.random() * 7.0) if np.random.random() < 0.7 else 0.0  # noqa: NPY002
    floor = np.exp(np.log(floor_from) + np.random.random() * np.log(floor_to / floor_from))  # noqa: NPY002
    gamma = 1.0
    if gamma_from < 1.0 and np.random.random() < 0.5:  # noqa: NPY002
        gamma = gamma_from + np.random.random() * (1.05 - gamma_from)  # noqa: NPY002
    unsteady *= np.random.random()  # noqa: NPY002
    top = 0.1 + 0.9 * np.random.random() if np.random.random() < saturated else 1e30  # noqa: NPY002
    missing *= np.random.random()  # noqa: NPY002
    off_x, off_y = centre_scatter * np.random.standard_normal(), centre_scatter * np.random.standard_normal()  # noqa: NPY002
    zoom = 1.0 + np.random.random() * (zoom_to - 1.0)  # noqa: NPY002
    points = np.empty((count + _EXTRA_MOST, 2))
    values = np.empty(count + _EXTRA_MOST)
    seen = 0
    for scale in (zoom * HALF_SIDE_PX, HALF_SIDE_PX):
        seen = 0
        for n in range(count):
            x = scale * (matrix[0, 0] * spots[n, 0] + matrix[0, 1] * spots[n, 1])
            y = scale * (matrix[1, 0] * spots[n, 0] + matrix[1, 1] * spots[n, 1])
            if spots[n, 2] < floor or not in_sight(x, y, field) or np.random.random() < missing:  # noqa: NPY002
                continue
            blur = scatter * min(3.0, 1.0 + np.sqrt(floor / spots[n, 2]))
            points[seen, 0] = x + off_x + blur * np.random.standard_normal()  # noqa: NPY002
            points[seen, 1] = y + off_y + blur * np.random.standard_normal()  # noqa: NPY002
            weaker = spots[n, 2] ** gamma * np.exp(unsteady * np.random.standard_normal())  # noqa: NPY002
            values[seen] = min(weaker, top)
            seen += 1
        if seen >= _FEWEST:
            break
    if extra > 0:
        wrong = min(_EXTRA_MOST, np.random.poisson(extra * np.random.random()))  # noqa: NPY002
        for _ in range(wrong):
            x = field[0] + np.random.random() * (field[1] - field[0])  # noqa: NPY002
            y = field[2] + np.random.random() * (field[3] - field[2])  # noqa: NPY002
            if in_sight(x, y, field) and x * x + y * y > 100.0:
                points[seen, 0], points[seen, 1] = x, y
                values[seen] = floor**gamma * (1.0 + 4.0 * np.random.random())  # noqa: NPY002
                seen += 1
    lattice_to_maps(points[:seen], values[:seen], field, maps)


@njit(cache=True, nogil=True)
def _tilted(spots: NDArray[np.float64], aligned_share: float, lean: float) -> NDArray[np.float64]:
    """Make Friedel mates alike, or tilt intensities to one side: neither must tell what the crystal is."""
    result = spots.copy()
    if np.random.random() < aligned_share:  # noqa: NPY002
        for n in range(len(spots)):
            for other in range(n):
                apart = (spots[n, 0] + spots[other, 0]) ** 2 + (spots[n, 1] + spots[other, 1]) ** 2
                if apart < _SAME_SPOT * _SAME_SPOT:
                    result[n, 2] = result[other, 2] = 0.5 * (spots[n, 2] + spots[other, 2])
        return result
    turn, strength = np.random.random() * 2.0 * np.pi, lean * np.random.random()  # noqa: NPY002
    for n in range(len(spots)):
        along = spots[n, 0] * np.cos(turn) + spots[n, 1] * np.sin(turn)
        result[n, 2] = spots[n, 2] * np.exp(strength * along)
    top = 0.0
    for n in range(len(spots)):
        top = max(top, result[n, 2])
    result[:, 2] /= max(top, 1e-300)
    return result


@njit(cache=True, nogil=True)
def lattice_to_maps(
    points: NDArray[np.float64], values: NDArray[np.float64], field: NDArray[np.float64], maps: NDArray[np.float32]
) -> bool:
    """Find the lattices and fill (copies, 15 or 3, 9, 17) maps in place; False where there is none."""
    seen = len(values)
    cells = np.zeros((SEARCHES, 2, 2))
    indices = np.zeros((seen, 2), dtype=np.int32)
    explained = np.zeros(seen, dtype=np.bool_)
    there = search_cells(
        points, values, mate_weights(points, field, SEARCH_TOLERANCE_PX), SEARCH_TOLERANCE_PX, HALF_SIDE_PX, cells
    )
    channels = channels_of_one(maps.shape[1])
    for place in range(maps.shape[1] // channels):
        if not there[place]:
            continue
        cell = cells[place]
        index_spots(points, cell, SEARCH_TOLERANCE_PX, EXPLAINED_RELATIVE, indices, explained)
        bases = equivalent_bases(cell, LENGTH_SLACK, COSINE_SLACK)
        first = int(np.random.random() * len(bases)) if len(maps) == 1 else 0  # noqa: NPY002
        for copy in range(len(maps)):
            part = maps[copy, place * channels : (place + 1) * channels]
            fill_map(part, cell, bases[(first + copy) % len(bases)], indices, explained, points, values, field)
    return bool(there.any())


@njit(cache=True, nogil=True)
def _distortion(ellipticity: float) -> NDArray[np.float64]:
    """Return a random turn, every other time with a mirror, after a small stretch along a random direction."""
    turn, along = np.random.random() * 2.0 * np.pi, np.random.random() * np.pi  # noqa: NPY002
    stretch = ellipticity * np.random.standard_normal()  # noqa: NPY002
    flip = 1.0 if np.random.random() < 0.5 else -1.0  # noqa: NPY002
    c, s = np.cos(along), np.sin(along)
    ellipse = np.array([[1.0 + stretch * c * c, stretch * c * s], [stretch * c * s, 1.0 + stretch * s * s]])
    turned = np.array([[flip * np.cos(turn), -np.sin(turn)], [flip * np.sin(turn), np.cos(turn)]])
    return turned @ ellipse
