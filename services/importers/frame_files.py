"""Detector frames in one file per point, found by the number in the file name, never by their order in a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from braggwatch.sim.errors import BraggwatchError

_NAME = re.compile(r"(?:.*?_)?(?:S(?P<scan>\d+)_)?(?P<point>\d+)\.tiff?", re.IGNORECASE)


class FrameFilesError(BraggwatchError, ValueError):
    """The folder's files can't be paired with the points of the scan with certainty."""


def find_frames(folder: Path, scan: int) -> Mapping[int, Path]:
    """Map each zero-based point number to its file, e.g. ``Staff20-1a_S0054_00012.tif`` is point 12 of scan 54.

    Files of other scans in the same folder are skipped.

    Raises
    ------
    FrameFilesError
        If there are none, or two files claim the same point.
    FileNotFoundError
        If the folder does not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None or (match["scan"] is not None and int(match["scan"]) != scan):
            continue
        point = int(match["point"])
        if point in found:
            raise FrameFilesError(f"{found[point].name} and {path.name} both claim point {point} of scan {scan}")
        found[point] = path
    if not found:
        raise FrameFilesError(f"{folder} has no TIFF of scan {scan} (expected names like PREFIX_S{scan:04d}_00000.tif)")
    return found


def read_frame(path: Path) -> NDArray[np.generic]:
    """Read one TIFF as stored: (rows, columns), in the file's dtype, neither transposed nor flipped.

    Raises
    ------
    FrameFilesError
        If the file is not a TIFF, is truncated or doesn't hold exactly one image.
    """
    try:
        frame = np.asarray(tifffile.imread(path))
    except (tifffile.TiffFileError, OSError, ValueError, IndexError) as error:
        raise FrameFilesError(f"{path.name} can't be read: {error}") from error
    if frame.ndim != 2:
        raise FrameFilesError(f"{path.name} holds an array of shape {frame.shape}, not one image")
    return frame
