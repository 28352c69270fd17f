"""Decides from a ZeroMQ socket's own events when it has gone deaf and must be replaced.

Measured with libzmq 4.3.5: after a lost connection that ZeroMQ will mend, ``DISCONNECTED`` is followed at once by
``CONNECT_RETRIED``. After a protocol violation (a corrupted framing byte, a failed decryption, a message over
``ZMQ_MAXMSGSIZE``) nothing follows, and nothing is ever received again (libzmq 4196).
"""

from __future__ import annotations

from enum import StrEnum

import zmq


class ResetCause(StrEnum):
    """Why a socket was replaced."""

    PROTOCOL = "protocol"
    HANDSHAKE = "handshake"
    SILENCE = "silence"
    MONITOR = "monitor"


_TRYING = frozenset({zmq.Event.CONNECT_DELAYED, zmq.Event.CONNECT_RETRIED, zmq.Event.CONNECTED})
_FAILED_HANDSHAKES = {
    zmq.Event.HANDSHAKE_FAILED_AUTH: "the proxy refuses our CURVE key",
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: "the handshake broke the protocol: wrong port, or CURVE on one side only",
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: "the handshake failed: wrong CURVE key, or the proxy went away",
}


class ConnectionWatch:
    """Follows one socket.

    Parameters
    ----------
    grace_s
        How long a lost connection may stay without a new try, seconds.
    silence_s
        How long an open run may stay without documents, seconds; doubles with each replacement that did not help.
    """

    def __init__(self, grace_s: float, silence_s: float) -> None:
        self._grace_s = grace_s
        self._first_silence_s = silence_s
        self._silence_s = silence_s
        self._last_message: float | None = None
        self._down_since: float | None = None
        self._cause = ResetCause.PROTOCOL
        self.connected = False
        self.problem: str | None = "not connected yet"

    def on_event(self, event: int, now: float) -> bool:
        """Take one monitor event; return True where a connection that stood was lost."""
        was_connected = self.connected
        if event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self.connected = True
            self.problem = None
            self._down_since = None
            self._last_message = now
        elif event == zmq.Event.DISCONNECTED:
            self.connected = False
            self.problem = self.problem or "connection lost"
            if self._down_since is None:
                self._down_since, self._cause = now, ResetCause.PROTOCOL
        elif event in _FAILED_HANDSHAKES:
            self.connected = False
            self.problem = _FAILED_HANDSHAKES[zmq.Event(event)]
            self._down_since, self._cause = now, ResetCause.HANDSHAKE
        elif event == zmq.Event.MONITOR_STOPPED:
            self.connected = False
            self._down_since, self._cause = now, ResetCause.MONITOR
        elif event in _TRYING:
            self._down_since = None
        return was_connected and not self.connected

    def on_message(self, now: float) -> None:
        """Note that something was received."""
        self._last_message = now
        self._silence_s = self._first_silence_s

    def due(self, now: float, *, run_is_open: bool) -> ResetCause | None:
        """Return why the socket must be replaced now, or None."""
        if self._down_since is not None and now - self._down_since >= self._grace_s:
            return self._cause
        silent = self.connected and self._last_message is not None and now - self._last_message >= self._silence_s
        return ResetCause.SILENCE if run_is_open and silent else None

    def replaced(self, cause: ResetCause, now: float) -> None:
        """Begin anew with a fresh socket."""
        if cause is ResetCause.SILENCE:
            self._silence_s = min(2 * self._silence_s, 64 * self._first_silence_s)
        self.connected = False
        self._down_since = None
        self._last_message = now
