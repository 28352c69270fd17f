"""The data socket of a Merlin detector (Quantum Detectors) over TCP, as its readout software and simulators speak it.

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

logger = logging.getLogger(__name__)

DATA_PORT = 6342
_HEAD = re.compile(rb"MPX,(\d{10}),")
_HEAD_BYTES = 15
_LARGEST_MESSAGE = 1 << 28
_RECEIVE_BYTES = 1 << 20


class MerlinError(ConnectionError):
    """The other side does not speak as a Merlin does, or went away; the message says where."""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """An acquisition begins; ``frames`` is how many it announces, None where it goes on until it is stopped."""

    frames: int | None


@dataclass(frozen=True, slots=True)
class MerlinFrame:
    """One frame.

    Attributes
    ----------
    number
        As the detector counts, from 1 within an acquisition.
    counts
        (rows, columns).
    """

    number: int
    counts: NDArray[np.generic]


class MessageReader:
    """Takes a byte stream apart into payloads; bytes may come in pieces of any size.

    What comes before the first message (a client that joins in the middle) is skipped.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._synchronised = False
        self.skipped_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add bytes and yield the payloads that are whole.

        Raises
        ------
        MerlinError
            Where no message begins after another has ended, or one is larger than any frame.
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
            raise MerlinError(f"no message begins with {bytes(self._buffer[:_HEAD_BYTES])!r}")
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
            # A message may have begun in what is here: its head and the first letters are kept.
            gone = max(0, len(self._buffer) - _HEAD_BYTES - 3)
            self.skipped_bytes += gone
            del self._buffer[:gone]
            return False
        self.skipped_bytes += found.start()
        del self._buffer[: found.start()]
        self._synchronised = True
        return True


def read_payload(payload: bytes) -> Acquisition | MerlinFrame | None:
    """Read one payload; None for a kind that says nothing of patterns.

    Raises
    ------
    MerlinError
        Where a frame is damaged or of a form that isn't read.
    """
    if payload.startswith(b"HDR"):
        text = payload.decode("latin1")
        found = re.search(r"Frames in Acquisition \(Number\):\s*(\d+)", text)
        frames = int(found[1]) if found is not None else 0
        return Acquisition(frames or None)
    if not payload.startswith(b"MQ"):
        logger.debug("message of kind %r left out", payload[:8])
        return None
    try:
        frames = parse_mib(payload)
    except MibError as error:
        raise MerlinError(str(error)) from error
    if len(frames.frames) != 1:
        raise MerlinError(f"one message holds {len(frames.frames)} frames")
    return MerlinFrame(int(frames.numbers[0]), frames.frames[0])


class MerlinConnection:
    """A connection to the data socket; the detector's software keeps control of it.

    Raises
    ------
    MerlinError
        Where nobody listens there.
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
        """Yield what comes until the other side ends or ``stop`` is set.

        Raises
        ------
        MerlinError
            Where what comes can't be read.
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
