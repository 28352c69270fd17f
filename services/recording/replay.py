"""Publish a recording as if it happened now, through the same socket, proxy and decoder as a live scan.

The bytes are those of the stock ``bluesky.callbacks.zmq.Publisher``. Its PUB socket discards messages sent before
anyone subscribes, so `ReadyPublisher` waits for the proxy's subscription first, and blocks instead of dropping
messages when the proxy can't keep up.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import cast

import zmq
from bluesky.callbacks.zmq import Publisher
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from braggwatch.services.recording.frame_range import FrameRange, FrameRangeFilter
from braggwatch.services.recording.new_identity import TimeStamper, UidStamper, remap_root
from braggwatch.services.recording.recordings import RecordedDocument
from braggwatch.services.stream.codec import pack_document
from braggwatch.sim.errors import BraggwatchError, InputError

logger = logging.getLogger(__name__)

Document = dict[str, object]

_LINGER_MS = 5_000


class Serializer(StrEnum):
    """How documents are packed on the wire."""

    PICKLE = "pickle"
    MSGPACK = "msgpack"

    def pack(self, doc: object) -> bytes:
        """Pack one document the way the stock publishers do."""
        if self is Serializer.PICKLE:
            return pickle.dumps(doc)
        return pack_document(cast("Mapping[str, object]", doc))


class ReplayOptions(BaseModel):
    """What to change in a replay, and how fast to play it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speed: FiniteFloat | None = Field(default=None, gt=0, description="1 is as recorded; None is as fast as possible.")
    new_uids: bool = Field(default=False, description="Replace every uid, consistently, to make a new run.")
    new_times: bool = Field(default=False, description="Shift the documents' times to now.")
    roots: tuple[tuple[str, str], ...] = Field(default=(), description="(recorded directory, local directory).")
    frames: FrameRange | None = None


class ReplayReport(BaseModel):
    """What was published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: int
    frames: int = Field(description="Events published.")
    runs: tuple[str, ...] = Field(description="Uids as published.")
    seconds: FiniteFloat
    stopped: bool = Field(description="True if stopped before the end.")


class NoSubscriberError(BraggwatchError, TimeoutError):
    """Nobody subscribed in time: there is no proxy at the address, or it rejects us."""


class ReadyPublisher(Publisher):
    """The stock publisher over a socket that knows when somebody has subscribed.

    An XPUB socket sends the same bytes as the stock PUB, passes on the subscriptions it receives, and with
    ``XPUB_NODROP`` waits where PUB would drop messages silently.

    Parameters
    ----------
    address
        The proxy's in-address, e.g. ``127.0.0.1:5577``.
    prefix
        Put before every document name; must not contain a space.
    serializer
        How the payload is packed.

    Raises
    ------
    InputError
        If address or prefix can't be used.
    """

    def __init__(self, address: str, *, prefix: bytes = b"", serializer: Serializer = Serializer.PICKLE) -> None:
        if b" " in prefix:
            raise InputError(f"prefix {prefix.decode(errors='replace')!r} may not contain a space")
        try:
            super().__init__(address, prefix=prefix, serializer=serializer.pack)
        except ValueError as error:
            raise InputError(f"{address!r} is no address to publish to: {error}") from error
        except zmq.ZMQError as error:
            super().close()
            raise InputError(f"{address!r} is no address to publish to: {error.strerror}") from error
        self._socket.close(linger=0)
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
        self._socket.connect(self.address)

    def wait_for_subscriber(self, timeout_s: float) -> None:
        """Block until a proxy (or a bound subscriber) has subscribed.

        Raises
        ------
        NoSubscriberError
            If that takes longer than ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while (remaining := deadline - time.monotonic()) > 0:
            if self._socket.poll(int(remaining * 1000) + 1) and self._socket.recv().startswith(b"\x01"):
                return
        raise NoSubscriberError(f"nobody subscribed at {self.address} within {timeout_s:g} s: is the proxy running?")

    def close(self) -> None:
        """Close the socket once everything sent has been handed over."""
        self._socket.close()
        self._context.term()


def prepare(records: Iterable[RecordedDocument], options: ReplayOptions) -> Iterable[RecordedDocument]:
    """Apply the options' changes (frame range, roots, uids, times) to the documents, lazily and in order.

    Raises
    ------
    ValueError
        If a frame range can't be cut out of the recording.
    """
    cut = FrameRangeFilter(options.frames) if options.frames is not None else None
    uids = UidStamper() if options.new_uids else None
    times = TimeStamper(time.time()) if options.new_times else None
    for record in records:
        document: Document | None = record.document
        if cut is not None:
            document = cut(record.name, document)
            if document is None:
                continue
        for old, new in options.roots:
            document = remap_root(record.name, document, old, new)
        if uids is not None:
            document = uids(record.name, document)
        if times is not None:
            document = times(record.name, document)
        yield RecordedDocument(record.time_s, record.name, document)


def replay(
    records: Iterable[RecordedDocument],
    publish: Callable[[str, dict[str, object]], object],
    options: ReplayOptions,
    *,
    stop: threading.Event | None = None,
    progress: Callable[[int], None] | None = None,
) -> ReplayReport:
    """Hand recorded documents to a publisher (or any Bluesky callback), in order, at the chosen pace.

    Parameters
    ----------
    records
        From `braggwatch.services.recording.recordings.read_recording`.
    publish
        Takes name and document.
    options
        What to change and how fast.
    stop
        Ends the replay before the next document when set.
    progress
        Called with the number of documents published.

    Raises
    ------
    ValueError
        If a frame range can't be cut out of the recording; `RecordingError` if the file is corrupted.
    """
    waiter = stop if stop is not None else threading.Event()
    began = time.monotonic()
    first: float | None = None
    documents = frames = 0
    runs: list[str] = []
    for record in prepare(records, options):
        if first is None:
            first = record.time_s
        delay = 0.0
        if options.speed is not None:
            delay = began + (record.time_s - first) / options.speed - time.monotonic()
        if waiter.wait(delay) if delay > 0 else waiter.is_set():
            break
        publish(record.name, record.document)
        documents += 1
        frames += record.name == "event"
        if record.name == "start":
            runs.append(str(record.document.get("uid")))
        if progress is not None:
            progress(documents)
    return ReplayReport(
        documents=documents,
        frames=frames,
        runs=tuple(runs),
        seconds=time.monotonic() - began,
        stopped=waiter.is_set(),
    )


def parse_speed(text: str) -> float | None:
    """Read ``recorded``, ``x10``, ``x0.5`` or ``max`` (None).

    Raises
    ------
    InputError
        If it is none of these.
    """
    if text == "max":
        return None
    if text == "recorded":
        return 1.0
    try:
        factor = float(text.removeprefix("x"))
    except ValueError:
        factor = 0.0
    if not (text.startswith("x") and 0 < factor < float("inf")):
        raise InputError(f"{text!r} is not a speed: write 'recorded', 'max' or a factor such as 'x10'")
    return factor


def parse_root(text: str) -> tuple[str, str]:
    """Read ``OLD=NEW``, two absolute directories.

    Raises
    ------
    InputError
        If the text is not such a pair.
    """
    old, separator, new = text.partition("=")
    if not separator or not old.startswith("/") or not new.startswith("/"):
        raise InputError(f"{text!r} is not a root mapping: write OLD=NEW, both absolute, e.g. /gpfs/data=/home/me/data")
    return old, new
