"""Read the TCP data socket of a Merlin detector (Quantum Detectors), as served by its software and simulators.

Each message is ``MPX,`` and ten digits, then as many bytes, the comma after the digits being the first of them. A
payload that begins with ``HDR`` opens an acquisition, one that begins with ``MQ1`` is a frame in the MIB form.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from braggwatch.services.sadp.sources.mib_file import MibError, parse_mib
from braggwatch.sim.errors import BraggwatchError

logger = logging.getLogger(__name__)

DATA_PORT = 6342
_HEAD = re.compile(rb"MPX,(\d{10}),")
_HEAD_BYTES = 15
_LARGEST_MESSAGE = 1 << 28
_RECEIVE_BYTES = 1 << 20


class MerlinError(BraggwatchError, ConnectionError):
    """The other side doesn't follow the Merlin protocol, or closed the connection; the message says where."""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Start of an acquisition; ``frames`` is the announced number, None if it runs until stopped."""

    frames: int | None


@dataclass(frozen=True, slots=True)
class MerlinFrame:
    """One frame.

    Attributes
    ----------
    number
        The detector's frame number, from 1 in each acquisition.
    counts
        (rows, columns) counts.
    """

    number: int
    counts: NDArray[np.generic]


class MessageReader:
    """Divides a byte stream into payloads; bytes may arrive in pieces of any size.

    Bytes before the first message (if the client joins in the middle) are skipped.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._synchronised = False
        self.skipped_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add bytes and yield the complete payloads.

        Raises
        ------
        MerlinError
            If a message isn't followed by another, or is larger than any frame.
        """
        self._buffer += data
        while (payload := self._next()) is not None:
            yield payload

    def _next(self) -> bytes | None:
        if not self._synchronised and not self._find_first():
            return None
        if len(self._buffer) < _HEAD_BYTES:
            return None
        head = _HEAD.match(self._buffer)
        if head is None:
            raise MerlinError(f"not the start of a message: {bytes(self._buffer[:_HEAD_BYTES])!r}")
        length = int(head[1])
        if not 1 <= length <= _LARGEST_MESSAGE:
            raise MerlinError(f"a message states {length} bytes")
        end = _HEAD_BYTES + length - 1
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEAD_BYTES:end])
        del self._buffer[:end]
        return payload

    def _find_first(self) -> bool:
        found = re.search(rb"MPX,\d{10},(?:HDR|MQ1)", self._buffer)
        if found is None:
            # A message may have started in these bytes: keep its head and first letters.
            skipped = max(0, len(self._buffer) - _HEAD_BYTES - 3)
            self.skipped_bytes += skipped
            del self._buffer[:skipped]
            return False
        self.skipped_bytes += found.start()
        del self._buffer[: found.start()]
        self._synchronised = True
        return True


def read_payload(payload: bytes) -> Acquisition | MerlinFrame | None:
    """Read one payload; None for kinds that contain no pattern.

    Raises
    ------
    MerlinError
        If a frame is damaged or in an unsupported format.
    """
    if payload.startswith(b"HDR"):
        text = payload.decode("latin1")
        found = re.search(r"Frames in Acquisition \(Number\):\s*(\d+)", text)
        frames = int(found[1]) if found is not None else 0
        return Acquisition(frames or None)
    if not payload.startswith(b"MQ"):
        logger.debug("skipped a message of kind %r", payload[:8])
        return None
    try:
        frames = parse_mib(payload)
    except MibError as error:
        raise MerlinError(str(error)) from error
    if len(frames.frames) != 1:
        raise MerlinError(f"one message contains {len(frames.frames)} frames")
    return MerlinFrame(int(frames.numbers[0]), frames.frames[0])


class MerlinConnection:
    """A connection to the data socket; the detector's software keeps control of it.

    Raises
    ------
    MerlinError
        If nothing listens at the address.
    """

    def __init__(self, host: str, port: int = DATA_PORT, timeout_s: float = 10.0) -> None:
        self._name = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), timeout_s)
        except OSError as error:
            raise MerlinError(f"no Merlin data socket at {self._name}: {error}") from error
        self._socket.settimeout(0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def messages(self, stop: threading.Event) -> Iterator[Acquisition | MerlinFrame]:
        """Yield messages until the other side ends or ``stop`` is set.

        Raises
        ------
        MerlinError
            If a message can't be read.
        """
        reader = MessageReader()
        while not stop.is_set():
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except TimeoutError:
                continue
            except OSError as error:
                raise MerlinError(f"{self._name}: {error}") from error
            if not data:
                return
            for payload in reader.feed(data):
                message = read_payload(payload)
                if message is not None:
                    yield message
