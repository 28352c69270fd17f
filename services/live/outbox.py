"""What waits to be given to a sink, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from braggwatch.services.live.sink import Sink

Offer = Callable[[str, Callable[[], None]], bool]
"""Given a run's uid and a call that hands one record to a sink, makes the call; False where the sink didn't take it."""


class Outbox(Protocol):
    """The stored records of one modality, each kept until each sink has been given it. Safe to use from any thread."""

    def deliver(self, sink: Sink, offer: Offer) -> bool:
        """Offer a sink all that it has not been given, oldest first, and note what it took.

        Returns
        -------
        bool
            False where a record was not taken: what comes after it waits too.
        """
        ...
