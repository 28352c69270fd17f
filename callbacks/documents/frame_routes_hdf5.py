"""Reads frames delivered by reference: rows of an HDF5 dataset, once the writer has written them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from urllib.parse import unquote, urlsplit

import h5py
import hdf5plugin  # noqa: F401 # pyright: ignore[reportUnusedImport] importing it registers the compression filters
import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.documents.markers import one_frame
from braggwatch.callbacks.documents.written_rows import (
    NotReadableYet,
    RowNotWritten,
    WrittenRows,
    is_certain,
    is_fill,
)
from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.unlocked_hdf5 import check_not_being_written, open_unlocked

logger = logging.getLogger(__name__)

DEFAULT_DATASET = "/entry/data/data"
"""Where areaDetector's HDF5 plugin writes frames."""


_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class UnusableReference(BraggwatchError, ValueError):  # noqa: N818 the name says what is wrong
    """A reference that will never be readable: unknown format, other host, forbidden path."""


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
        Leading path as stated → as mounted here; the longest match wins, whole path components only. Roots of a Windows
        computer may be written with either separator; case doesn't matter in them.
    allowed_roots
        Only files below these may be read; empty allows any.
    """

    def __init__(self, root_map: Mapping[str, str], allowed_roots: tuple[str, ...]) -> None:
        self._root_map = dict(root_map)
        self._allowed = tuple(Path(root).resolve() for root in allowed_roots)

    def local(self, stated: str, *, windows: bool = False) -> Path:
        """Return the local path.

        Parameters
        ----------
        windows
            The path is one of a Windows computer; one that begins with a drive is taken for that anyway.

        Raises
        ------
        UnusableReference
            If the path is relative, outside the allowed roots, or Windows' own and not mapped.
        """
        windows = windows or _DRIVE.match(stated) is not None
        kind: type[PurePath] = PureWindowsPath if windows else PurePosixPath
        path = kind(stated)
        roots = [(kind(root), Path(here)) for root, here in self._root_map.items()]
        matches = [(root, here) for root, here in roots if path.is_relative_to(root)]
        if not matches and windows:
            raise UnusableReference(
                f"the path {stated!r} is that of a Windows computer: say in assembly.root_map where it is mounted here"
            )
        result = Path(path)
        if matches:
            best, here = max(matches, key=lambda match: len(match[0].parts))
            result = here.joinpath(*path.relative_to(best).parts)
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
        path = unquote(parts.path)
        return self.local(path[1:] if _DRIVE.match(path[1:]) else path)


class Hdf5Reader:
    """Reads rows. SWMR files stay open between reads, others are opened for each read; writers are never locked out.

    A file that its writer has open without SWMR is locked or marked: that raises `NotReadableYet`, never gives zeros.

    Parameters
    ----------
    marks_gaps
        As in `one_frame`.
    """

    def __init__(self, *, marks_gaps: bool = True) -> None:
        self._marks_gaps = marks_gaps
        self._open: dict[Path, h5py.File] = {}
        self._written = WrittenRows()

    def read(self, rows: Hdf5Rows, *, blank_is_written: bool = True) -> NDArray[np.generic]:
        """Return one frame (rows, columns), or a 0-dimensional array for a scalar dataset.

        Parameters
        ----------
        blank_is_written
            False: where HDF5 can't tell whether a row was written, one that holds nothing but the fill value wasn't.

        Raises
        ------
        RowNotWritten
            If this row was not written yet.
        NotReadableYet
            If file or dataset are not there yet or can't be opened while they are written.
        """
        try:
            if rows.swmr:
                file = self._swmr(rows.path)
                if file is not None:
                    return self._cut(self._dataset(file, rows), rows, blank_is_written)
            with open_unlocked(rows.path) as plain:
                dataset = self._dataset(plain, rows)
                check_not_being_written(dataset)
                found = self._cut(dataset, rows, blank_is_written)
                # A writer may have opened the file in between.
                check_not_being_written(dataset)
                return found
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            self._forget(rows.path)
            raise NotReadableYet(f"{rows.path.name}: {error}") from error

    def column(self, path: Path, names: Sequence[str]) -> NDArray[np.generic] | None:
        """Return the first of these datasets with one axis that a file has; None without any, or without the file."""
        try:
            file = self._swmr(path)
            if file is not None:
                return _first_column(file, names)
            with open_unlocked(path) as plain:
                return _first_column(plain, names)
        except (OSError, KeyError, RuntimeError, ValueError, TypeError):
            self._forget(path)
            return None

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

    def _cut(self, dataset: h5py.Dataset, rows: Hdf5Rows, blank_is_written: bool) -> NDArray[np.generic]:
        dataset.id.refresh()
        if dataset.ndim == 2 and rows.index == 0:
            self._written.check(dataset, 0, dataset.shape[0], swmr=rows.swmr)
            return one_frame(np.asarray(dataset[()]), marks_gaps=self._marks_gaps)
        first, last = rows.index * rows.frames_per_event, (rows.index + 1) * rows.frames_per_event
        if dataset.ndim in (0, 2):
            raise KeyError(f"{rows.dataset} has {dataset.ndim} axes")
        if dataset.ndim > 4 or (dataset.ndim == 4 and dataset.shape[-1] != 1):
            first, last = rows.index, rows.index + 1  # exposures have an axis of their own
        if dataset.shape[0] < last:
            raise RowNotWritten(f"{rows.path.name}: {dataset.shape[0]} of {last} rows written")
        self._written.check(dataset, first, last, swmr=rows.swmr)
        block = np.asarray(dataset[first:last])
        if dataset.ndim == 1:
            return np.asarray(block[0] if block.size == 1 else block.mean(dtype=np.float64))
        if not blank_is_written and not is_certain(dataset) and is_fill(block, dataset):
            raise RowNotWritten(f"{rows.path.name}: row {first + 1} is blank, as rows are that were not written yet")
        return one_frame(block, marks_gaps=self._marks_gaps)


def _first_column(file: h5py.File, names: Sequence[str]) -> NDArray[np.generic] | None:
    for name in names:
        dataset = file.get(name)
        if isinstance(dataset, h5py.Dataset) and dataset.ndim == 1:
            dataset.id.refresh()
            return np.asarray(dataset[()])
    return None
