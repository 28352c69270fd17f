"""Documents of a derived run, made by event-model's composers; each uid follows from the run's and the document's key.

A run need not be composed in one go: made again from the same uid and time, it goes on with the same documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import NAMESPACE_URL, uuid5

import event_model

Document = tuple[str, dict[str, object]]
Fields = Mapping[str, str | int | float]

_DTYPES: Final = {str: "string", int: "integer", float: "number"}


def uid_of(*parts: object) -> str:
    """Return a uid that is the same for the same parts."""
    return str(uuid5(NAMESPACE_URL, ":".join(map(str, parts))))


class DerivedStream:
    """One stream of a derived run; all its events have the fields of its descriptor."""

    def __init__(self, run_uid: str, composers: event_model.ComposeDescriptorBundle) -> None:
        self._run_uid = run_uid
        self._composers = composers

    @property
    def descriptor(self) -> Document:
        """The descriptor, validated: here, because a stream is opened again for each event that comes later."""
        document = self._composers.descriptor_doc
        event_model.schema_validators[event_model.DocumentNames.descriptor].validate(document)
        return "descriptor", dict(document)

    def event(self, fields: Fields, time: float, seq_num: int, key: str) -> Document:
        """Return an event with these fields, stamped with seconds since the epoch."""
        event = self._composers.compose_event(
            data=dict(fields),
            timestamps=dict.fromkeys(fields, time),
            seq_num=seq_num,
            time=time,
            uid=uid_of(self._run_uid, key),
            validate=False,
        )
        return "event", dict(event)


class DerivedRun:
    """One derived run.

    Parameters
    ----------
    time
        Of the start document, seconds since the epoch.
    metadata
        Of the start document.
    events_before
        Name of a stream → its events that were composed before, where the run is made again to go on.
    """

    def __init__(
        self, uid: str, time: float, metadata: Mapping[str, object], events_before: Mapping[str, int] | None = None
    ) -> None:
        counters = {name: count + 1 for name, count in (events_before or {}).items()}
        self._composers = event_model.compose_run(
            uid=uid, time=time, metadata=dict(metadata), validate=False, event_counters=counters
        )
        self._uid = uid

    @property
    def start(self) -> Document:
        """The start document."""
        return "start", dict(self._composers.start_doc)

    def stream(self, name: str, fields: Fields, time: float, key: str) -> DerivedStream:
        """Open a stream whose events have these fields, its descriptor stamped with seconds since the epoch."""
        keys = {
            field: {"source": "braggwatch", "dtype": _DTYPES[type(value)], "shape": []}
            for field, value in fields.items()
        }
        composers = self._composers.compose_descriptor(
            name=name,
            data_keys=keys,  # pyright: ignore[reportArgumentType] (plain dictionaries where typed ones are declared)
            hints={},
            time=time,
            uid=uid_of(self._uid, key),
            validate=False,
        )
        return DerivedStream(self._uid, composers)

    def stop(self, time: float, reason: str = "") -> Document:
        """Return the stop document with the number of events of each stream."""
        stop = self._composers.compose_stop(time=time, reason=reason, uid=uid_of(self._uid, "stop"), validate=True)
        return "stop", dict(stop)
