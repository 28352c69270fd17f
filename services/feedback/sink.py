"""What it takes to be told of results."""

from __future__ import annotations

from typing import Protocol

from braggwatch.callbacks.records import ScreeningResult


class SinkError(Exception):
    """A sink could not take a result now; the same revision will be offered again."""


class Sink(Protocol):
    """One way out for results. Used by one thread.

    Delivery is at least once: a result may come again with the same run uid, model id and revision, and must then
    mean nothing new.
    """

    @property
    def name(self) -> str:
        """One word, fit for a metric's label; the outbox is kept under it."""
        ...

    def publish(self, result: ScreeningResult) -> None:
        """Hand one result over.

        Raises
        ------
        SinkError
            Where it could not; nothing else is expected.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
