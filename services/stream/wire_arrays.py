"""Builds numpy values from wire bytes: plain numeric dtypes only, sizes checked before anything is made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from braggwatch.services.stream.rejection import DecoderLimits, RejectedMessage, RejectReason, clip

# Booleans, integers, floats, complex, and fixed-length text. No objects ('O', which numpy pickles), no structures
# ('V', whose fields may be objects), no dates (nothing in a document is one).
_PLAIN_DTYPE = re.compile(r"[<>|=]?(?:b1|\?|[iu][1248]|f[248]|c(?:8|16)|[SU][0-9]{1,6})\Z", re.ASCII)

WireScalar = bool | int | float | complex | str | bytes


def plain_dtype(text: object) -> np.dtype[np.generic]:
    """Turn a dtype string such as ``'<u2'`` into a dtype.

    Raises
    ------
    RejectedMessage
        For anything but a plain numeric or fixed-length text dtype.
    """
    if not isinstance(text, str):
        raise RejectedMessage(RejectReason.FORBIDDEN_DTYPE, "structured or non-text dtype")
    if not _PLAIN_DTYPE.match(text):
        raise RejectedMessage(RejectReason.FORBIDDEN_DTYPE, f"dtype {clip(text)}")
    dtype: np.dtype[np.generic] = np.dtype(text)
    if dtype.itemsize == 0:
        raise RejectedMessage(RejectReason.FORBIDDEN_DTYPE, f"empty dtype {clip(text)}")
    return dtype


def build_array(
    data: object, dtype: np.dtype[np.generic], shape: object, *, fortran: bool, limits: DecoderLimits
) -> NDArray[np.generic]:
    """View wire bytes as a read-only array; no copy is made.

    Parameters
    ----------
    data
        The array's bytes, exactly as many as shape and dtype say.
    shape
        Sequence of non-negative ints.

    Raises
    ------
    RejectedMessage
        Where the shape is not one or disagrees with the bytes.
    """
    sizes = _checked_shape(shape, limits)
    buffer = _checked_bytes(data)
    if prod(sizes) * dtype.itemsize != len(buffer):
        raise RejectedMessage(
            RejectReason.SHAPE, f"shape {sizes} of {dtype.str} needs {prod(sizes) * dtype.itemsize} bytes"
        )
    flat: NDArray[np.generic] = np.frombuffer(buffer, dtype=dtype) if len(buffer) else np.empty(0, dtype=dtype)
    array = flat.reshape(sizes, order="F" if fortran else "C")
    array.flags.writeable = False
    return array


def build_scalar(data: object, dtype: np.dtype[np.generic]) -> WireScalar:
    """Turn a numpy scalar's bytes into the Python number or text it stands for.

    Raises
    ------
    RejectedMessage
        Where the number of bytes is not the dtype's.
    """
    buffer = _checked_bytes(data)
    if len(buffer) != dtype.itemsize:
        raise RejectedMessage(RejectReason.SHAPE, f"scalar of {dtype.str} in {len(buffer)} bytes")
    try:
        value: WireScalar = np.frombuffer(buffer, dtype=dtype)[0].item()
    except (ValueError, UnicodeError) as error:
        raise RejectedMessage(RejectReason.MALFORMED, f"scalar of {dtype.str}") from error
    return value


def _checked_shape(shape: object, limits: DecoderLimits) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or isinstance(shape, (str, bytes, bytearray)):
        raise RejectedMessage(RejectReason.SHAPE, "shape is not a sequence")
    if len(shape) > limits.max_dimensions:
        raise RejectedMessage(RejectReason.SHAPE, f"{len(shape)} dimensions")
    sizes: list[int] = []
    for size in shape:
        if type(size) is not int or not 0 <= size <= limits.max_message_bytes:
            raise RejectedMessage(RejectReason.SHAPE, "dimension is not a sensible size")
        sizes.append(size)
    return tuple(sizes)


def _checked_bytes(data: object) -> bytes | bytearray:
    if not isinstance(data, (bytes, bytearray)):
        raise RejectedMessage(RejectReason.MALFORMED, "array data is not bytes")
    return data
