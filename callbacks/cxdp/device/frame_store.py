"""The frames of open runs on a device: memory that is taken from a pool, filled by index and used again."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
import warp as wp
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.device.frame_ring import FrameRing
from braggwatch.callbacks.cxdp.device.launch import WarpType, zeroed
from braggwatch.sim.warp.warp_arrays import WarpArray

logger = logging.getLogger(__name__)

_SPARE_SLABS = 2
_STORED: dict[np.dtype[np.generic], np.dtype[np.generic]] = {
    np.dtype(np.uint8): np.dtype(np.uint16),
    np.dtype(np.uint16): np.dtype(np.uint16),
    np.dtype(np.int8): np.dtype(np.int32),
    np.dtype(np.int16): np.dtype(np.int32),
    np.dtype(np.int32): np.dtype(np.int32),
    np.dtype(np.uint32): np.dtype(np.uint32),
    np.dtype(np.float32): np.dtype(np.float32),
}
_WARP: dict[np.dtype[np.generic], WarpType] = {
    np.dtype(np.uint16): wp.uint16,
    np.dtype(np.int32): wp.int32,
    np.dtype(np.uint32): wp.uint32,
    np.dtype(np.float32): wp.float32,
    np.dtype(np.float64): wp.float64,
}


def stored_dtype(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Return what counts of a dtype are kept as on a device: a wider one where no kernel reads theirs."""
    return _STORED.get(dtype.newbyteorder("="), np.dtype(np.float64))


def marker(stored: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Return (1,) a value that is no measurement, whatever dtype the counts had before they were stored."""
    if stored.kind == "f":
        return np.full(1, np.nan, dtype=stored)
    return np.full(1, -1 if stored.kind == "i" else np.iinfo(stored.str).max, dtype=stored)


@dataclass(slots=True)
class DeviceFrames:
    """Frames of one run.

    Attributes
    ----------
    source
        Dtype of the counts as they were delivered.
    there
        (capacity,) bool, frames that were sent.
    address
        Where the caller's own array lies, of which these are a copy.
    """

    slab: WarpArray
    shape: tuple[int, int]
    source: np.dtype[np.generic]
    there: NDArray[np.bool_]
    address: int
    stored: np.dtype[np.generic] = field(init=False)

    def __post_init__(self) -> None:
        self.stored = stored_dtype(self.source)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame as stored."""
        return self.shape[0] * self.shape[1] * self.stored.itemsize

    def array(self, count: int) -> WarpArray:
        """View the first ``count`` frames as (count, R, C) of the stored dtype; valid as long as ``self``."""
        return wp.array(
            ptr=self.slab.ptr,
            dtype=_WARP[self.stored],
            shape=(count, *self.shape),
            capacity=count * self.frame_bytes,
            device=self.slab.device,
        )


class DeviceFrameStore:
    """Holds frames by run, within a number of bytes; memory of runs that ended serves the next ones.

    Parameters
    ----------
    max_bytes
        Device memory for frames that arrive before their run ends. A run that finds no room is sent as a whole once
        it has ended: slower, never lost.
    slots
        Of the `FrameRing`.
    """

    def __init__(self, device: wp.Device, max_bytes: int = 2_000_000_000, slots: int = 8) -> None:
        self.ring = FrameRing(device, slots)
        self._device = device
        self._max_bytes = max_bytes
        self._runs: dict[str, DeviceFrames] = {}
        self._refused: set[str] = set()
        self._spare: list[WarpArray] = []
        self._given_up = False

    @property
    def nbytes(self) -> int:
        """Bytes of frames on the device, spare memory included."""
        return sum(slab.capacity for slab in self._spare) + self._held

    @property
    def _held(self) -> int:
        return sum(frames.slab.capacity for frames in self._runs.values())

    def stored(self, run_uid: str, array: NDArray[np.generic], index: int) -> None:
        """Send one frame of a run that is still being put together.

        Parameters
        ----------
        array
            (capacity, R, C): the run's frames, of which number ``index`` has just been written.
        """
        if self._given_up or run_uid in self._refused:
            return
        try:
            frames = self._frames_for(run_uid, array)
            if frames is not None:
                self._send(frames, array, index)
                return
            logger.info("run %s finds no room on the device: its frames go up when it has ended", run_uid)
        except RuntimeError as error:
            logger.warning("frames of run %s can't go up as they arrive: %s", run_uid, error)
        self.dropped(run_uid)
        self._refused.add(run_uid)

    def give_up(self) -> None:
        """Take no frames from now on: the device has ended, and what would be sent to it is lost time."""
        self._max_bytes = 0
        self._given_up = True
        self._runs.clear()
        self._refused.clear()
        self._spare.clear()

    def dropped(self, run_uid: str) -> None:
        """Forget the frames sent so far: the run ended, or they were cut anew."""
        self._refused.discard(run_uid)
        frames = self._runs.pop(run_uid, None)
        if frames is not None:
            self._recycle(frames.slab)

    def take(self, run_uid: str, array: NDArray[np.generic], usable: NDArray[np.bool_]) -> DeviceFrames:
        """Hand out the frames of a curve, those that are missing sent now; give them back with `release`.

        Parameters
        ----------
        array
            (N, R, C) counts, native byte order, contiguous.
        usable
            (N,) which frames are needed.

        Raises
        ------
        RuntimeError
            If the device has no room for them.
        """
        self._refused.discard(run_uid)
        frames = self._runs.pop(run_uid, None)
        if frames is not None and not _same(frames, array):
            self._recycle(frames.slab)
            frames = None
        if frames is None:
            frames = self._new(array)
        for index in np.flatnonzero(usable & ~frames.there[: len(array)]):
            self._send(frames, array, int(index))
        self.ring.join()
        return frames

    def release(self, frames: DeviceFrames) -> None:
        """Give frames back; what reads them is waited for, so that the next run can't overwrite them."""
        wp.synchronize_device(self._device)
        self._recycle(frames.slab)

    def _send(self, frames: DeviceFrames, array: NDArray[np.generic], index: int) -> None:
        self.ring.send(array[index], frames.stored, frames.slab, index * frames.frame_bytes)
        frames.there[index] = True

    def _frames_for(self, run_uid: str, array: NDArray[np.generic]) -> DeviceFrames | None:
        frames = self._runs.get(run_uid)
        if frames is not None and _same(frames, array):
            return frames
        needed = array.size * stored_dtype(array.dtype).itemsize
        if self._held + needed > self._max_bytes:
            return None
        new = self._new(array)
        if frames is not None:
            if new.shape == frames.shape and new.source == frames.source:
                # The caller's array has grown: what is here stays here.
                self.ring.wait()
                count = min(len(frames.there), len(new.there))
                wp.copy(new.slab, frames.slab, count=count * frames.frame_bytes)
                wp.synchronize_device(self._device)
                new.there[:count] = frames.there[:count]
            self._recycle(frames.slab)
        self._runs[run_uid] = new
        return new

    def _new(self, array: NDArray[np.generic]) -> DeviceFrames:
        needed = array.size * stored_dtype(array.dtype).itemsize
        fitting = sorted((slab for slab in self._spare if slab.capacity >= needed), key=lambda slab: slab.capacity)
        if fitting:
            slab = fitting[0]
            self._spare = [spare for spare in self._spare if spare is not slab]
        else:
            # Whatever is spare is too small: it makes room.
            self.ring.wait()
            self._spare.clear()
            slab = zeroed([needed], wp.uint8, self._device)
            # It is made on the computing stream, and filled on the ring's.
            wp.synchronize_device(self._device)
        shape = (array.shape[1], array.shape[2])
        return DeviceFrames(slab, shape, array.dtype, np.zeros(len(array), dtype=np.bool_), _address(array))

    def _recycle(self, slab: WarpArray) -> None:
        """Keep memory for the next run. A copy still under way into it comes before that run's on the same stream."""
        self._spare = sorted([*self._spare, slab], key=lambda one: one.capacity)[-_SPARE_SLABS:]


def _same(frames: DeviceFrames, array: NDArray[np.generic]) -> bool:
    """Tell whether frames were sent from this very array, or one that begins where it does."""
    return (
        frames.address == _address(array)
        and frames.source == array.dtype
        and frames.shape == array.shape[1:]
        and len(frames.there) >= len(array)
    )


def _address(array: NDArray[np.generic]) -> int:
    return int(array.__array_interface__["data"][0])
