"""The frames of one run in one array, filled by index, within a stated number of bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.run.frame_mirror import FrameMirror
from braggwatch.callbacks.cxdp.run.region import Region, brightest_block, centred_region, whole
from braggwatch.callbacks.documents.assembly_settings import AssemblySettings
from braggwatch.sim.errors import BraggwatchError

FIRST_CAPACITY = 64
"""Frames to make room for where the plan does not say how many will come."""


class InconsistentFrame(BraggwatchError, ValueError):  # noqa: N818 the name says what is wrong with the frame
    """A frame that can't belong to this run: another shape or dtype, not a real 2D array, or too many frames."""


class Volume:
    """Preallocated (N, rows, columns) counts of one run with a mask of the frames that are there.

    Frames that fit into ``max_run_bytes`` are kept whole. Larger ones are cut to the configured region, or to one
    about the brightest block of the first ``region_search_frames``. Where a later, brighter frame has its peak
    outside that region's middle half, the region moves there and the frames cut before count as absent: their
    pixels are gone, and saying so is better than passing zeros for counts. A mirror is told of each frame kept.
    """

    def __init__(
        self,
        settings: AssemblySettings,
        expected: int | None,
        saturation_counts: float | None,
        mirror: FrameMirror | None = None,
        run_uid: str = "",
    ) -> None:
        self._settings = settings
        self._expected = expected
        self._saturation_counts = saturation_counts
        self._mirror = mirror
        self._run_uid = run_uid
        self._dtype: np.dtype[np.generic] | None = None
        self._source_dtype: np.dtype[np.generic] | None = None
        self._frame_shape: tuple[int, int] | None = None
        self._region: Region | None = None
        self._array: NDArray[np.generic] | None = None
        self._present = np.zeros(0, bool)
        # Summed as they come: over a whole scan it would keep the verdict waiting.
        self._sums = np.zeros(0, np.float64)
        self._held: dict[int, NDArray[np.generic]] = {}
        self._brightest = 0.0
        self._discarded = 0

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        held = sum(frame.nbytes for frame in self._held.values())
        return held + (self._array.nbytes if self._array is not None else 0)

    @property
    def frame_shape(self) -> tuple[int, int] | None:
        """Shape of a delivered frame before cropping; None before the first."""
        return self._frame_shape

    @property
    def discarded(self) -> int:
        """Frames given up because the peak turned out to lie elsewhere than the first frames said."""
        return self._discarded

    @property
    def indices(self) -> set[int]:
        """Indices of the frames that are there."""
        return set(self._held) | {int(i) for i in np.flatnonzero(self._present)}

    def put(self, index: int, frame: NDArray[np.generic]) -> None:
        """Store one frame; the same index again replaces it.

        Raises
        ------
        InconsistentFrame
            Where shape or dtype differ from the run's first frame, or the frame does not fit the limits.
        """
        self._check(index, frame)
        region, dtype = self._region, self._dtype
        if region is None or dtype is None:
            self._held[index] = np.array(frame, dtype=dtype, order="C")
            if len(self._held) >= self._search_length():
                self._settle()
            return
        if region.shape != frame.shape and self._settings.region is None:
            peak, brightness = brightest_block(frame, self._saturation_counts)
            if brightness > self._brightest:
                self._brightest = brightness
                if not region.holds_centrally(peak, (frame.shape[0], frame.shape[1])):
                    self._move(centred_region(peak, region.shape, (frame.shape[0], frame.shape[1])))
        array = self._reserve(index + 1)
        self._store(array, index, (self._region or region).cut(frame))  # reserving may have cut the region smaller

    def finish(self, length: int | None) -> tuple[NDArray[np.generic], NDArray[np.bool_], tuple[int, int]] | None:
        """Return the frames, the mask of those present and the crop origin; None where no frame arrived.

        Parameters
        ----------
        length
            Number of frames expected; None takes the last index that is present.

        Returns
        -------
        tuple or None
            ``(frames (N, rows, columns), present (N,), (row, column))``. The volume is empty afterwards.
        """
        if self._held:
            self._settle()
        if self._array is None or self._region is None:
            return None
        if length is None:
            there = np.flatnonzero(self._present)
            length = int(there[-1]) + 1 if there.size else 0
        if length > self._array.shape[0]:
            self._grow(length)
        frames, present, origin = self._array[:length], self._present[:length].copy(), self._region.origin
        self.clear()
        return frames, present, origin

    def view(self, length: int) -> tuple[NDArray[np.generic], NDArray[np.bool_], tuple[int, int]] | None:
        """Return the first ``length`` frames as `finish` would, and go on.

        The frames are not copied: later ones are written beside them. None while the region is still looked for, or
        where fewer have come.
        """
        if self._held or self._array is None or self._region is None or not self._present[:length].all():
            return None
        if length > self._array.shape[0]:
            return None
        return self._array[:length], self._present[:length].copy(), self._region.origin

    def rocking_sums(self, length: int) -> NDArray[np.float64]:
        """Return (length,) summed usable counts of each frame as kept, NaN where absent; ask before `finish`."""
        if self._held:
            self._settle()
        result = np.full(length, np.nan)
        if self._array is None:
            return result
        for index in np.flatnonzero(self._present[:length]):
            if np.isnan(self._sums[index]):
                self._sums[index] = _summed(self._array[index])
            result[index] = self._sums[index]
        return result

    def clear(self) -> None:
        """Free the memory."""
        self._array = None
        self._present = np.zeros(0, bool)
        self._sums = np.zeros(0, np.float64)
        self._held = {}

    def _check(self, index: int, frame: NDArray[np.generic]) -> None:
        if frame.ndim != 2 or 0 in frame.shape:
            raise InconsistentFrame(f"a frame needs two axes, got shape {frame.shape}")
        if frame.dtype.kind not in "uifb":
            raise InconsistentFrame(f"a frame needs real numbers, got dtype {frame.dtype}")
        if not 0 <= index < self._settings.max_frames:
            raise InconsistentFrame(f"frame {index + 1} is beyond the limit of {self._settings.max_frames} frames")
        shape = (frame.shape[0], frame.shape[1])
        if self._frame_shape is None:
            self._frame_shape = shape
            self._source_dtype = frame.dtype
            self._dtype = _stored_dtype(frame.dtype)
            self._region = self._first_region(shape)
            return
        if shape != self._frame_shape:
            raise InconsistentFrame(f"frame shape changed from {self._frame_shape} to {shape} within the run")
        if frame.dtype != self._source_dtype:
            raise InconsistentFrame(f"frame dtype changed from {self._source_dtype} to {frame.dtype} within the run")

    def _first_region(self, shape: tuple[int, int]) -> Region | None:
        stated = self._settings.region
        if stated is not None:
            if stated.row_stop > shape[0] or stated.column_stop > shape[1]:
                raise InconsistentFrame(f"the stated region of interest {stated} leaves the frame of shape {shape}")
            return Region(stated.row_start, stated.row_stop, stated.column_start, stated.column_stop)
        return whole(shape) if self._fits(shape, self._capacity()) else None

    def _capacity(self) -> int:
        """Frames to make room for at first."""
        return self._expected or min(FIRST_CAPACITY, self._settings.max_frames)

    def _fits(self, shape: tuple[int, int], count: int) -> bool:
        itemsize = self._dtype.itemsize if self._dtype is not None else 8
        return count * shape[0] * shape[1] * itemsize <= self._settings.max_run_bytes

    def _search_length(self) -> int:
        """Frames to hold whole before the region is settled: half the budget at most."""
        frame_bytes = max(1, max(frame.nbytes for frame in self._held.values()))
        affordable = max(1, self._settings.max_run_bytes // (2 * frame_bytes))
        wanted = min(self._settings.region_search_frames, affordable)
        return min(wanted, self._expected) if self._expected else wanted

    def _settle(self) -> None:
        """Fix the region from the frames held and move them into the volume."""
        held, self._held = self._held, {}
        first = next(iter(held.values()))
        total = np.zeros(first.shape, np.float64)
        for frame in held.values():
            np.add(total, usable_counts(frame, self._saturation_counts), out=total)
        peak, _ = brightest_block(total, None)
        self._brightest = max(brightest_block(frame, self._saturation_counts)[1] for frame in held.values())
        self._region = self._found_region(peak)
        array = self._reserve(max(max(held) + 1, self._expected or 0))
        for index, frame in held.items():
            self._store(array, index, self._region.cut(frame))

    def _store(self, array: NDArray[np.generic], index: int, frame: NDArray[np.generic]) -> None:
        array[index] = frame
        self._present[index] = True
        self._sums[index] = _summed(array[index])
        if self._mirror is not None:
            self._mirror.stored(self._run_uid, array, index)

    def _found_region(self, peak: tuple[int, int]) -> Region:
        shape = self._frame_shape or (1, 1)
        edge = self._settings.region_edge_px
        while edge > 32 and not self._fits((edge, edge), self._capacity()):
            edge //= 2
        return centred_region(peak, (edge, edge), shape)

    def _move(self, region: Region) -> None:
        """Take a new region; what was cut to the old one is given up."""
        self._region = region
        self._discarded += int(self._present.sum())
        self._present[:] = False
        if self._array is not None:
            self._array[:] = 0
        if self._mirror is not None:
            self._mirror.dropped(self._run_uid)

    def _reserve(self, count: int) -> NDArray[np.generic]:
        if self._array is not None and count <= self._array.shape[0]:
            return self._array
        if self._array is None:
            return self._grow(max(count, self._capacity()))
        return self._grow(min(max(count, 2 * self._array.shape[0]), self._settings.max_frames))

    def _grow(self, count: int) -> NDArray[np.generic]:
        region = self._region or whole(self._frame_shape or (1, 1))
        if not self._fits(region.shape, count) and self._settings.region is None:
            region = self._shrink(count)
        if not self._fits(region.shape, count):
            raise InconsistentFrame(
                f"{count} frames of {region.shape} exceed the limit of {self._settings.max_run_bytes} bytes a run"
            )
        old = self._array
        array: NDArray[np.generic] = np.zeros((count, *region.shape), self._dtype)
        present, sums = np.zeros(count, bool), np.full(count, np.nan)
        if old is not None:
            array[: old.shape[0]] = old
            present[: old.shape[0]] = self._present
            sums[: old.shape[0]] = self._sums
        self._array, self._present, self._sums = array, present, sums
        return array

    def _shrink(self, count: int) -> Region:
        """Cut what is there to a smaller region, so that ``count`` frames fit."""
        region = self._region or whole(self._frame_shape or (1, 1))
        edge = min(self._settings.region_edge_px, *region.shape)
        while edge > 32 and not self._fits((edge, edge), count):
            edge //= 2
        if self._array is None:
            return region
        there = np.flatnonzero(self._present)
        total = np.zeros(region.shape, np.float64)
        for index in there:
            np.add(total, usable_counts(self._array[index], self._saturation_counts), out=total)
        peak, _ = brightest_block(total, None)
        self._brightest = max((brightest_block(self._array[i], self._saturation_counts)[1] for i in there), default=0.0)
        inner = centred_region(peak, (edge, edge), region.shape)
        self._array = inner.cut(self._array).copy()
        self._sums[:] = np.nan
        row, column = region.origin
        self._region = Region(
            row + inner.row_start, row + inner.row_stop, column + inner.column_start, column + inner.column_stop
        )
        return self._region


def _stored_dtype(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Integers stay as they are in native byte order; floats become float32 and bool uint8."""
    if dtype.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


def _summed(frame: NDArray[np.generic]) -> float:
    return float(usable_counts(frame, None).sum(dtype=np.float64))


def usable_counts(frame: NDArray[np.generic], saturation: float | None) -> NDArray[np.generic]:
    """Return the frame with gap markers, saturated, negative and non-finite pixels zero."""
    if frame.dtype.kind == "f":
        frame = np.where(np.isfinite(frame), frame, 0).astype(frame.dtype, copy=False)
    elif frame.dtype.kind in "ui" and frame.dtype.itemsize > 1:
        frame = np.where(frame == np.iinfo(frame.dtype.str).max, np.zeros((), frame.dtype), frame)
    if frame.dtype.kind != "u":
        frame = np.maximum(frame, np.zeros((), frame.dtype))
    if saturation is not None:
        frame = np.where(np.greater_equal(frame, saturation), np.zeros((), frame.dtype), frame)
    return frame
