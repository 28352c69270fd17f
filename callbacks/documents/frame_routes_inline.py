"""Frames that travel inside the event document, and what every route's frames must look like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.documents.frame_routes_hdf5 import stacked
from braggwatch.sim.errors import BraggwatchError


class UnusableFrame(BraggwatchError, ValueError):  # noqa: N818 the name says what is wrong
    """A frame that is no (rows, columns) array of real numbers, or not what the descriptor promised."""


def inline_frame(value: object) -> NDArray[np.generic]:
    """Return the (rows, columns) frame in an event's value; the dtype is the array's own.

    A leading axis is taken as exposures of one point and summed. Nested lists are accepted (JSON recordings).

    Raises
    ------
    UnusableFrame
        For anything that is not a 2D or 3D array of real numbers.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise UnusableFrame(f"the frame is no array: {error}") from error
    if array.dtype.kind not in "uifb":
        raise UnusableFrame(f"a frame needs real numbers, got dtype {array.dtype}")
    if array.ndim == 3 and array.shape[0] > 0:
        array = stacked(array)
    if array.ndim != 2 or 0 in array.shape:
        raise UnusableFrame(f"a frame needs two axes, got shape {array.shape}")
    return array


def check_shape(frame: NDArray[np.generic], stated: tuple[int, int] | None) -> None:
    """Compare a frame with the shape its descriptor states.

    Raises
    ------
    UnusableFrame
        Where they differ.
    """
    if frame.ndim != 2 or (stated is not None and frame.shape != stated):
        raise UnusableFrame(f"frame shape {frame.shape} is not the descriptor's {stated}")


def stated_shape(data_key: object) -> tuple[int, tuple[int, int] | None]:
    """Return exposures per event and (rows, columns) from a descriptor's data key; None where it does not say.

    The shape is ``[rows, columns]`` (inline), ``[1, rows, columns]`` or ``[exposures, rows, columns]``.
    """
    shape = data_key.get("shape") if isinstance(data_key, dict) else None
    if not isinstance(shape, list | tuple) or not all(isinstance(n, int) and n > 0 for n in shape):
        return 1, None
    if len(shape) == 2:
        return 1, (shape[0], shape[1])
    if len(shape) == 3:
        return shape[0], (shape[1], shape[2])
    return 1, None
