"""Find the spots of a diffraction picture: any size and depth, on any smooth background.

Matched filter (difference of Gaussians as wide as the spots), threshold by the local noise, position by a centroid
under a Gaussian window, intensity by an aperture over the background around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from braggwatch.sim.errors import InputError

_FIRST_SIGMA_PX = 1.3
_WIDER = 2.0
_BLOCK_PX = 32
_QUANTILE = 0.2
_TO_SIGMA = 1.0 / 0.2533
"""Of |x| of a normal distribution: spots, dense as they may be, leave the lower part of a block alone."""
_QUANTISATION = 0.29


@dataclass(frozen=True, slots=True)
class SpotSettings:
    """Knobs of the search.

    Attributes
    ----------
    threshold_sigma
        Smallest response in units of the local noise.
    largest_side_px
        Larger pictures are binned to at most this.
    smallest_sigma_px, largest_sigma_px
        Bounds of the spots' width, which is measured on the brightest ones; in binned pixels.
    most_spots
        The brightest so many are kept.
    """

    threshold_sigma: float = 5.5
    largest_side_px: int = 640
    smallest_sigma_px: float = 0.8
    largest_sigma_px: float = 8.0
    most_spots: int = 400


@dataclass(frozen=True, slots=True)
class Spots:
    """What was found, brightest first.

    Attributes
    ----------
    positions_px
        (N, 2), (x, y), the first pixel's centre at (0, 0), in pixels of the picture as it was given.
    intensity
        (N,) integrated over the spot, background taken off, above zero.
    intensity_sigma, position_sigma_px
        (N,) standard uncertainties.
    saturated
        (N,) bool: the spot has a flat top.
    spot_sigma_px
        Width of the spots.
    """

    positions_px: NDArray[np.float64]
    intensity: NDArray[np.float64]
    intensity_sigma: NDArray[np.float64]
    position_sigma_px: NDArray[np.float64]
    saturated: NDArray[np.bool_]
    spot_sigma_px: float

    def __len__(self) -> int:
        return len(self.intensity)

    def pick(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Spots:
        """Return some of the spots."""
        return Spots(
            self.positions_px[chosen],
            self.intensity[chosen],
            self.intensity_sigma[chosen],
            self.position_sigma_px[chosen],
            self.saturated[chosen],
            self.spot_sigma_px,
        )


def find_spots(
    picture: NDArray[np.generic],
    masked: NDArray[np.bool_] | None = None,
    settings: SpotSettings | None = None,
    background: NDArray[np.float32] | None = None,
) -> Spots:
    """Find the spots of a picture.

    Parameters
    ----------
    picture
        (H, W) of any number type; bright on dark. What isn't finite counts as masked.
    masked
        (H, W) True where nothing is to be found: a scale bar, a beam stop, dead pixels.
    background
        (H, W) to take off first: where it is steep, the edge of a mask would look like spots.

    Raises
    ------
    ValueError
        If the picture isn't two-dimensional or the mask of another shape.
    """
    chosen = SpotSettings() if settings is None else settings
    if picture.ndim != 2 or min(picture.shape) < 16:
        raise InputError(f"expected one picture of at least 16 x 16 pixels, got shape {picture.shape}")
    image = np.ascontiguousarray(picture, dtype=np.float32)
    hidden = ~np.isfinite(image)
    if masked is not None:
        if masked.shape != picture.shape:
            raise ValueError(f"the mask has shape {masked.shape}, the picture {picture.shape}")
        hidden |= masked
    top = float(image[~hidden].max()) if not hidden.all() else 0.0
    quantum = _QUANTISATION if picture.dtype.kind in "iub" else 0.0
    factor = -(-max(image.shape) // chosen.largest_side_px)
    flat_top = image >= top
    if background is not None:
        image = image - background
    if factor > 1:
        image, hidden, flat_top = _binned(image, hidden, flat_top, factor)
        quantum /= factor
    if hidden.any():
        image = _filled(image, hidden)
    image = np.ascontiguousarray(image, dtype=np.float32)
    rough = _candidates(image, hidden, _FIRST_SIGMA_PX, quantum, chosen)
    sigma = _width(image, rough[0], flat_top, chosen) if len(rough[0]) else _FIRST_SIGMA_PX
    places, noise = rough if abs(sigma - _FIRST_SIGMA_PX) < 0.25 else _candidates(image, hidden, sigma, quantum, chosen)
    found = _measure(image, hidden, flat_top, places, noise, sigma)
    found = found[found[:, 2] > np.maximum(3.0 * found[:, 3], 0.0)]
    found = found[np.argsort(-found[:, 2], kind="stable")][: chosen.most_spots]
    # binning took means
    found[:, 2:4] *= factor**2
    return Spots(
        positions_px=found[:, :2] * factor + (factor - 1) / 2.0,
        intensity=found[:, 2],
        intensity_sigma=found[:, 3],
        position_sigma_px=factor * np.maximum(0.05, sigma * found[:, 3] / found[:, 2]),
        saturated=found[:, 4] > 2.5,
        spot_sigma_px=float(sigma * factor),
    )


def _filled(image: NDArray[np.float32], hidden: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Put the surroundings' level in place of hidden pixels, so that a mask has no edge."""
    if hidden.all():
        return np.zeros_like(image)
    filled = np.where(hidden, np.float32(np.median(image[~hidden])), image)
    for sigma in (9.0, 3.0):
        seen = gaussian_filter((~hidden).astype(np.float32), sigma, truncate=2.5)
        level = gaussian_filter(np.where(hidden, 0.0, image).astype(np.float32), sigma, truncate=2.5)
        near = hidden & (seen > 0.02)
        filled[near] = level[near] / seen[near]
    return filled


def _binned(
    image: NDArray[np.float32], hidden: NDArray[np.bool_], flat_top: NDArray[np.bool_], factor: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    rows, columns = (size // factor * factor for size in image.shape)
    blocks = (rows // factor, factor, columns // factor, factor)
    clean = np.where(hidden, 0.0, image)[:rows, :columns].reshape(blocks)
    count = (~hidden)[:rows, :columns].reshape(blocks).sum(axis=(1, 3))
    mean = clean.sum(axis=(1, 3)) / np.maximum(count, 1)
    saturated = np.asarray(flat_top[:rows, :columns].reshape(blocks).all(axis=(1, 3)), dtype=np.bool_)
    return mean.astype(np.float32), count == 0, saturated


def _candidates(
    image: NDArray[np.float32], hidden: NDArray[np.bool_], sigma: float, quantum: float, settings: SpotSettings
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Peaks of the matched filter, (M, 2) as (x, y), and the noise of its response in each of them."""
    narrow = _smoothed(image, sigma)
    response = narrow - _smoothed(narrow, _WIDER * sigma)
    reach = int(np.ceil(2.0 * sigma))
    if hidden.any():
        # beside a mask the filter sees its edge
        response[gaussian_filter(hidden.astype(np.float32), sigma, truncate=2.0) > 0.05] = 0.0
    floor = max(quantum / (2.0 * np.sqrt(np.pi) * sigma) / settings.threshold_sigma * 3.0, 1e-6 * float(response.max()))
    noise = np.maximum(_block_noise(response), np.float32(floor))
    places = _peaks(response, noise, settings.threshold_sigma, reach, settings.most_spots * 2)
    return places, _at_blocks(noise, places) * np.float32(2.0 * np.sqrt(np.pi) * sigma)


def _smoothed(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(gaussian_filter(image, sigma, mode="nearest", truncate=3.0), dtype=np.float32)


def _at_blocks(noise: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
    rows = np.minimum(places[:, 1] // _BLOCK_PX, noise.shape[0] - 1)
    return noise[rows, np.minimum(places[:, 0] // _BLOCK_PX, noise.shape[1] - 1)]


def _width(
    image: NDArray[np.float32], places: NDArray[np.int64], flat_top: NDArray[np.bool_], settings: SpotSettings
) -> float:
    # a flat top says little of the width, and may have many peaks
    whole = places[~flat_top[places[:, 1], places[:, 0]]]
    widths = _half_widths(
        image, whole[:24] if len(whole) else places[:24], int(np.ceil(3.0 * settings.largest_sigma_px))
    )
    widths = widths[widths > 0]
    if not len(widths):
        return _FIRST_SIGMA_PX
    # area above half the peak of a Gaussian: 2 pi ln 2 sigma²
    sigma = float(np.sqrt(np.median(widths) / (2.0 * np.pi * np.log(2.0))))
    return min(max(sigma, settings.smallest_sigma_px), settings.largest_sigma_px)


def _block_noise(response: NDArray[np.float32]) -> NDArray[np.float32]:
    noise = _block_levels(response, _BLOCK_PX) * np.float32(_TO_SIGMA)
    quiet = np.float32(0.5) * np.float32(np.median(noise))
    return np.maximum(noise, quiet)


@njit(cache=True, nogil=True)
def _block_levels(response: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    rows, columns = max(1, response.shape[0] // block), max(1, response.shape[1] // block)
    result = np.empty((rows, columns), dtype=np.float32)
    for row in range(rows):
        bottom = response.shape[0] if row == rows - 1 else (row + 1) * block
        for column in range(columns):
            right = response.shape[1] if column == columns - 1 else (column + 1) * block
            values = np.sort(np.abs(response[row * block : bottom : 2, column * block : right : 2].copy().ravel()))
            result[row, column] = values[int(_QUANTILE * len(values))]
    return result


@njit(cache=True, nogil=True)
def _peaks(
    response: NDArray[np.float32], noise: NDArray[np.float32], threshold: float, reach: int, most: int
) -> NDArray[np.int64]:
    height, width = response.shape
    block = 32
    xs = np.empty(height * width // 4 + 1, dtype=np.int64)
    ys = np.empty_like(xs)
    values = np.empty(len(xs), dtype=np.float32)
    total = 0
    for y in range(1, height - 1):
        block_row = min(y // block, noise.shape[0] - 1)
        for x in range(1, width - 1):
            here = response[y, x]
            if here <= threshold * noise[block_row, min(x // block, noise.shape[1] - 1)]:
                continue
            if here < response[y, x - 1] or here <= response[y, x + 1]:
                continue
            if here < response[y - 1, x] or here <= response[y + 1, x]:
                continue
            if (
                here < response[y - 1, x - 1]
                or here < response[y - 1, x + 1]
                or here <= response[y + 1, x - 1]
                or here <= response[y + 1, x + 1]
            ):
                continue
            if total < len(xs):
                xs[total], ys[total], values[total] = x, y, here
                total += 1
    order = np.argsort(-values[:total])
    result = np.empty((min(total, most), 2), dtype=np.int64)
    taken = np.zeros((height, width), dtype=np.bool_)
    kept = 0
    for n in order:
        x, y = xs[n], ys[n]
        if taken[y, x]:
            continue
        result[kept, 0], result[kept, 1] = x, y
        kept += 1
        if kept == len(result):
            break
        for row in range(max(0, y - reach), min(height, y + reach + 1)):
            for column in range(max(0, x - reach), min(width, x + reach + 1)):
                if (row - y) ** 2 + (column - x) ** 2 <= reach * reach:
                    taken[row, column] = True
    return result[:kept]


@njit(cache=True, nogil=True)
def _half_widths(image: NDArray[np.float32], places: NDArray[np.int64], reach: int) -> NDArray[np.float64]:
    """Area above half of each peak over its surroundings, grown from the peak, in pixels; 0: too large."""
    height, width = image.shape
    result = np.zeros(len(places))
    stack = np.empty(((2 * reach + 1) ** 2 * 4 + 4, 2), dtype=np.int64)
    for n in range(len(places)):
        x0, y0 = places[n, 0], places[n, 1]
        left, right = max(0, x0 - reach), min(width, x0 + reach + 1)
        up, down = max(0, y0 - reach), min(height, y0 + reach + 1)
        window = image[up:down, left:right]
        coarse = np.sort(window[::4, ::4].copy().ravel())
        low = coarse[len(coarse) // 4]
        half = 0.5 * (image[y0, x0] + low)
        seen = np.zeros((down - up, right - left), dtype=np.bool_)
        stack[0, 0], stack[0, 1] = y0 - up, x0 - left
        seen[y0 - up, x0 - left] = True
        top, area = 1, 0
        touches = False
        while top > 0:
            top -= 1
            row, column = stack[top, 0], stack[top, 1]
            area += 1
            for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                r, c = row + dr, column + dc
                if r < 0 or c < 0 or r >= seen.shape[0] or c >= seen.shape[1]:
                    touches = True
                elif not seen[r, c] and window[r, c] > half:
                    seen[r, c] = True
                    stack[top, 0], stack[top, 1] = r, c
                    top += 1
        result[n] = 0.0 if touches else area
    return result


@njit(cache=True, nogil=True)
def _measure(
    image: NDArray[np.float32],
    hidden: NDArray[np.bool_],
    flat_top: NDArray[np.bool_],
    places: NDArray[np.int64],
    noise: NDArray[np.float32],
    sigma: float,
) -> NDArray[np.float64]:
    """(M, 5): x, y, intensity, its uncertainty, pixels of a flat top."""
    height, width = image.shape
    reach = int(np.ceil(2.5 * sigma))
    outer = int(np.ceil(4.0 * sigma)) + 1
    result = np.zeros((len(places), 5))
    ring = np.empty((2 * outer + 1) ** 2)
    for n in range(len(places)):
        x, y = float(places[n, 0]), float(places[n, 1])
        x0, y0 = places[n, 0], places[n, 1]
        count = 0
        for row in range(max(0, y0 - outer), min(height, y0 + outer + 1)):
            for column in range(max(0, x0 - outer), min(width, x0 + outer + 1)):
                distance = (row - y0) ** 2 + (column - x0) ** 2
                if distance > (3.0 * sigma + 0.5) ** 2 and not hidden[row, column]:
                    ring[count] = image[row, column]
                    count += 1
        # neighbours reach into the ring: its lower part is background
        level = np.sort(ring[:count])[int(0.4 * count)] if count else 0.0
        for _ in range(4):
            total, sx, sy = 0.0, 0.0, 0.0
            for row in range(max(0, y0 - reach), min(height, y0 + reach + 1)):
                for column in range(max(0, x0 - reach), min(width, x0 + reach + 1)):
                    if hidden[row, column]:
                        continue
                    window = np.exp(-((row - y) ** 2 + (column - x) ** 2) / (2.0 * sigma * sigma))
                    value = max(0.0, image[row, column] - level) * window
                    total += value
                    sx += value * column
                    sy += value * row
            if total <= 0:
                break
            # the window halves the shift of a spot as wide as itself
            x = min(max(x + 2.0 * (sx / total - x), x0 - sigma - 1.0), x0 + sigma + 1.0)
            y = min(max(y + 2.0 * (sy / total - y), y0 - sigma - 1.0), y0 + sigma + 1.0)
        inside, intensity, flat = 0, 0.0, 0
        for row in range(max(0, y0 - reach), min(height, y0 + reach + 1)):
            for column in range(max(0, x0 - reach), min(width, x0 + reach + 1)):
                if (row - y) ** 2 + (column - x) ** 2 <= (2.5 * sigma) ** 2 and not hidden[row, column]:
                    intensity += image[row, column] - level
                    inside += 1
                    flat += int(flat_top[row, column])
        result[n, 0], result[n, 1], result[n, 2] = x, y, intensity
        result[n, 3] = noise[n] * np.sqrt(max(inside, 1))
        result[n, 4] = flat
    return result
