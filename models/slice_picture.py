"""A small picture of a model input: three log slices through the peak, side by side, as PNG without a plotting library.

PNG: ISO/IEC 15948, one IHDR, IDAT, IEND chunk each. Colours: the viridis map (Smith and van der Walt 2015, CC0) at
nine stops, read off linearly: perceptually uniform and fit for the colour-blind.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_VIRIDIS_STOPS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    dtype=np.float64,
)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TRUECOLOUR_8BIT = (8, 2, 0, 0, 0)
_GAP_PX = 4


def render_slices(intensity: NDArray[np.float32], *, zoom: int = 4) -> NDArray[np.uint8]:
    """Draw the three central slices with one shared logarithmic scale.

    Parameters
    ----------
    intensity
        (n, n, n) counts, axis 0 along Q.
    zoom
        Pixels a voxel.

    Returns
    -------
    (rows, columns, 3) uint8: left the slice across axis 0 (seen along Q), then across axis 1 and axis 2 with Q
    pointing up.
    """
    volume = np.nan_to_num(np.asarray(intensity, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
    middle = [size // 2 for size in volume.shape]
    slices = (volume[middle[0]], volume[::-1, middle[1], :], volume[::-1, :, middle[2]])
    top = np.log1p(volume.max()) or 1.0
    pictures = [_colour(np.kron(np.log1p(part) / top, np.ones((zoom, zoom)))) for part in slices]
    gap = np.full((pictures[0].shape[0], _GAP_PX, 3), 255, dtype=np.uint8)
    return np.concatenate([pictures[0], gap, pictures[1], gap, pictures[2]], axis=1)


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (rows, columns, 3) uint8 as PNG."""
    rows, columns, _ = pixels.shape
    # Each row is preceded by its filter type, 0: none.
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), pixels.reshape(rows, columns * 3)], axis=1)
    header = struct.pack(">II5B", columns, rows, *_TRUECOLOUR_8BIT)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write (rows, columns, 3) uint8 as a PNG file."""
    path.write_bytes(png_bytes(pixels))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _colour(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    position = values.clip(0.0, 1.0) * (len(_VIRIDIS_STOPS) - 1)
    stops = np.arange(len(_VIRIDIS_STOPS))
    channels = [np.interp(position, stops, _VIRIDIS_STOPS[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
