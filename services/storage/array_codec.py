"""Packs model inputs small enough to keep thousands of them: scaled half floats, deflated."""

from __future__ import annotations

import struct
import zlib
from math import prod

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import InputError

# The largest value becomes this: half floats then resolve values down to 2e-9 of it, to 11 bits.
_FULL_SCALE = 32768.0
_HEADER = struct.Struct("<d3I")


def pack_volume(volume: NDArray[np.float32]) -> bytes:
    """Pack a (a, b, c) volume of counts; values keep a relative accuracy of 5e-4."""
    peak = float(np.max(volume, initial=0.0))
    scale = _FULL_SCALE / peak if np.isfinite(peak) and peak > 0 else 1.0
    # in double precision: single can't hold the scale of a very faint volume
    halves = (volume.astype(np.float64) * scale).astype("<f2")
    return _HEADER.pack(scale, *volume.shape) + zlib.compress(halves.tobytes(), level=1)


def unpack_volume(packed: bytes) -> NDArray[np.float32]:
    """Restore what `pack_volume` packed.

    Raises
    ------
    InputError
        Where the bytes are not a packed volume.
    """
    try:
        scale, *shape = _HEADER.unpack_from(packed)
        data = zlib.decompressobj().decompress(packed[_HEADER.size :], 2 * prod(shape))
    except (struct.error, zlib.error, OverflowError) as error:
        raise InputError(f"not a packed volume: {error}") from error
    return np.asarray(np.frombuffer(data, dtype="<f2").reshape(shape).astype(np.float64) / scale, dtype=np.float32)
