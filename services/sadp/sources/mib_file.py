"""MIB files of Merlin detectors: consecutive frames, each preceded by its own text header.

Header fields as in the manual of the Merlin detector (Quantum Detectors): ``MQ1,frame number,header length,chips,
width,height,depth,...``, comma-separated, padded with zeros to its own length; pixels big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import BraggwatchError

_FIELDS = 7
_LONGEST_HEADER = 1 << 16
_LARGEST_SIDE = 1 << 14
_DEPTHS = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}


class MibError(BraggwatchError, ValueError):
    """The file is not a complete MIB file; the message says why."""


@dataclass(frozen=True, slots=True)
class MibFile:
    """Frames of a file.

    Attributes
    ----------
    frames
        (N, H, W) counts.
    numbers
        (N,) int64 frame numbers from the headers.
    """

    frames: NDArray[np.generic]
    numbers: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Header:
    number: int
    length: int
    width: int
    height: int
    dtype: np.dtype[np.generic]

    @property
    def frame_bytes(self) -> int:
        return self.width * self.height * self.dtype.itemsize


def _header(data: bytes, at: int) -> _Header:
    line = data[at : at + 256].decode("ascii", errors="replace")
    fields = line.split(",")
    if len(fields) <= _FIELDS or not fields[0].startswith("MQ"):
        raise MibError(f"no Merlin header at byte {at}")
    try:
        number, length, width, height = (int(fields[place]) for place in (1, 2, 4, 5))
    except ValueError:
        raise MibError(f"the header at byte {at} lacks integers where they belong: {line[:60]!r}") from None
    depth = fields[6].strip()
    if depth not in _DEPTHS:
        raise MibError(f"pixels of depth {depth!r} (raw mode?) are not supported: save as U08, U16 or U32")
    if not (0 < length <= _LONGEST_HEADER and 0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise MibError(f"the header at byte {at} states {length} bytes and {width} x {height} pixels")
    return _Header(number, length, width, height, np.dtype(_DEPTHS[depth]))


def parse_mib(data: bytes) -> MibFile:
    """Read the frames of a file's bytes.

    Raises
    ------
    MibError
        If a header is invalid, frames differ in size, or the last one is truncated.
    """
    frames: list[NDArray[np.generic]] = []
    numbers: list[int] = []
    at = 0
    first: _Header | None = None
    while at < len(data):
        header = _header(data, at)
        first = header if first is None else first
        if (header.width, header.height, header.dtype) != (first.width, first.height, first.dtype):
            raise MibError(f"frame {header.number} has another size or depth than the first")
        start = at + header.length
        if start + header.frame_bytes > len(data):
            raise MibError(f"frame {header.number} is cut short: {len(data) - start} of {header.frame_bytes} bytes")
        flat = np.frombuffer(data, dtype=header.dtype, count=header.width * header.height, offset=start)
        frames.append(flat.reshape(header.height, header.width).astype(header.dtype.newbyteorder("=")))
        numbers.append(header.number)
        at = start + header.frame_bytes
    if not frames:
        raise MibError("the file is empty")
    return MibFile(np.stack(frames), np.array(numbers, dtype=np.int64))


def read_mib(path: Path) -> MibFile:
    """Read a file; see `parse_mib`."""
    return parse_mib(path.read_bytes())
