"""Frames delivered inside event documents, and checks for frames of every route."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.documents.markers import essential_shape, one_frame
from braggwatch.sim.errors import BraggwatchError


class UnusableFrame(BraggwatchError, ValueError):  # noqa: N818 the name says what is wrong
    """A frame that is not a (rows, columns) array of real numbers, or not as its descriptor states."""


def inline_frame(value: object, *, marks_gaps: bool = True) -> NDArray[np.generic]:
    """Return the (rows, columns) frame in an event's value; the dtype is the array's own.

    A leading axis is taken as exposures of one point and summed; axes of length one don't count. Nested lists are
    accepted (JSON recordings). ``marks_gaps`` as in `one_frame`.

    Raises
    ------
    UnusableFrame
        For anything that is not a 2D or 3D array of real numbers.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise UnusableFrame(f"the frame is not an array: {error}") from error
    if array.dtype.kind not in "uifb":
        raise UnusableFrame(f"a frame needs real numbers, got dtype {array.dtype}")
    try:
        return one_frame(array, marks_gaps=marks_gaps)
    except ValueError as error:
        raise UnusableFrame(f"a frame needs two axes, got shape {array.shape}") from error


def check_shape(frame: NDArray[np.generic], stated: tuple[int, int] | None) -> None:
    """Compare a frame with the shape its descriptor states.

    Raises
    ------
    UnusableFrame
        If they differ.
    """
    if frame.ndim != 2 or (stated is not None and frame.shape != stated):
        raise UnusableFrame(f"frame shape {frame.shape} is not the descriptor's {stated}")


def stated_shape(data_key: object) -> tuple[int, tuple[int, int] | None]:
    """Return exposures per event and (rows, columns) from a descriptor's data key; None where it does not say.

    The shape is ``[rows, columns]`` (inline), ``[1, rows, columns]`` or ``[exposures, rows, columns]``; axes of length
    one before these, or after rows and columns, don't count.
    """
    shape = data_key.get("shape") if isinstance(data_key, dict) else None
    if not isinstance(shape, list | tuple) or not all(isinstance(n, int) and n > 0 for n in shape):
        return 1, None
    shape = essential_shape(tuple(shape))
    if len(shape) == 2:
        return 1, (shape[0], shape[1])
    if len(shape) == 3:
        return shape[0], (shape[1], shape[2])
    return 1, None
