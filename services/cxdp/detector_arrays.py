"""Read a detector's mask, flat field or dark frame from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.services.settings_error import SettingsError


def read_detector_array(path: Path) -> NDArray[np.generic]:
    """Return the (rows, columns) array of a ``.npy`` or TIFF file.

    Raises
    ------
    SettingsError
        If the file can't be read or isn't a two-dimensional image.
    """
    try:
        if path.suffix == ".npy":
            array: NDArray[np.generic] = np.load(path, allow_pickle=False)
        else:
            import tifffile

            array = np.asarray(tifffile.imread(path))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: not a readable detector array ({error})") from error
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise SettingsError(
            f"{path}: needs a two-dimensional array of numbers, got shape {array.shape}, dtype {array.dtype}"
        )
    return array
