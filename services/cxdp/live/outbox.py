"""The records of rocking curves as the feedback sinks are given them."""

from __future__ import annotations

from braggwatch.services.live.outbox import Offer, Outbox
from braggwatch.services.live.sink import Sink
from braggwatch.services.storage.result_store import ResultStore


class ResultOutbox(Outbox):
    """Gives each result to each sink that the store was made with."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store

    def deliver(self, sink: Sink, offer: Offer) -> bool:
        """Offer all that waits, oldest first; stop at the first that is not taken, and return False."""
        while results := self._store.pending_deliveries(sink.name):
            for result in results:
                if not offer(result.run_uid, lambda result=result: sink.publish(result)):
                    return False
                self._store.mark_delivered(sink.name, result)
        return True
