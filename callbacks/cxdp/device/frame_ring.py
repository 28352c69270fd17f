"""Frames on their way up: a ring of page-locked slots and a stream of copies beside the computing one."""

from __future__ import annotations

import numpy as np
import warp as wp
from numpy.typing import NDArray

from braggwatch.callbacks.cxdp.device.launch import page_locked
from braggwatch.sim.warp.warp_arrays import WarpArray


class FrameRing:
    """Copies frames to a device without waiting for it.

    A frame is written to the next slot and copied from there on the ring's own stream; an event for each slot says
    when it is free again, so that a slow device holds the caller up and never loses a frame. On a CPU the same slots
    are plain memory, and each copy is done when `send` returns.

    Parameters
    ----------
    device
        Where frames go.
    slots
        Frames that may be on their way at once, at least 1.
    """

    def __init__(self, device: wp.Device, slots: int = 8) -> None:
        if slots < 1:
            raise ValueError("a ring needs a slot")
        self._device = device
        self._count = slots
        self._slots: list[WarpArray] = []
        self._bytes = 0
        self._next = 0
        self._stream: wp.Stream | None = wp.Stream(device) if device.is_cuda else None
        self._events: list[wp.Event | None] = [None] * slots

    @property
    def nbytes(self) -> int:
        """Bytes of page-locked (on a CPU: plain) memory held."""
        return self._bytes * len(self._slots)

    def send(self, frame: NDArray[np.generic], stored: np.dtype[np.generic], slab: WarpArray, offset: int) -> None:
        """Copy one frame.

        Parameters
        ----------
        frame
            (R, C), any dtype that ``stored`` can hold; not needed any more when this returns.
        stored
            What it is kept as.
        slab
            (bytes,) uint8 on the device.
        offset
            First byte of the frame there.
        """
        nbytes = frame.size * stored.itemsize
        if nbytes > self._bytes:
            self._make(nbytes)
        number = self._next
        self._next = (number + 1) % self._count
        event = self._events[number]
        if event is not None:
            wp.synchronize_event(event)
        slot = self._slots[number]
        target = slot.numpy()[:nbytes].view(stored).reshape(frame.shape)
        np.copyto(target, frame, casting="same_kind")
        wp.copy(slab, slot, dest_offset=offset, count=nbytes, stream=self._stream)
        if self._stream is not None:
            self._events[number] = self._stream.record_event(event)

    def join(self) -> None:
        """Let what is launched on the device's current stream from now on wait for every frame sent."""
        if self._stream is not None:
            wp.get_stream(self._device).wait_stream(self._stream)

    def wait(self) -> None:
        """Wait until every frame sent has arrived."""
        if self._stream is not None:
            wp.synchronize_stream(self._stream)

    def _make(self, nbytes: int) -> None:
        self.wait()
        self._slots = [page_locked([nbytes], wp.uint8, self._device) for _ in range(self._count)]
        self._bytes = nbytes
        self._events = [None] * self._count
