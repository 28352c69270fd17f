"""Frames that travel as references: rows of an HDF5 dataset, read when the writer has got that far."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import h5py
import hdf5plugin  # noqa: F401 # pyright: ignore[reportUnusedImport] importing it registers the compression filters
import numpy as np
from numpy.typing import NDArray

from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.unlocked_hdf5 import check_not_being_written, open_unlocked

logger = logging.getLogger(__name__)

DEFAULT_DATASET = "/entry/data/data"
"""Where areaDetector's HDF5 plugin writes frames."""


class NotReadableYet(BraggwatchError):  # noqa: N818 not an error: try again later
    """The file or the rows are not there yet; try again."""


class UnusableReference(BraggwatchError, ValueError):  # noqa: N818 the name says what is wrong
    """A reference that no waiting will make readable: unknown format, other host, forbidden path."""


@dataclass(frozen=True, slots=True)
class Hdf5Rows:
    """One frame, or one scalar, of a dataset.

    Attributes
    ----------
    index
        Zero-based event of this file.
    frames_per_event
        Rows of the dataset that make one event; their counts are summed.
    swmr
        Whether the file may be read while it is written.
    """

    path: Path
    dataset: str
    index: int
    frames_per_event: int
    swmr: bool


class PathMap:
    """Turns the paths that documents state into paths on this machine.

    Parameters
    ----------
    root_map
        Leading path as stated → as mounted here; the longest match wins, whole path components only.
    allowed_roots
        Only files below these may be read; empty allows any.
    """

    def __init__(self, root_map: Mapping[str, str], allowed_roots: tuple[str, ...]) -> None:
        self._root_map = {PurePosixPath(stated): Path(here) for stated, here in root_map.items()}
        self._allowed = tuple(Path(root).resolve() for root in allowed_roots)

    def local(self, stated: str) -> Path:
        """Return the local path.

        Raises
        ------
        UnusableReference
            Where the path is relative or outside the allowed roots.
        """
        path = PurePosixPath(stated)
        matches = [root for root in self._root_map if path.is_relative_to(root)]
        best = max(matches, key=lambda root: len(root.parts), default=None)
        result = Path(path) if best is None else self._root_map[best] / path.relative_to(best)
        if not result.is_absolute():
            raise UnusableReference(f"the path {stated!r} is relative")
        if self._allowed and not any(result.resolve().is_relative_to(root) for root in self._allowed):
            raise UnusableReference(f"the path {str(result)!r} is outside the allowed roots")
        return result

    def from_uri(self, uri: str) -> Path:
        """Return the local path of a ``file://localhost/…`` URI.

        Raises
        ------
        UnusableReference
            For another scheme or host, or as in `local`.
        """
        parts = urlsplit(uri)
        if parts.scheme != "file" or parts.hostname not in (None, "localhost"):
            raise UnusableReference(f"only file://localhost/ can be read, not {uri!r:.200}")
        return self.local(unquote(parts.path))


class Hdf5Reader:
    """Reads rows. SWMR files stay open between reads, others are opened for one read; no writer is ever locked out.

    A file that its writer holds open without SWMR is locked or marked by it: that is `NotReadableYet`, never zeros.
    """

    def __init__(self) -> None:
        self._open: dict[Path, h5py.File] = {}

    def read(self, rows: Hdf5Rows) -> NDArray[np.generic]:
        """Return one frame (rows, columns), or a 0-dimensional array for a scalar dataset.

        Raises
        ------
        NotReadableYet
            Where file, dataset or rows are not there yet or can't be opened while they are written.
        """
        try:
            if rows.swmr:
                file = self._swmr(rows.path)
                if file is not None:
                    return self._cut(self._dataset(file, rows), rows)
            with open_unlocked(rows.path) as plain:
                dataset = self._dataset(plain, rows)
                check_not_being_written(dataset)
                found = self._cut(dataset, rows)
                # A writer may have come in between, as nothing keeps it out.
                check_not_being_written(dataset)
                return found
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            self._forget(rows.path)
            raise NotReadableYet(f"{rows.path.name}: {error}") from error

    def close(self) -> None:
        """Close every file."""
        for path in list(self._open):
            self._forget(path)

    def _swmr(self, path: Path) -> h5py.File | None:
        if path not in self._open:
            try:
                self._open[path] = open_unlocked(path, swmr=True)
            except (OSError, ValueError):
                return None
        return self._open[path]

    def _forget(self, path: Path) -> None:
        file = self._open.pop(path, None)
        if file is None:
            return
        try:
            file.close()
        except (OSError, RuntimeError):
            logger.warning("closing %s failed", path, exc_info=True)

    @staticmethod
    def _dataset(file: h5py.File, rows: Hdf5Rows) -> h5py.Dataset:
        dataset = file[rows.dataset]
        if not isinstance(dataset, h5py.Dataset):
            raise KeyError(f"{rows.dataset} is not a dataset")
        return dataset

    @staticmethod
    def _cut(dataset: h5py.Dataset, rows: Hdf5Rows) -> NDArray[np.generic]:
        dataset.id.refresh()
        if dataset.ndim in (1, 3):
            first, last = rows.index * rows.frames_per_event, (rows.index + 1) * rows.frames_per_event
            if dataset.shape[0] < last:
                raise NotReadableYet(f"{rows.path.name}: {dataset.shape[0]} of {last} rows written")
            block = np.asarray(dataset[first:last])
            if dataset.ndim == 1:
                return np.asarray(block[0] if block.size == 1 else block.mean(dtype=np.float64))
        elif dataset.ndim == 4:
            if dataset.shape[0] <= rows.index:
                raise NotReadableYet(f"{rows.path.name}: {dataset.shape[0]} of {rows.index + 1} events written")
            block = np.asarray(dataset[rows.index])
        elif dataset.ndim == 2 and rows.index == 0:
            return np.asarray(dataset[()])
        else:
            raise KeyError(f"{rows.dataset} has {dataset.ndim} axes")
        return stacked(block)


def stacked(block: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the sum over axis 0 of the exposures of one event, the one exposure itself where there is one.

    Sums of integers widen to 64 bits of the same signedness, so that no count is lost; a pixel saturated in one
    exposure stays at or above the saturation level.
    """
    if block.shape[0] == 1:
        return block[0]
    if block.dtype.kind == "f":
        return block.sum(axis=0, dtype=np.float64)
    return block.sum(axis=0, dtype=np.uint64 if block.dtype.kind in "ub" else np.int64)
