"""The records of diffraction patterns as the feedback sinks are given them."""

from __future__ import annotations

from braggwatch.callbacks.sadp.records import PatternResult
from braggwatch.services.live.outbox import Offer, Outbox
from braggwatch.services.live.sink import PatternSink, Sink
from braggwatch.services.sadp.live.pattern_store import JournalEntry, PatternStore


class PatternOutbox(Outbox):
    """Gives the journal of patterns to each sink that takes patterns, and none to the others."""

    def __init__(self, store: PatternStore) -> None:
        self._store = store

    def deliver(self, sink: Sink, offer: Offer) -> bool:
        """Offer all that waits, oldest first; stop at the first that is not taken, and return False."""
        if not isinstance(sink, PatternSink):
            return True
        while entries := self._store.undelivered(sink.name):
            given = 0
            for entry in entries:
                if not offer(entry.record.run_uid, lambda entry=entry: self._hand_over(sink, entry)):
                    break
                given = entry.id
            # One note for many: noted one by one, each would be a commit that the worker waits for.
            if given:
                self._store.mark_delivered(sink.name, given)
            if given != entries[-1].id:
                return False
        return True

    def _hand_over(self, sink: PatternSink, entry: JournalEntry) -> None:
        record = entry.record
        if isinstance(record, PatternResult):
            sink.publish_pattern(record)
        else:
            sink.publish_pattern_run(record, tuple(self._store.particles_of(record.run_uid)))
