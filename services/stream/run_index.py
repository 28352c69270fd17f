"""Says which run a document belongs to, whatever kind of document it is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

_RUN_REFERENCES: Final[dict[str, str]] = {
    "descriptor": "run_start",
    "resource": "run_start",
    "stream_resource": "run_start",
    "stop": "run_start",
}
_PARENT_REFERENCES: Final[dict[str, str]] = {
    "event": "descriptor",
    "event_page": "descriptor",
    "datum": "resource",
    "datum_page": "resource",
    "stream_datum": "descriptor",
}


class RunIndex:
    """Remembers which descriptors and resources belong to which run, for a bounded number of them."""

    def __init__(self, capacity: int = 20_000) -> None:
        self._capacity = capacity
        self._parents: OrderedDict[str, str] = OrderedDict()

    def run_of(self, name: str, document: Mapping[str, object]) -> str | None:
        """Return the run's uid, or None where the document's start or descriptor was never seen.

        Descriptors and resources are remembered on the way.
        """
        if name == "start":
            return text(document.get("uid"))
        if (field := _RUN_REFERENCES.get(name)) is not None:
            run_uid = text(document.get(field))
            own_uid = text(document.get("uid"))
            if run_uid is not None and own_uid is not None and name != "stop":
                self._remember(own_uid, run_uid)
            return run_uid
        parent = text(document.get(_PARENT_REFERENCES.get(name, "")))
        return None if parent is None else self._parents.get(parent)

    def _remember(self, uid: str, run_uid: str) -> None:
        self._parents[uid] = run_uid
        self._parents.move_to_end(uid)
        while len(self._parents) > self._capacity:
            self._parents.popitem(last=False)


def text(value: object) -> str | None:
    """Return a value that is text, None for any other."""
    return value if isinstance(value, str) else None
