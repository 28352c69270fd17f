"""Gets on with whoever started the process: tells systemd how things stand, and stops when asked."""

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
    """Speaks systemd's notification protocol (sd_notify(3)); silent where nobody asked for it.

    Parameters
    ----------
    address
        Value of ``NOTIFY_SOCKET``; a leading ``@`` is an abstract address.
    watchdog_s
        Interval within which systemd wants to hear from us, None where it doesn't.
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
        """Say that the service is up."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Say in one line how things stand."""
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        """Feed the watchdog; to be called from the loop that matters, not from a timer beside it."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service is on its way out."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.sendto(message.encode(), self._address)
        except OSError as error:
            logger.warning("the service manager can't be told: %s", error)


@contextmanager
def stop_on_signal() -> Generator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set; a second signal has its usual effect. Main thread only."""
    stopping = threading.Event()
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the signal module says so)
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
