"""Which run a document belongs to, by what it refers to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from braggwatch.callbacks.documents.document_checks import string
from braggwatch.sim.bounded import Bounded

PARENTS: Final = frozenset({"descriptor", "resource", "stream_resource"})
"""Documents that others refer to."""

_MAY_NAME_NO_RUN: Final = frozenset({"resource", "stream_resource"})
_PARENTS_OF: Final[dict[str, tuple[str, ...]]] = {
    "event": ("descriptor",),
    "event_page": ("descriptor",),
    "datum": ("resource",),
    "datum_page": ("resource",),
    "stream_datum": ("stream_resource", "descriptor"),
}


@dataclass(frozen=True, slots=True)
class RunReference:
    """What a document says of its run.

    Attributes
    ----------
    run_uid
        None where the document, or what it refers to, names no run.
    missing
        Uid of a document that it refers to and that was never seen; None where all of them were.
    """

    run_uid: str | None
    missing: str | None = None


class RunReferences:
    """Remembers which descriptors and resources belong to which run, for a bounded number of them.

    Parameters
    ----------
    capacity
        Descriptors and resources remembered; the oldest are forgotten first.
    """

    def __init__(self, capacity: int = 65_536) -> None:
        self._run_of_parent: Bounded[str, str | None] = Bounded(capacity)

    def follow(self, name: str, doc: Mapping[str, object]) -> RunReference:
        """Return the reference of a document, checked or not; descriptors and resources are remembered on the way."""
        if name == "start":
            return RunReference(string(doc.get("uid")))
        if name == "stop" or name in PARENTS:
            run_uid, uid = string(doc.get("run_start")), string(doc.get("uid"))
            if name in _MAY_NAME_NO_RUN:
                run_uid = run_uid or None
            if name != "stop" and uid is not None:
                self._run_of_parent[uid] = run_uid
            return RunReference(run_uid)
        run_uid = missing = None
        for field in _PARENTS_OF.get(name, ()):
            parent = string(doc.get(field)) or ""
            if parent not in self._run_of_parent:
                missing = missing or parent
            elif (known := self._run_of_parent[parent]) is not None:
                run_uid = known
        return RunReference(run_uid, missing)

    def run_of(self, name: str, doc: Mapping[str, object]) -> str | None:
        """Return the run's uid, None where it isn't known."""
        return self.follow(name, doc).run_uid
