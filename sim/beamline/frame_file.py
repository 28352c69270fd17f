"""The HDF5 file of the simulated file-writing detectors: frames, and angles if the scan has no events."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

FRAMES = "/entry/data/data"
"""Dataset of the frames, (N, rows, columns) uint32, one frame per chunk; areaDetector's default path."""

ANGLES = "/entry/instrument/th"
"""Dataset of the rocking angles of a fly scan, (N,) float64 degrees."""

ANGLES_CHUNK = 1024


class FrameFile:
    """One growing file.

    Parameters
    ----------
    path
        Path of the file; its folder must exist.
    frame_shape
        (rows, columns).
    angles
        Whether angles are recorded with the frames.
    swmr
        Single writer, multiple readers: each frame can be read as soon as it is written. Otherwise the file can't be
        opened before it is closed.
    """

    def __init__(self, path: Path, frame_shape: tuple[int, int], *, angles: bool, swmr: bool) -> None:
        self.path = path
        self._file = h5py.File(path, "w", libver="latest")
        self._frames = self._file.create_dataset(
            FRAMES, shape=(0, *frame_shape), maxshape=(None, *frame_shape), chunks=(1, *frame_shape), dtype="<u4"
        )
        self._angles = None
        if angles:
            self._angles = self._file.create_dataset(
                ANGLES, shape=(0,), maxshape=(None,), chunks=(ANGLES_CHUNK,), dtype="<f8"
            )
            self._angles.attrs["units"] = "deg"
        self._file.swmr_mode = swmr

    def append(self, frame: NDArray[np.uint32], angle_deg: float) -> int:
        """Append a frame (and its angle, if the file records angles) and return the number of frames."""
        index = int(self._frames.shape[0])
        if self._angles is not None:
            # the angle first: a reader that sees the frame must also find its angle
            self._angles.resize(index + 1, axis=0)
            self._angles[index] = angle_deg
            self._angles.flush()
        self._frames.resize(index + 1, axis=0)
        self._frames[index] = frame
        self._frames.flush()
        return index + 1

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        self._file.close()
