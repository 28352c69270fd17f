"""Tells whether rows of an HDF5 dataset were written: where they were not, HDF5 reads fill values without an error."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import h5py
import numpy as np
from h5py import h5d, h5s  # pyright: ignore[reportAttributeAccessIssue] h5py's types lack the first
from numpy.typing import NDArray

from braggwatch.sim.errors import BraggwatchError
from braggwatch.sim.unlocked_hdf5 import open_unlocked

# A frame is seldom cut into more chunks; of more, so many are looked at.
_MOST_CHUNKS = 256
_DEEPEST = 4
_FILE_NUMBER = "%b"


class NotReadableYet(BraggwatchError):  # noqa: N818 not an error: try again later
    """The file or the rows are not there yet; try again."""


class RowNotWritten(NotReadableYet):
    """The file can be read, this row of it can't yet: others may be there."""


class _Space(Protocol):
    """What is used of h5py's selections, which has no types."""

    def get_select_type(self) -> int: ...
    def is_regular_hyperslab(self) -> bool: ...
    def get_regular_hyperslab(
        self,
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]: ...
    def get_select_bounds(self) -> tuple[tuple[int, ...], tuple[int, ...]]: ...


class _CreationProperties(Protocol):
    def get_layout(self) -> int: ...
    def get_alloc_time(self) -> int: ...
    def get_virtual_count(self) -> int: ...
    def get_virtual_vspace(self, index: int) -> _Space: ...
    def get_virtual_srcspace(self, index: int) -> _Space: ...
    def get_virtual_filename(self, index: int) -> str: ...
    def get_virtual_dsetname(self, index: int) -> str: ...


class WrittenRows:
    """Checks rows before they are read; remembers the sources of virtual datasets between calls."""

    def __init__(self) -> None:
        self._maps: dict[tuple[str, str], tuple[int, tuple[_Source, ...]]] = {}

    def check(self, dataset: h5py.Dataset, first: int, last: int, *, swmr: bool, depth: int = 0) -> None:
        """Make sure that rows ``first`` to ``last`` (exclusive) were written, wherever they lie.

        Chunks must be allocated; the source files of a virtual dataset must be there, and hold the rows in turn.

        Raises
        ------
        RowNotWritten
            If they were not.
        OSError, KeyError
            If a source can't be opened.
        """
        properties = _properties(dataset)
        layout = properties.get_layout()
        if layout == h5d.VIRTUAL:
            self._check_virtual(dataset, properties, first, last, swmr=swmr, depth=depth)
        elif layout == h5d.CHUNKED:
            _check_chunks(dataset, first, last)
        elif layout == h5d.CONTIGUOUS and not dataset.external and dataset.id.get_offset() is None:
            raise RowNotWritten(f"{_file(dataset)}: nothing of {dataset.name} was written yet")

    def _check_virtual(
        self, dataset: h5py.Dataset, properties: _CreationProperties, first: int, last: int, *, swmr: bool, depth: int
    ) -> None:
        if depth >= _DEEPEST:
            raise KeyError(f"{dataset.name} maps onto virtual datasets more than {_DEEPEST} deep")
        sources = self._sources(dataset, properties)
        for row in range(first, last):
            found = [place for source in sources if (place := source.place(row)) is not None]
            if not found:
                raise RowNotWritten(f"{_file(dataset)}: no file holds row {row + 1} of the virtual {dataset.name}")
            for name, path, source_row in found:
                self._check_source(dataset, name, path, source_row, swmr=swmr, depth=depth)

    def _sources(self, dataset: h5py.Dataset, properties: _CreationProperties) -> tuple[_Source, ...]:
        key, count = (str(dataset.file.filename), str(dataset.name)), properties.get_virtual_count()
        known = self._maps.get(key)
        if known is None or known[0] != count:
            known = self._maps[key] = count, tuple(_Source.of(properties, index) for index in range(count))
        return known[1]

    def _check_source(self, dataset: h5py.Dataset, name: str, path: str, row: int, *, swmr: bool, depth: int) -> None:
        if name == ".":
            self._check_rows(dataset, dataset.file[path], row, swmr=swmr, depth=depth)
            return
        container = Path(dataset.file.filename).parent
        places = (container / name, container / Path(name).name, Path(name))
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise RowNotWritten(f"{_file(dataset)}: its file {Path(name).name} is not there")
        with _opened(place, swmr=swmr) as file:
            if path not in file:
                raise RowNotWritten(f"{_file(dataset)}: its file {place.name} has no {path} yet")
            self._check_rows(dataset, file[path], row, swmr=swmr, depth=depth)

    def _check_rows(self, dataset: h5py.Dataset, source: object, row: int, *, swmr: bool, depth: int) -> None:
        if not isinstance(source, h5py.Dataset) or source.ndim == 0:
            raise KeyError(f"{dataset.name} maps onto something that has no frames")
        # A source may hold a single frame, without an axis of frames.
        row = row if source.ndim == dataset.ndim else 0
        if source.shape[0] <= row:
            raise RowNotWritten(f"{_file(source)}: {source.shape[0]} of {row + 1} rows written")
        self.check(source, row, row + 1, swmr=swmr, depth=depth + 1)


def is_certain(dataset: h5py.Dataset) -> bool:
    """Tell whether HDF5 knows of each row by itself whether it was written: one chunk a row, allocated by writing."""
    properties = _properties(dataset)
    layout = properties.get_layout()
    if layout == h5d.VIRTUAL:
        return True
    chunks = cast("tuple[int, ...] | None", dataset.chunks)
    return chunks is not None and chunks[0] == 1 and properties.get_alloc_time() != h5d.ALLOC_TIME_EARLY


def is_fill(block: NDArray[np.generic], dataset: h5py.Dataset) -> bool:
    """Tell whether rows hold nothing but the dataset's fill value."""
    return bool((block == dataset.fillvalue).all())


@dataclass(frozen=True, slots=True)
class _Selection:
    """A regular selection along the first axis: blocks of ``block`` rows, one each ``stride`` rows.

    ``count`` blocks; None for a selection without end.
    """

    start: int = 0
    stride: int = 1
    block: int = 1
    count: int | None = None

    @classmethod
    def of(cls, space: _Space) -> _Selection:
        if space.get_select_type() == h5s.SEL_ALL:
            return cls()
        if not space.is_regular_hyperslab():
            low, high = space.get_select_bounds()
            return cls(int(low[0]), int(high[0] - low[0]) + 1, int(high[0] - low[0]) + 1, 1)
        start, stride, count, block = (int(values[0]) for values in space.get_regular_hyperslab())
        if block >= h5s.UNLIMITED:
            return cls(start)
        # A single block is read back with a stride of one, whatever its length.
        return cls(start, max(stride, block), block, None if count >= h5s.UNLIMITED else count)

    def place(self, row: int) -> tuple[int, int] | None:
        """Return the number of the row's block and its place there; None if it isn't selected."""
        number, within = divmod(row - self.start, self.stride)
        if row < self.start or within >= self.block or (self.count is not None and number >= self.count):
            return None
        return number, within

    def row(self, place: int) -> int:
        """Return the row at a place of the selection, from 0."""
        number, within = divmod(place, self.block)
        return self.start + number * self.stride + within


@dataclass(frozen=True, slots=True)
class _Source:
    """One mapping of a virtual dataset."""

    name: str
    path: str
    virtual: _Selection
    source: _Selection

    @classmethod
    def of(cls, properties: _CreationProperties, index: int) -> _Source:
        virtual, source = properties.get_virtual_vspace(index), properties.get_virtual_srcspace(index)
        return cls(
            properties.get_virtual_filename(index),
            properties.get_virtual_dsetname(index),
            _Selection.of(virtual),
            _Selection.of(source),
        )

    def place(self, row: int) -> tuple[str, str, int] | None:
        """Return file, dataset and row there of a row of the virtual dataset; None if it is none of this mapping's."""
        found = self.virtual.place(row)
        if found is None:
            return None
        number, within = found
        numbered = _FILE_NUMBER in self.name or _FILE_NUMBER in self.path
        name, path = (text.replace(_FILE_NUMBER, str(number)) for text in (self.name, self.path))
        place = within if numbered else number * self.virtual.block + within
        return name, path, self.source.row(place)


def _check_chunks(dataset: h5py.Dataset, first: int, last: int) -> None:
    chunks, shape = cast("tuple[int, ...]", dataset.chunks), dataset.shape
    rows = range(first // chunks[0] * chunks[0], last, chunks[0])
    others = [range(0, length, step) for length, step in zip(shape[1:], chunks[1:], strict=True)]
    for corner in itertools.islice(itertools.product(rows, *others), _MOST_CHUNKS):
        # None, too, while a dataset is open twice in this process and was refreshed: HDF5 then takes all its chunks for
        # the first, and would read another row. It is right again once the other has closed it.
        if dataset.id.get_chunk_info_by_coord(corner).byte_offset is None:
            raise RowNotWritten(f"{_file(dataset)}: row {first + 1} of {dataset.name} was not written yet")


def _opened(path: Path, *, swmr: bool) -> h5py.File:
    try:
        return open_unlocked(path, swmr=swmr)
    except (OSError, ValueError):
        # HDF5 shares open files within a process and has opened it the other way.
        return open_unlocked(path, swmr=not swmr)


def _properties(dataset: h5py.Dataset) -> _CreationProperties:
    return cast("_CreationProperties", dataset.id.get_create_plist())


def _file(dataset: h5py.Dataset) -> str:
    return Path(dataset.file.filename).name
