"""The interface of an outbox: records that wait for delivery to sinks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from braggwatch.services.live.sink import Sink

Offer = Callable[[str, Callable[[], None]], bool]
"""Given a run's uid and a function that hands one record to a sink, calls it; False if the sink didn't accept it."""


class Outbox(Protocol):
    """The stored records of one modality, each kept until every sink has accepted it. Thread-safe."""

    def deliver(self, sink: Sink, offer: Offer) -> bool:
        """Offer a sink all records it has not accepted yet, oldest first, and note those it accepts.

        Returns
        -------
        bool
            False if a record was not accepted; those after it wait too.
        """
        ...
