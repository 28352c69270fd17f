"""Arrays stored part by part during a long scan, so that an interrupted scan can resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.whole_file import whole_file


def kept_slice(path: Path | None, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return the array stored by an earlier call, or None if there is no readable one with this shape."""
    if path is None or not path.exists():
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape else None


def keep_slice(path: Path | None, values: NDArray[np.float32]) -> None:
    """Write an array completely or not at all; with None nothing is stored."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, partial.open("wb") as stream:
        np.save(stream, values)
