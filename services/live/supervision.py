"""Notifies systemd of the service's state, and handles stop signals."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)


class Notifier:
    """Sends systemd notifications (sd_notify(3)); does nothing if not started by systemd.

    Parameters
    ----------
    address
        Value of ``NOTIFY_SOCKET``; a leading ``@`` is an abstract address.
    watchdog_s
        Interval within which systemd expects a notification, seconds; None if it has no watchdog.
    """

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = None if not address else "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls) -> Notifier:
        """Make one from ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC``."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        watchdog_s = int(microseconds) / 1e6 if microseconds.isdecimal() else None
        return cls(os.environ.get("NOTIFY_SOCKET"), watchdog_s)

    def ready(self, status: str = "") -> None:
        """Report that the service is ready."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Report the state in one line."""
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        """Feed the watchdog; call it from the pipeline's loop, not from a separate timer."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.sendto(message.encode(), self._address)
        except OSError as error:
            logger.warning("the service manager can't be notified: %s", error)


@contextmanager
def stop_on_signal() -> Generator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set; a second signal has its default effect. Main thread only."""
    stopping = threading.Event()
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (signature set by the signal module)
        logger.info("%s: stopping", signal.Signals(number).name)
        stopping.set()
        for each, handler in previous.items():
            signal.signal(each, handler)

    for number in previous:
        signal.signal(number, on_signal)
    try:
        yield stopping
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
