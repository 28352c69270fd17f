"""Publishes derived runs in the stock wire form, for `bluesky.callbacks.zmq.RemoteDispatcher` and its like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import zmq

from braggwatch.callbacks.cxdp.records import ScreeningResult
from braggwatch.callbacks.sadp.records import ParticleState, PatternResult, PatternRunResult
from braggwatch.services.cxdp.live.derived_run import derived_run
from braggwatch.services.live.derived_documents import Document
from braggwatch.services.live.sink import Sink, SinkError, SinkKind
from braggwatch.services.sadp.live.derived_run import closing, derived_pattern_uid, opening, pattern_event
from braggwatch.services.settings import PublisherSettings
from braggwatch.services.settings_error import SettingsError
from braggwatch.services.stream.codec import encode
from braggwatch.services.stream.subscriber import set_client_keys

_WAIT_MS: Final = 1000
_LINGER_MS: Final = 1000


class DerivedRunPublisher(Sink):
    """A sink that sends each result as a derived run.

    An XPUB socket: to a subscriber it is a PUB socket, but it knows whether anyone has subscribed. Towards a proxy a
    result is only sent once the proxy listens, else it would vanish without a trace (ZeroMQ's slow joiner) and
    count as delivered.

    Raises
    ------
    SettingsError
        Where a key can't be read or the address can't be used.
    """

    name = "zmq"

    def __init__(self, settings: PublisherSettings, epoch: int) -> None:
        self._settings = settings
        self._epoch = epoch
        self._prefix = settings.prefix.encode()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._subscriptions: set[bytes] = set()
        self._opened: set[str] = set()
        try:
            self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)
            self._socket.setsockopt(zmq.SNDTIMEO, _WAIT_MS)
            self._socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
            if settings.curve is not None:
                set_client_keys(self._socket, settings.curve)
            if settings.mode == "bind":
                self._socket.bind(settings.address)
            else:
                self._socket.connect(settings.address)
        except zmq.ZMQError as error:
            self.close()
            raise SettingsError(f"feedback.publisher.address {settings.address}: {error.strerror}") from error
        except SettingsError:
            self.close()
            raise

    @property
    def address(self) -> str:
        """The address bound or connected to, with the port chosen where none was given."""
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def publish(self, result: ScreeningResult) -> None:
        """Send one derived run.

        Raises
        ------
        SinkError
            Where no proxy listens, or it does not read.
        """
        self._send(derived_run(result, self._epoch))

    def publish_pattern(self, result: PatternResult) -> None:
        """Send the event of one diffraction pattern, before the first of its run the derived run's start.

        Raises
        ------
        SinkError
            Where no proxy listens, or it does not read.
        """
        uid = derived_pattern_uid(result.run_uid, result.model)
        if uid not in self._opened:
            self._send(opening(result))
            self._opened.add(uid)
        self._send([pattern_event(result)])

    def publish_pattern_run(self, result: PatternRunResult, particles: tuple[ParticleState, ...]) -> None:
        """Send the end of a derived run of diffraction patterns.

        Raises
        ------
        SinkError
            Where no proxy listens, or it does not read.
        """
        self._send(closing(result, particles))
        self._opened.discard(derived_pattern_uid(result.run_uid, result.model))

    def _send(self, documents: Iterable[Document]) -> None:
        self._notice_subscriptions()
        if self._settings.mode == "connect" and not self._subscriptions:
            raise SinkError(f"nobody listens at {self._settings.address}")
        try:
            for name, document in documents:
                self._socket.send(encode(self._prefix, name, document, self._settings.payload_format))
        except zmq.ZMQError as error:
            raise SinkError(f"{self._settings.address}: {error.strerror}") from error

    def close(self) -> None:
        """Send what is on its way and close."""
        self._socket.close()
        self._context.term()

    def _notice_subscriptions(self) -> None:
        wait_ms = _WAIT_MS if self._settings.mode == "connect" and not self._subscriptions else 0
        while self._socket.poll(wait_ms, zmq.POLLIN):
            message = self._socket.recv()
            # ZeroMQ: first byte 1 subscribes to the rest, 0 unsubscribes; a lost peer counts as unsubscribed.
            if message[:1] == b"\x01":
                self._subscriptions.add(message[1:])
            elif message[:1] == b"\x00":
                self._subscriptions.discard(message[1:])
            wait_ms = 0


DERIVED_RUNS: Final = SinkKind(
    DerivedRunPublisher.name,
    is_enabled=lambda feedback: feedback.publisher.enabled,
    open=lambda feedback, context: DerivedRunPublisher(feedback.publisher, context.epoch),
)
