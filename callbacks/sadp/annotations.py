"""Finds what is not diffraction in a picture: scale bar, lettering, pointer or beam stop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, label, median_filter

_BAR_ASPECT = 3.0
_BAR_FILL = 0.75
_LARGEST_LETTER = 0.06
_STOP_DARKNESS = 0.4
_STOP_AREA = 0.004


def find_annotations(picture: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Mark scale bars and the lettering beside them, drawn in the picture's largest or smallest value.

    A spot that saturates is round and has a slope; a bar is long, straight and ends from one pixel to the next.

    Parameters
    ----------
    picture
        (H, W) of any number type.

    Returns
    -------
    NDArray
        (H, W) bool, True on the annotation and one pixel around it.
    """
    image = np.asarray(picture, dtype=np.float32)
    marked = np.zeros(image.shape, dtype=np.bool_)
    finite = np.isfinite(image)
    if not finite.any():
        return marked
    low, high = float(image[finite].min()), float(image[finite].max())
    if high <= low:
        return marked
    for value in (high, low):
        flat = image == value
        # a dark picture is mostly at its smallest value: that is background, not ink
        if flat.mean() < 0.1:
            marked |= _drawn(image, flat, value, 0.5 * (high - low))
    return np.asarray(binary_dilation(marked, iterations=1), dtype=np.bool_) if marked.any() else marked


def _numbered(marked: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Label the connected parts of a mask from 1, with diagonal neighbours connected."""
    numbers = np.zeros(marked.shape, dtype=np.int32)
    label(marked, structure=np.ones((3, 3)), output=numbers)
    return numbers


def _drawn(image: NDArray[np.float32], flat: NDArray[np.bool_], value: float, step: float) -> NDArray[np.bool_]:
    numbers = _numbered(flat)
    boxes = [box for box in find_objects(numbers) if box is not None]
    side = max(image.shape)
    drawn = np.zeros(image.shape, dtype=np.bool_)
    for number, box in enumerate(boxes, start=1):
        height, width = (part.stop - part.start for part in box)
        long, short = max(height, width), min(height, width)
        fill = float((numbers[box] == number).mean())
        if long < 0.04 * side or long < _BAR_ASPECT * short or fill < _BAR_FILL:
            continue
        if not _sharp(image, box, value, step):
            continue
        drawn[box] = True
        # lettering stands above or below its bar, no farther than the bar is long
        reach = min(long, int(0.15 * side))
        near = (
            slice(max(0, box[0].start - reach), box[0].stop + reach),
            slice(max(0, box[1].start - reach // 4), box[1].stop + reach // 4),
        )
        drawn[near] |= _letters(numbers[near], _LARGEST_LETTER * side)
    return drawn


def _sharp(image: NDArray[np.float32], box: tuple[slice, ...], value: float, step: float) -> bool:
    """Whether most of what surrounds a box differs by more than half the picture's range."""
    rows, columns = box
    grown = (slice(max(0, rows.start - 1), rows.stop + 1), slice(max(0, columns.start - 1), columns.stop + 1))
    outside = np.ones(image[grown].shape, dtype=np.bool_)
    top, left = rows.start - grown[0].start, columns.start - grown[1].start
    outside[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start] = False
    return bool((np.abs(image[grown][outside] - value) > step).mean() > 0.7)


def _letters(numbers: NDArray[np.int32], largest: float) -> NDArray[np.bool_]:
    marked = np.zeros(numbers.shape, dtype=np.bool_)
    for number, box in enumerate(find_objects(numbers), start=1):
        if box is not None and max(part.stop - part.start for part in box) <= largest:
            marked[box] |= numbers[box] == number
    return marked


def find_beam_stop(picture: NDArray[np.generic], x_px: float, y_px: float, spot_sigma_px: float) -> NDArray[np.bool_]:
    """Mark the shadow of a beam stop or pointer: dark where the opposite point about the direct beam is not.

    Background and spots are alike on both sides of the direct beam. A shadow that reaches it hides the centre on both
    sides, so that a disc as wide as the shadow is marked there.

    Parameters
    ----------
    picture
        (H, W) of any number type.
    x_px, y_px
        The direct beam.
    spot_sigma_px
        Width of the spots: a shadow is larger.

    Returns
    -------
    NDArray
        (H, W) bool; all False where there is no background for a shadow to show on.
    """
    step = max(2, round(3.0 * spot_sigma_px))
    image = np.nan_to_num(np.asarray(picture, dtype=np.float32), posinf=0.0, neginf=0.0)
    height, width = (size // step for size in image.shape)
    blocks = image[: height * step, : width * step].reshape(height, step, width, step).swapaxes(1, 2)
    # the lower part of a block is background, with spots or without
    small = np.partition(blocks.reshape(height, width, step * step), step * step // 5, axis=2)[:, :, step * step // 5]
    small = median_filter(small, size=3, mode="nearest")
    x, y = (x_px - (step - 1) / 2.0) / step, (y_px - (step - 1) / 2.0) / step
    rows, columns = np.mgrid[:height, :width]
    mirrored_rows, mirrored_columns = np.rint(2 * y - rows).astype(int), np.rint(2 * x - columns).astype(int)
    inside = (mirrored_rows >= 0) & (mirrored_rows < height) & (mirrored_columns >= 0) & (mirrored_columns < width)
    opposite = np.zeros_like(small)
    opposite[inside] = small[mirrored_rows[inside], mirrored_columns[inside]]
    noise = 1.0 + np.sqrt(np.maximum(opposite, 0.0)) / 2.0
    dark = inside & (small < _STOP_DARKNESS * opposite) & (opposite - small > 3.0 * noise)
    result = np.zeros(image.shape, dtype=np.bool_)
    if dark.mean() < _STOP_AREA:
        return result
    numbers = _numbered(dark)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    mask = (sizes > _STOP_AREA * small.size)[numbers]
    if not mask.any():
        return result
    distance = np.hypot(rows - y, columns - x)
    if float(distance[mask].min()) < 0.15 * max(height, width):
        mask |= distance < distance[mask].min() + 1.0
    mask = np.asarray(binary_dilation(mask))
    result[: height * step, : width * step] = np.repeat(np.repeat(mask, step, axis=0), step, axis=1)
    return result
