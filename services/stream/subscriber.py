"""One SUB socket with its monitor, set up so that trouble shows: heartbeats, bounded messages, CURVE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import zmq
import zmq.auth
from zmq.utils.monitor import parse_monitor_message

from braggwatch.services.settings_error import SettingsError
from braggwatch.services.stream.stream_settings import CurveKeys, StreamSettings

_HANDSHAKE_MS: Final = 2000
_WATCHED: Final = (
    zmq.Event.CONNECTED
    | zmq.Event.CONNECT_DELAYED
    | zmq.Event.CONNECT_RETRIED
    | zmq.Event.DISCONNECTED
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.MONITOR_STOPPED
)


class Subscriber:
    """A connected SUB socket. Belongs to the thread that made it.

    Raises
    ------
    SettingsError
        Where a CURVE key can't be read or the address can't be used.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], settings: StreamSettings) -> None:
        self.socket = context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.monitor: zmq.Socket[bytes] | None = None
        try:
            self._configure(settings)
            self.monitor = self.socket.get_monitor_socket(_WATCHED)
            self.socket.connect(settings.address)
        except zmq.ZMQError as error:
            self.close()
            raise SettingsError(f"stream.address {settings.address}: {error.strerror}") from error
        except SettingsError:
            self.close()
            raise

    def _configure(self, settings: StreamSettings) -> None:
        socket = self.socket
        socket.setsockopt(zmq.RCVHWM, settings.receive_high_water_mark)
        socket.setsockopt(zmq.MAXMSGSIZE, settings.max_message_bytes)
        socket.setsockopt(zmq.HEARTBEAT_IVL, round(settings.heartbeat_interval_s * 1000))
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, round(settings.heartbeat_timeout_s * 1000))
        socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        if settings.curve is not None:
            set_client_keys(socket, settings.curve)
        topic = f"{settings.prefix} ".encode() if settings.prefix else b""
        socket.setsockopt(zmq.SUBSCRIBE, topic)

    def events(self) -> Iterator[int]:
        """Yield the monitor's events that wait."""
        while self.monitor is not None:
            try:
                message = self.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            yield int(parse_monitor_message(message)["event"])

    def messages(self, most: int) -> Iterator[list[bytes]]:
        """Yield messages that wait, at most so many, each as its frames."""
        for _ in range(most):
            try:
                yield self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return

    def close(self) -> None:
        """Close both sockets; may be called again."""
        if self.monitor is not None:
            self.socket.disable_monitor()
            self.monitor.close(linger=0)
            self.monitor = None
        self.socket.close(linger=0)


def set_client_keys(socket: zmq.Socket[bytes], keys: CurveKeys) -> None:
    """Make a socket a CURVE client.

    Raises
    ------
    SettingsError
        Naming the key file that can't be used.
    """
    public, secret = _certificate(str(keys.secret_key))
    if secret is None:
        raise SettingsError(f"{keys.secret_key}: holds no secret key")
    server_public, _ = _certificate(str(keys.server_public_key))
    socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
    socket.setsockopt(zmq.CURVE_SERVERKEY, server_public)


def _certificate(path: str) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: not a CURVE key file ({error})") from error
